//! Endpoints: silence, loss, restarts, and connections that are let go.

mod common;

use common::{Pair, negotiate_with, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    ConnectionState, Endpoint, EndpointConfig, Event, IceConnectionState, Message, OfferOptions,
    PeerConnection,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_closes_the_connection() {
    let runtime = runtime(1);
    let pair = Pair::new(&runtime).await;
    let mut events = pair.b.events();
    drop((pair.a, pair.channel_a));
    soon("the peer to see the goodbye", async {
        while let Some(event) = events.next().await {
            if let Event::ConnectionStateChange {
                state: ConnectionState::Failed,
                ..
            } = event
            {
                break;
            }
        }
    })
    .await;
    assert_eq!(soon("the end", pair.channel_b.recv()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_keeps_its_connection_alive() {
    let runtime = runtime(1);
    let Pair {
        a,
        b,
        channel_a,
        channel_b,
    } = Pair::new(&runtime).await;
    drop(a);
    soon("to send", channel_a.send("still here"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", channel_b.recv()).await,
        Some("still here".into())
    );
    assert_eq!(b.connection_state(), ConnectionState::Connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcard_endpoints_connect_over_interface_addresses() {
    let runtime = runtime(2);
    let bind = || Endpoint::bind(&runtime, EndpointConfig::default());
    let (ea, eb) = (
        bind().await.expect("sockets"),
        bind().await.expect("sockets"),
    );
    let pair = Pair::between(&ea, &eb).await;
    soon("to send", pair.channel_a.send("hello"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", pair.channel_b.recv()).await,
        Some("hello".into())
    );
    let stats = pair.a.get_stats().await.expect("alive");
    let path = stats.candidate_pair.expect("a selected pair").path;
    assert!(!path.local.ip().is_unspecified());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_keeps_channels_and_data() {
    let runtime = runtime(2);
    let pair = Pair::new(&runtime).await;
    let ufrag = |pc: &PeerConnection| {
        let sdp = pc.local_description().expect("set").sdp;
        let start = sdp.find("a=ice-ufrag:").expect("credentials");
        sdp[start..].lines().next().expect("a line").to_owned()
    };
    let before = (ufrag(&pair.a), ufrag(&pair.b));
    let sender = tokio::spawn({
        let channel = pair.channel_a.clone();
        async move {
            for n in 0..2000u32 {
                channel.send(n.to_be_bytes().to_vec()).await.expect("open");
            }
        }
    });
    let options = OfferOptions { ice_restart: true };
    negotiate_with(&pair.a, &pair.b, options)
        .await
        .expect("a restart");
    for n in 0..2000u32 {
        let got = soon("a message", pair.channel_b.recv()).await;
        assert_eq!(got, Some(Message::from(n.to_be_bytes().to_vec())));
    }
    sender.await.expect("no panic");
    assert_ne!(before, (ufrag(&pair.a), ufrag(&pair.b)));
    soon("the new generation", async {
        let connected = [IceConnectionState::Connected, IceConnectionState::Completed];
        while !connected.contains(&pair.a.ice_connection_state()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon("to send", pair.channel_b.send("after"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", pair.channel_a.recv()).await,
        Some("after".into())
    );
}
