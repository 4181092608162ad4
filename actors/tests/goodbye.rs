//! What was sent just before a close still arrives.

mod common;

use bytes::Bytes;
use common::relay::Relay;
use common::{channel, endpoint, incoming, negotiate_through, over, runtime, soon};
use peerloom_actors::{Cause, DataChannel, DataTransport, Message, PeerConnection, Runtime};

/// Two connected peers whose wire can be held up.
struct Wired {
    relay: Relay,
    a: PeerConnection,
    channel_a: DataChannel,
    b: PeerConnection,
    channel_b: DataChannel,
}

async fn wired(runtime: &Runtime, transport: DataTransport) -> Wired {
    let (at_a, at_b) = (endpoint(runtime).await, endpoint(runtime).await);
    let relay = Relay::between([at_a.local_addrs()[0], at_b.local_addrs()[0]]).await;
    let new = |endpoint| PeerConnection::new(endpoint, over(transport));
    let a = new(&at_a).await.expect("a connection");
    let b = new(&at_b).await.expect("a connection");
    let mut events = b.events();
    let channel_a = channel(&a, "first").await;
    negotiate_through(&a, &b, relay.seen_by).await;
    let channel_b = soon("the channel", incoming(&mut events)).await;
    soon("to open", channel_a.opened()).await.expect("open");
    Wired {
        relay,
        a,
        channel_a,
        b,
        channel_b,
    }
}

/// Everything up to the end of a channel.
async fn rest(channel: &DataChannel) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(message) = soon("a message or the end", channel.recv()).await {
        all.push(message);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_arrives_together_with_the_close_is_delivered_first() {
    let runtime = runtime(2);
    for (round, transport) in
        (0..10).flat_map(|round| [(round, DataTransport::Sctp), (round, DataTransport::Quic)])
    {
        let mut wired = wired(&runtime, transport).await;
        wired.relay.hold();
        while wired.relay.sent.try_recv().is_ok() {}
        let last = Message::Binary(Bytes::from(vec![round; 1000]));
        wired.channel_a.send(last.clone()).await.expect("open");
        let mut left = 0;
        while left < 1000 {
            left = soon("it to leave", wired.relay.sent.recv())
                .await
                .expect("carried");
        }
        soon("to close", wired.a.close()).await;
        soon("the goodbye to leave", wired.relay.sent.recv())
            .await
            .expect("carried");
        wired.relay.release();
        assert_eq!(rest(&wired.channel_b).await, [last], "round {round}");
        assert_eq!(wired.b.cause(), Some(Cause::ClosedByPeer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_the_close_is_delivered_to_a_late_reader() {
    // Three times what a channel's inbox takes, and less than SCTP's window.
    const COUNT: usize = 48;
    let runtime = runtime(2);
    // Over QUIC the amount falls earlier: docs/deviations.md.
    let wired = wired(&runtime, DataTransport::Sctp).await;
    let sent = vec![Message::Binary(Bytes::from(vec![7; 64 * 1024])); COUNT];
    for message in &sent {
        wired.channel_a.send(message.clone()).await.expect("open");
    }
    soon("all to be acknowledged", async {
        while wired.channel_a.buffered_amount() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon("to close", wired.a.close()).await;
    soon("the other end to close", wired.channel_b.closed()).await;
    assert_eq!(rest(&wired.channel_b).await, sent);
}
