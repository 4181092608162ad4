//! Two peers in one process, over real loopback sockets.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod bare;
pub(crate) mod relay;

use std::net::SocketAddr;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use peerloom_actors::{
    Configuration, DataChannel, DataChannelInit, DataTransport, Endpoint, EndpointConfig, Event,
    IceGatheringState, OfferOptions, PeerConnection, Runtime, RuntimeConfig, SessionDescription,
};

/// A test that waits this long has failed: generous, since machines may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Ends a test that hangs.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for: {what}"),
    }
}

pub(crate) fn runtime(arbiters: usize) -> Runtime {
    Runtime::start(RuntimeConfig::default().with_arbiters(arbiters)).expect("threads")
}

pub(crate) async fn endpoint(runtime: &Runtime) -> Endpoint {
    let config = EndpointConfig {
        bind: vec![LOOPBACK],
    };
    Endpoint::bind(runtime, config)
        .await
        .expect("loopback can be bound")
}

/// Two connected peers with a channel between them.
pub(crate) struct Pair {
    pub(crate) a: PeerConnection,
    pub(crate) b: PeerConnection,
    pub(crate) channel_a: DataChannel,
    pub(crate) channel_b: DataChannel,
}

impl Pair {
    /// On endpoints of their own.
    pub(crate) async fn new(runtime: &Runtime) -> Pair {
        let (a, b) = (endpoint(runtime).await, endpoint(runtime).await);
        Pair::between(&a, &b).await
    }

    pub(crate) async fn between(a: &Endpoint, b: &Endpoint) -> Pair {
        Pair::with(a, b, Configuration::default(), Configuration::default()).await
    }

    /// On endpoints of their own, with channels over this transport and no other.
    pub(crate) async fn over(runtime: &Runtime, transport: DataTransport) -> Pair {
        let (a, b) = (endpoint(runtime).await, endpoint(runtime).await);
        Pair::with(&a, &b, over(transport), over(transport)).await
    }

    pub(crate) async fn with(
        a: &Endpoint,
        b: &Endpoint,
        for_a: Configuration,
        for_b: Configuration,
    ) -> Pair {
        let a = PeerConnection::new(a, for_a).await.expect("a connection");
        let b = PeerConnection::new(b, for_b).await.expect("a connection");
        let mut events = b.events();
        let channel_a = channel(&a, "first").await;
        negotiate(&a, &b).await.expect("a negotiation");
        let channel_b = soon("the channel at the other end", incoming(&mut events)).await;
        soon("the channel to open", channel_a.opened())
            .await
            .expect("an open channel");
        Pair {
            a,
            b,
            channel_a,
            channel_b,
        }
    }
}

/// A configuration with this transport for channels.
pub(crate) fn over(data_transport: DataTransport) -> Configuration {
    Configuration {
        data_transport,
        ..Configuration::default()
    }
}

pub(crate) async fn channel(pc: &PeerConnection, label: &str) -> DataChannel {
    pc.create_data_channel(label, DataChannelInit::default())
        .await
        .expect("a channel")
}

/// The next channel the peer opens.
pub(crate) async fn incoming(events: &mut (impl Stream<Item = Event> + Unpin)) -> DataChannel {
    while let Some(event) = events.next().await {
        if let Event::DataChannel(channel) = event {
            return channel;
        }
    }
    panic!("the connection ended without a channel")
}

/// Offer, answer and trickled candidates in both directions.
pub(crate) async fn negotiate(
    a: &PeerConnection,
    b: &PeerConnection,
) -> Result<(), peerloom_actors::Error> {
    negotiate_with(a, b, OfferOptions::default()).await
}

pub(crate) async fn negotiate_with(
    a: &PeerConnection,
    b: &PeerConnection,
    options: OfferOptions,
) -> Result<(), peerloom_actors::Error> {
    negotiate_altered(a, b, options, |_| {}).await
}

