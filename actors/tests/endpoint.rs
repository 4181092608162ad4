//! Endpoints: silence, loss, restarts, and connections that are let go.

mod common;

use common::{Pair, endpoint, negotiate_with, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    Configuration, ConnectionState, Endpoint, EndpointConfig, Event, IceConnectionState, Message,
    OfferOptions, PeerConnection,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_closes_the_connection() {
    let runtime = runtime(1);
    let pair = Pair::new(&runtime).await;
    let mut events = pair.b.events();
    drop((pair.a, pair.channel_a));
    soon("the peer to see the goodbye", async {
        while let Some(event) = events.next().await {
            if let Event::ConnectionStateChange { state: ConnectionState::Failed, .. } = event {
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
    let Pair { a, b, channel_a, channel_b } = Pair::new(&runtime).await;
    drop(a);
    soon("to send", channel_a.send("still here")).await.expect("open");
    assert_eq!(soon("a message", channel_b.recv()).await, Some("still here".into()));
    assert_eq!(b.connection_state(), ConnectionState::Connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcard_endpoints_connect_over_interface_addresses() {
    let runtime = runtime(2);
    let bind = || Endpoint::bind(&runtime, EndpointConfig::default());
    let (ea, eb) = (bind().await.expect("sockets"), bind().await.expect("sockets"));
    let pair = Pair::between(&ea, &eb).await;
    soon("to send", pair.channel_a.send("hello")).await.expect("open");
    assert_eq!(soon("a message", pair.channel_b.recv()).await, Some("hello".into()));
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
    negotiate_with(&pair.a, &pair.b, options).await.expect("a restart");
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
    soon("to send", pair.channel_b.send("after")).await.expect("open");
    assert_eq!(soon("a message", pair.channel_a.recv()).await, Some("after".into()));
}

#[cfg(feature = "chaos")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_endpoint_loses_no_message() {
    use peerloom_actors::Impairment;
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    ea.impair(Impairment { loss: 0.05, seed: 1 });
    eb.impair(Impairment { loss: 0.05, seed: 2 });
    let pair = Pair::between(&ea, &eb).await;
    let sender = tokio::spawn({
        let channel = pair.channel_a.clone();
        async move {
            for n in 0..200u32 {
                channel.send(vec![n as u8; 3000]).await.expect("open");
            }
        }
    });
    for n in 0..200u32 {
        let got = soon("a message", pair.channel_b.recv()).await;
        assert_eq!(got, Some(Message::from(vec![n as u8; 3000])));
    }
    sender.await.expect("no panic");
}

#[cfg(feature = "chaos")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed_and_survived() {
    use peerloom_actors::Cause;
    use std::time::Duration;
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let impatient = || {
        let mut config = Configuration::default();
        config.ice.consent_interval = Duration::from_millis(50);
        config.ice.disconnected_after = Duration::from_millis(300);
        config
    };
    let pair = Pair::with(&ea, &eb, impatient(), impatient()).await;
    let mut events = pair.a.events();
    eb.silence(true);
    state(&mut events, ConnectionState::Disconnected).await;
    eb.silence(false);
    state(&mut events, ConnectionState::Connected).await;
    soon("to send", pair.channel_a.send("back")).await.expect("open");
    assert_eq!(soon("a message", pair.channel_b.recv()).await, Some("back".into()));
    assert_eq!(pair.a.cause(), None::<Cause>);
}

#[cfg(feature = "chaos")]
async fn state(events: &mut (impl futures::Stream<Item = Event> + Unpin), wanted: ConnectionState) {
    soon("a state", async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::ConnectionStateChange { state, .. } if state == wanted) {
                return;
            }
        }
        panic!("the connection ended");
    })
    .await;
}
