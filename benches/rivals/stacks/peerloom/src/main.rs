//! Peerloom: two endpoints, one socket each, as its documentation has them; both
//! ends use the actors of one [`Runtime`]. Defaults throughout, with our own SCTP
//! engine and record layer; `--variant packaged` has the packaged ones, `--variant
//! quic` data channels over QUIC.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::OnceLock;

use futures::StreamExt as _;
use peerloom_actors::{
    Configuration, DataChannel, DataChannelInit, DataTransport, DtlsRecords, Endpoint,
    EndpointConfig, Event, IceCandidate, IceCandidateInit, PeerConnection, Runtime, RuntimeConfig,
    SctpEngine, SessionDescription,
};
use rivals_kit::{
    Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Via, readdress, readdress_sdp,
};

fn main() -> ExitCode {
    rivals_kit::main::<Peerloom>()
}

/// The actors of this process: an application has one runtime.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

struct Peerloom {
    near: Endpoint,
    far: Endpoint,
    configuration: Configuration,
    via: Option<Via>,
}

async fn endpoint(runtime: &Runtime) -> Result<Endpoint, Failure> {
    let bind = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    Ok(Endpoint::bind(runtime, EndpointConfig { bind }).await?)
}

impl Stack for Peerloom {
    type Ends = (PeerConnection, PeerConnection);
    type Send = Channel;
    type Receive = Channel;

    async fn create(options: &Options) -> Result<Self, Failure> {
        let runtime = match RUNTIME.get() {
            Some(runtime) => runtime,
            None => {
                let runtime = Runtime::start(RuntimeConfig::default())?;
                RUNTIME.get_or_init(|| runtime)
            }
        };
        let mut configuration = Configuration::default();
        match options.variant.as_deref() {
            None => {}
            Some("packaged") => {
                configuration.sctp.engine = SctpEngine::Packaged;
                configuration.dtls.records = DtlsRecords::Packaged;
            }
            Some("quic") => configuration.data_transport = DataTransport::Quic,
            Some(other) => return Err(format!("no variant {other}").into()),
        }
        Ok(Self {
            near: endpoint(runtime).await?,
            far: endpoint(runtime).await?,
            configuration,
            via: options.via,
        })
    }

    async fn ends(&self) -> Result<Self::Ends, Failure> {
        let (near, far) = (&self.near, &self.far);
        Ok((
            PeerConnection::new(near, self.configuration.clone()).await?,
            PeerConnection::new(far, self.configuration.clone()).await?,
        ))
    }

    async fn connect(&self, ends: Self::Ends, kind: Kind) -> Result<Link<Self>, Failure> {
        let (near, far) = ends;
        let (mut near_events, mut far_events) = (near.events(), far.events());
        let init = match kind {
            Kind::Reliable => DataChannelInit::default(),
            Kind::Datagrams => DataChannelInit {
                ordered: false,
                max_retransmits: Some(0),
                ..DataChannelInit::default()
            },
        };
        let sending = near.create_data_channel("bench", init).await?;
        self.negotiate(&near, &far).await?;
        let receiving = loop {
            tokio::select! {
                Some(event) = near_events.next() => {
                    if let Event::IceCandidate(candidate) = event {
                        let to = self.via.map(|via| via.far);
                        far.add_ice_candidate(through(candidate, to)).await?;
                    }
                }
                Some(event) = far_events.next() => match event {
                    Event::IceCandidate(candidate) => {
                        let to = self.via.map(|via| via.near);
                        near.add_ice_candidate(through(candidate, to)).await?;
                    }
                    Event::DataChannel(channel) => break channel,
                    _ => {}
                },
                else => return Err("a connection closed before it was up".into()),
            }
        };
        sending
            .opened()
            .await
            .map_err(|cause| format!("{cause:?}"))?;
        // An application goes on listening; what nobody fetches is bounded anyway.
        Ok(Link {
            near: (Channel(sending.clone()), Channel(sending)),
            far: (Channel(receiving.clone()), Channel(receiving)),
            keep: Box::new((near, far, near_events, far_events)),
        })
    }
}

impl Peerloom {
    async fn negotiate(&self, near: &PeerConnection, far: &PeerConnection) -> Result<(), Failure> {
        near.set_local_description(None).await?;
        let offer = near.local_description().ok_or("no offer")?;
        let offer = behind(offer, self.via.map(|via| via.far));
        far.set_remote_description(offer).await?;
        far.set_local_description(None).await?;
        let answer = far.local_description().ok_or("no answer")?;
        let answer = behind(answer, self.via.map(|via| via.near));
        near.set_remote_description(answer).await?;
        Ok(())
    }
}

/// The description; its candidates are behind the relay where there is one.
fn behind(mut description: SessionDescription, to: Option<SocketAddr>) -> SessionDescription {
    if let Some(to) = to {
        description.sdp = readdress_sdp(&description.sdp, to);
    }
    description
}

/// The candidate for the other end, behind the relay where there is one.
fn through(candidate: Option<IceCandidate>, to: Option<SocketAddr>) -> Option<IceCandidateInit> {
    let mut init = IceCandidateInit::from(candidate?);
    if let Some(to) = to {
        init.candidate = readdress(&init.candidate, to);
    }
    Some(init)
}

struct Channel(DataChannel);

impl Send for Channel {
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        Ok(self.0.send(message).await?)
    }
}

impl Receive for Channel {
    async fn receive(&mut self) -> Result<usize, Failure> {
        let message = self.0.recv().await.ok_or("the channel closed")?;
        Ok(message.len())
    }
}
