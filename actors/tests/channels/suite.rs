// Included once for each transport: `TRANSPORT` says which.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use crate::common::{Pair, channel, endpoint, incoming, over, runtime, soon};
use peerloom_actors::{
    Cause, DataChannelInit, Message, PeerConnection, Priority, RECEIVE_CREDIT_BYTES, ReadyState,
    SEND_CREDIT_BYTES, SendError, TrySendError,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_all_sizes_arrive_in_order_and_unchanged() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let sizes = [0, 1, 1024, 64 * 1024, 256 * 1024, 3, 0, 1_000_000];
    let messages: Vec<Message> = sizes
        .iter()
        .enumerate()
        .flat_map(|(n, size)| {
            let text = Message::Text("ü".repeat(size / 2));
            [text, Message::Binary(Bytes::from(vec![n as u8; *size]))]
        })
        .collect();
    let sender = tokio::spawn({
        let (channel, messages) = (pair.channel_a.clone(), messages.clone());
        async move {
            for message in messages {
                channel.send(message).await.expect("open");
            }
        }
    });
    for expected in &messages {
        let got = soon("a message", pair.channel_b.recv())
            .await
            .expect("open");
        assert_eq!(got.len(), expected.len());
        assert_eq!(got, *expected);
    }
    sender.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_in_both_directions() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let count = 10_000u32;
    let send = |channel: peerloom_actors::DataChannel| async move {
        for n in 0..count {
            channel
                .send(Bytes::copy_from_slice(&n.to_be_bytes()))
                .await
                .expect("open");
        }
    };
    let senders = [
        tokio::spawn(send(pair.channel_a.clone())),
        tokio::spawn(send(pair.channel_b.clone())),
    ];
    for channel in [&pair.channel_a, &pair.channel_b] {
        for n in 0..count {
            let got = soon("a message", channel.recv()).await.expect("open");
            assert_eq!(got.into_bytes()[..], n.to_be_bytes());
        }
    }
    for sender in senders {
        sender.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_look_alike_at_both_ends() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let mut events = pair.b.events();
    let inits = [
        DataChannelInit {
            ordered: false,
            ..DataChannelInit::default()
        },
        DataChannelInit {
            ordered: false,
            max_retransmits: Some(0),
            ..DataChannelInit::default()
        },
        DataChannelInit {
            max_packet_life_time: Some(500),
            ..DataChannelInit::default()
        },
        DataChannelInit {
            protocol: "protocol/1".into(),
            priority: Priority::High,
            ..DataChannelInit::default()
        },
    ];
    for (n, init) in inits.into_iter().enumerate() {
        let label = format!("kind {n} ☃");
        let ours = pair
            .a
            .create_data_channel(&label, init.clone())
            .await
            .expect("a channel");
        let theirs = soon("the channel", incoming(&mut events)).await;
        soon("to open", ours.opened()).await.expect("open");
        assert_eq!(
            (theirs.label(), theirs.protocol()),
            (label.as_str(), init.protocol.as_str())
        );
        assert_eq!(theirs.ordered(), init.ordered);
        assert_eq!(theirs.max_retransmits(), init.max_retransmits);
        assert_eq!(theirs.max_packet_life_time(), init.max_packet_life_time);
        assert_eq!(theirs.priority(), init.priority);
        assert_eq!((ours.id(), ours.negotiated()), (theirs.id(), false));
    }
    let init = DataChannelInit {
        negotiated: true,
        id: Some(100),
        ..DataChannelInit::default()
    };
    let ours = pair
        .a
        .create_data_channel("agreed", init.clone())
        .await
        .expect("a channel");
    let theirs = pair
        .b
        .create_data_channel("agreed", init.clone())
        .await
        .expect("a channel");
    soon("to open", ours.opened()).await.expect("open");
    for channel in [&ours, &theirs] {
        assert_eq!((channel.id(), channel.negotiated()), (Some(100), true));
    }
    soon("to send", ours.send("hello")).await.expect("open");
    assert_eq!(soon("a message", theirs.recv()).await, Some("hello".into()));
    let twice = pair
        .a
        .create_data_channel("agreed", init)
        .await
        .expect_err("the id is taken");
    assert_eq!(twice.name(), "OperationError");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_stops_the_sender_and_loses_nothing() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let (count, size) = (1280u32, 16 * 1024);
    let sent = Arc::new(AtomicU32::new(0));
    let sender = tokio::spawn({
        let (channel, sent) = (pair.channel_a.clone(), sent.clone());
        async move {
            for n in 0..count {
                let mut message = vec![0; size];
                message[..4].copy_from_slice(&n.to_be_bytes());
                channel.send(message).await.expect("open");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    // Nobody reads until the sender is a whole inbox ahead.
    let ahead = ((RECEIVE_CREDIT_BYTES + SEND_CREDIT_BYTES) / size / 2) as u32;
    soon("the inbox to fill", async {
        while sent.load(Ordering::Relaxed) < ahead {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Both ends' credit, the peer's SCTP window and what is on its way.
    let bound = ((SEND_CREDIT_BYTES + RECEIVE_CREDIT_BYTES + 8 * 1024 * 1024) / size) as u32;
    for n in 0..count {
        assert!(
            sent.load(Ordering::Relaxed) <= n + bound,
            "unbounded: message {n}"
        );
        let got = soon("a message", pair.channel_b.recv())
            .await
            .expect("open")
            .into_bytes();
        assert_eq!((got.len(), &got[..4]), (size, &n.to_be_bytes()[..]));
    }
    sender.await.expect("no panic");
    assert_eq!(pair.channel_a.ready_state(), ReadyState::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn try_send_gives_the_message_back_when_there_is_no_credit() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let message = Message::from(vec![7; 64 * 1024]);
    let back = soon("the buffers to fill", async {
        loop {
            // Nobody reads.
            match pair.channel_a.try_send(message.clone()) {
                Ok(()) => tokio::task::yield_now().await,
                Err(TrySendError::Full(back)) => return back,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(back, message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_too_long_message_is_refused_and_the_channel_lives_on() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let refused = pair.channel_a.send(vec![0; 17 * 1024 * 1024]).await;
    assert!(
        matches!(refused, Err(SendError::TooLong { .. })),
        "{refused:?}"
    );
    let refused = refused.expect_err("too long").to_string();
    assert!(refused.starts_with("TypeError"), "{refused}");
    soon("to send", pair.channel_a.send("still here"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", pair.channel_b.recv()).await,
        Some("still here".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_is_seen_at_both_ends_and_ids_are_used_again() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let mut events = pair.b.events();
    let agreed = DataChannelInit {
        negotiated: true,
        id: Some(200),
        ..DataChannelInit::default()
    };
    for round in 0..8 {
        let (ours, theirs) = if round < 4 {
            let ours = channel(&pair.a, "announced").await;
            (ours, soon("the channel", incoming(&mut events)).await)
        } else {
            let ours = pair.a.create_data_channel("agreed", agreed.clone()).await;
            let theirs = pair.b.create_data_channel("agreed", agreed.clone()).await;
            (ours.expect("a free id"), theirs.expect("a free id"))
        };
        soon("to open", ours.opened()).await.expect("open");
        soon("to open", theirs.opened()).await.expect("open");
        let (closer, other) = if round % 2 == 0 {
            (&ours, &theirs)
        } else {
            (&theirs, &ours)
        };
        soon("to send", closer.send("last words"))
            .await
            .expect("open");
        closer.close().await;
        assert!(closer.try_send("too late").is_err());
        assert_eq!(
            soon("the last words", other.recv()).await,
            Some("last words".into())
        );
        assert_eq!(soon("the end", other.recv()).await, None);
        soon("the other end to close", other.closed()).await;
        soon("to close", closer.closed()).await;
        assert_eq!(closer.cause(), Some(Cause::ClosedLocally));
        assert_eq!(other.cause(), Some(Cause::ClosedByPeer));
    }
    soon("to send", pair.channel_a.send("others live on"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", pair.channel_b.recv()).await,
        Some("others live on".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_nobody_holds_drains_and_disturbs_nobody() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let mut events = pair.b.events();
    let flood = channel(&pair.a, "flood").await;
    drop(soon("the channel", incoming(&mut events)).await);
    soon("a flood", async {
        for _ in 0..600 {
            flood.send(vec![0; 16 * 1024]).await.expect("open");
        }
    })
    .await;
    soon("to send", pair.channel_a.send("hello"))
        .await
        .expect("open");
    assert_eq!(
        soon("a message", pair.channel_b.recv()).await,
        Some("hello".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_between_the_same_endpoints_both_transfer() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let (first, second) = tokio::join!(Pair::with(&ea, &eb, over(TRANSPORT), over(TRANSPORT)), Pair::with(&ea, &eb, over(TRANSPORT), over(TRANSPORT)));
    let third = Pair::with(&eb, &ea, over(TRANSPORT), over(TRANSPORT)).await;
    let mut paths = BTreeSet::new();
    for pair in [&first, &second, &third] {
        for n in 0..200u32 {
            pair.channel_a
                .send(vec![n as u8; 4000])
                .await
                .expect("open");
            pair.channel_b
                .send(vec![n as u8; 4000])
                .await
                .expect("open");
        }
        for n in 0..200u32 {
            let expected = Some(Message::from(vec![n as u8; 4000]));
            assert_eq!(soon("a message", pair.channel_a.recv()).await, expected);
            assert_eq!(soon("a message", pair.channel_b.recv()).await, expected);
        }
        let stats = pair.a.get_stats().await.expect("alive");
        let path = stats.candidate_pair.expect("a selected pair").path;
        paths.insert(if path.local < path.remote {
            path
        } else {
            path.reversed()
        });
    }
    assert_eq!(paths.len(), 3, "each has a 5-tuple of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_tell_what_was_moved() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    soon("to send", pair.channel_a.send("12345"))
        .await
        .expect("open");
    soon("a message", pair.channel_b.recv())
        .await
        .expect("open");
    let stats = pair.b.get_stats().await.expect("alive");
    let channel = &stats.data_channels[0];
    assert_eq!(
        (channel.label.as_str(), channel.state),
        ("first", ReadyState::Open)
    );
    assert_eq!((channel.messages_received, channel.bytes_received), (1, 5));
    assert!(stats.transport.packets_received > 0);
    let sctp = TRANSPORT == peerloom_actors::DataTransport::Sctp;
    assert_eq!(stats.transport.dtls_version.is_some(), sctp);
    assert_eq!(stats.transport.quic_round_trip.is_some(), !sctp);
    assert_eq!(stats.certificates.len(), 2);
    assert!(
        stats
            .certificates
            .iter()
            .any(|c| c.fingerprint == *pair.a.certificate().fingerprint())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_negotiated_channel_the_peer_never_made_closes() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let init = DataChannelInit {
        negotiated: true,
        id: Some(200),
        ..DataChannelInit::default()
    };
    let alone = pair.a.create_data_channel("alone", init).await;
    let alone = alone.expect("a channel");
    soon("to open", alone.opened()).await.expect("open");
    alone.close().await;
    soon("the channel to close", alone.closed()).await;
    assert_eq!(alone.ready_state(), ReadyState::Closed);
}

/// Opens that many channels at once, and waits until each has carried a message both ways.
async fn open_all_at_once(opener: &PeerConnection, other: &PeerConnection, count: usize) {
    let mut events = other.events();
    let echo = tokio::spawn(async move {
        for _ in 0..count {
            let channel = incoming(&mut events).await;
            tokio::spawn(async move {
                while let Some(message) = channel.recv().await {
                    channel.send(message).await.expect("open");
                }
            });
        }
    });
    let labels: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let made = labels.iter().map(|label| channel(opener, label));
    let channels = futures::future::join_all(made).await;
    for (channel, label) in channels.iter().zip(&labels) {
        soon("to open", channel.opened()).await.expect("open");
        channel.send(label.clone()).await.expect("open");
    }
    for (channel, label) in channels.iter().zip(&labels) {
        let echoed = soon("the echo", channel.recv()).await;
        assert_eq!(echoed, Some(label.clone().into()));
    }
    soon("all channels", echo).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_channels_opened_at_once_by_both_ends_all_work() {
    const COUNT: usize = 500;
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    tokio::join!(
        open_all_at_once(&pair.a, &pair.b, COUNT),
        open_all_at_once(&pair.b, &pair.a, COUNT),
    );
}
