//! Faults of the network under connections: loss and silence.
#![cfg(feature = "chaos")]

mod common;

use std::time::Duration;

use common::{Pair, endpoint, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{Configuration, ConnectionState, Event, Impairment, Message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lossy_endpoint_loses_no_message() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    ea.impair(Impairment {
        loss: 0.05,
        seed: 1,
    });
    eb.impair(Impairment {
        loss: 0.05,
        seed: 2,
    });
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed_and_survived() {
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
    soon("to send", pair.channel_a.send("back"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", pair.channel_b.recv()).await,
        Some("back".into())
    );
    assert_eq!(pair.a.cause(), None);
}

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
