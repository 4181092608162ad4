//! What the criterion groups share: two peers of one process, connected over
//! loopback sockets, with one data channel between them.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use futures::StreamExt as _;
use peerloom::webrtc::{
    Configuration, DataChannel, DataChannelInit, Endpoint, EndpointConfig, Event, PeerConnection,
    Runtime,
};

/// Whatever went wrong; a bench can only give up.
pub type BenchError = Box<dyn Error + Send + Sync>;

/// Binds an endpoint to an ephemeral loopback port.
pub async fn endpoint(runtime: &Runtime) -> Result<Endpoint, BenchError> {
    let bind = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let config = EndpointConfig { bind };
    Ok(Endpoint::bind(runtime, config).await?)
}

/// Two peer connections that have not met yet.
pub struct Pair {
    near: PeerConnection,
    far: PeerConnection,
}

/// Two connected peers and the two ends of their channel.
pub struct Link {
    /// The peers; closed with [`Link::close`].
    pair: Pair,
    /// The end of the channel at the peer that made the offer.
    pub near: DataChannel,
    /// The other end.
    pub far: DataChannel,
}

impl Pair {
    /// Creates both ends.
    pub async fn new(near: &Endpoint, far: &Endpoint) -> Result<Self, BenchError> {
        Self::with(near, far, &Configuration::default()).await
    }

    /// Creates both ends with these settings.
    pub async fn with(
        near: &Endpoint,
        far: &Endpoint,
        configuration: &Configuration,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            near: PeerConnection::new(near, configuration.clone()).await?,
            far: PeerConnection::new(far, configuration.clone()).await?,
        })
    }

    /// The connection that will offer.
    pub fn near(&self) -> &PeerConnection {
        &self.near
    }

    /// The connection that will answer.
    pub fn far(&self) -> &PeerConnection {
        &self.far
    }

    /// Negotiates and trickles until both ends have the channel.
    pub async fn link(self) -> Result<Link, BenchError> {
        self.link_with(DataChannelInit::default()).await
    }

    /// The same with a channel of this kind.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what else happens on the way is of no interest here"
    )]
    pub async fn link_with(self, init: DataChannelInit) -> Result<Link, BenchError> {
        let (mut near_events, mut far_events) = (self.near.events(), self.far.events());
        let near = self.near.create_data_channel("bench", init).await?;
        self.negotiate().await?;
        let far = loop {
            tokio::select! {
                Some(event) = near_events.next() => {
                    if let Event::IceCandidate(candidate) = event {
                        self.far.add_ice_candidate(candidate.map(Into::into)).await?;
                    }
                }
                Some(event) = far_events.next() => match event {
                    Event::IceCandidate(candidate) => {
                        self.near.add_ice_candidate(candidate.map(Into::into)).await?;
                    }
                    Event::DataChannel(channel) => break channel,
                    _ => {}
                },
                else => return Err("a connection closed before it was up".into()),
            }
        };
        Ok(Link {
            pair: self,
            near,
            far,
        })
    }

    /// Exchanges the descriptions.
    pub async fn negotiate(&self) -> Result<(), BenchError> {
        self.near.set_local_description(None).await?;
        let offer = self.near.local_description().ok_or("no offer")?;
        self.far.set_remote_description(offer).await?;
        self.far.set_local_description(None).await?;
        let answer = self.far.local_description().ok_or("no answer")?;
        self.near.set_remote_description(answer).await?;
        Ok(())
    }
}

impl Link {
    /// Closes both peers.
    pub async fn close(self) {
        self.pair.near.close().await;
        self.pair.far.close().await;
    }
}