/// The same, with an answer that somebody alters on its way.
pub(crate) async fn negotiate_altered(
    a: &PeerConnection,
    b: &PeerConnection,
    options: OfferOptions,
    alter: impl FnOnce(&mut SessionDescription),
) -> Result<(), peerloom_actors::Error> {
    let (from_a, from_b) = (a.events(), b.events());
    let offer = a.create_offer(options).await?;
    a.set_local_description(Some(offer.clone())).await?;
    b.set_remote_description(offer).await?;
    b.set_local_description(None).await?;
    // The answer carries its candidates: those that come later wait in the operations chain
    // until an identity provider has judged the answer.
    gathered([b, b]).await;
    let mut answer = b.local_description().expect("just set");
    alter(&mut answer);
    a.set_remote_description(answer).await?;
    tokio::spawn(trickle(from_a, b.clone()));
    tokio::spawn(trickle(from_b, a.clone()));
    Ok(())
}

/// The rest of a negotiation after `b` has set its answer: all candidates are in the
/// description or follow it.
pub(crate) async fn negotiate_through_answer(a: &PeerConnection, b: &PeerConnection) {
    gathered([a, b]).await;
    let answer = b.local_description().expect("just set");
    a.set_remote_description(answer).await.expect("an answer");
    tell_candidates(a, b).await;
}

/// Waits until all of them have gathered their candidates.
pub(crate) async fn gathered<const N: usize>(peers: [&PeerConnection; N]) {
    for pc in peers {
        let complete = async {
            while pc.ice_gathering_state() != IceGatheringState::Complete {
                tokio::task::yield_now().await;
            }
        };
        soon("gathering to be over", complete).await;
    }
}

/// Tells the second peer all candidates of the first, which has gathered them.
pub(crate) async fn tell_candidates(from: &PeerConnection, to: &PeerConnection) {
    let description = from.local_description().expect("set").sdp;
    let lines = description
        .lines()
        .filter_map(|line| line.strip_prefix("a="));
    for line in lines.filter(|line| line.starts_with("candidate:")) {
        let candidate = peerloom_actors::IceCandidateInit {
            candidate: line.to_owned(),
            sdp_mline_index: Some(0),
            ..Default::default()
        };
        to.add_ice_candidate(Some(candidate)).await.expect("known");
    }
}

/// Offer and answer with all candidates in them, the first peer's at the second of these
/// addresses and the second's at the first.
pub(crate) async fn negotiate_through(
    a: &PeerConnection,
    b: &PeerConnection,
    via: [SocketAddr; 2],
) {
    let offer = whole_description(a, via[1]).await;
    b.set_remote_description(offer).await.expect("an offer");
    let answer = whole_description(b, via[0]).await;
    a.set_remote_description(answer).await.expect("an answer");
}

/// A peer's description as if its only candidate were elsewhere.
async fn whole_description(pc: &PeerConnection, at: SocketAddr) -> SessionDescription {
    pc.set_local_description(None).await.expect("a description");
    gathered([pc, pc]).await;
    let mut description = pc.local_description().expect("just set");
    let moved = |line: &str| match line.strip_prefix("a=candidate:") {
        Some(candidate) => {
            let mut words: Vec<String> = candidate.split(' ').map(str::to_owned).collect();
            (words[4], words[5]) = (at.ip().to_string(), at.port().to_string());
            format!("a=candidate:{}", words.join(" "))
        }
        None => line.to_owned(),
    };
    let lines: Vec<String> = description.sdp.split("\r\n").map(moved).collect();
    description.sdp = lines.join("\r\n");
    description
}

async fn trickle(mut from: impl Stream<Item = Event> + Unpin, to: PeerConnection) {
    while let Some(event) = from.next().await {
        if let Event::IceCandidate(candidate) = event {
            let done = candidate.is_none();
            // The other end may have been closed by its test.
            drop(to.add_ice_candidate(candidate.map(Into::into)).await);
            if done {
                return;
            }
        }
    }
}
