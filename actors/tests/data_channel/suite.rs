// Included once for each transport: `TRANSPORT` says which.

use crate::common::{Pair, channel, endpoint, over, runtime, soon};
use futures::{FutureExt as _, Stream, StreamExt as _};
use peerloom_actors::{
    Cause, DataChannel, DataChannelEvent, DataChannelInit, Error, Event,
    PeerConnection, Priority, ReadyState, SendError, TrySendError,
};

async fn new(runtime: &peerloom_actors::Runtime) -> PeerConnection {
    PeerConnection::new(&endpoint(runtime).await, over(TRANSPORT))
        .await
        .expect("a connection")
}

fn negotiated(id: u16) -> DataChannelInit {
    DataChannelInit {
        negotiated: true,
        id: Some(id),
        ..DataChannelInit::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_are_those_of_the_specification() {
    let pc = new(&runtime(1)).await;
    let made = channel(&pc, "label").await;
    assert_eq!(made.label(), "label");
    assert_eq!(made.protocol(), "");
    assert!(made.ordered());
    assert!(!made.negotiated());
    assert_eq!(made.max_retransmits(), None);
    assert_eq!(made.max_packet_life_time(), None);
    assert_eq!(made.priority(), Priority::Low);
    assert_eq!(made.id(), None, "given with the DTLS role");
    assert_eq!(made.ready_state(), ReadyState::Connecting);
    assert_eq!(made.buffered_amount(), 0);
    assert_eq!(made.buffered_amount_low_threshold(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_channels_are_refused_by_name() {
    let pc = new(&runtime(1)).await;
    let create = async |label: &str, init| {
        let made = pc.create_data_channel(label, init).await;
        made.err().map(|error: Error| error.name())
    };
    let plain = DataChannelInit::default;
    let long = "x".repeat(65_536);
    let type_error = Some("TypeError");
    assert_eq!(create(&long, plain()).await, type_error);
    let protocol = DataChannelInit {
        protocol: long,
        ..plain()
    };
    assert_eq!(create("x", protocol).await, type_error);
    let both = DataChannelInit {
        max_retransmits: Some(0),
        max_packet_life_time: Some(0),
        ..plain()
    };
    assert_eq!(create("x", both).await, type_error);
    let without = DataChannelInit {
        id: None,
        ..negotiated(0)
    };
    assert_eq!(create("x", without).await, type_error);
    assert_eq!(create("x", negotiated(65_535)).await, type_error);
    assert_eq!(create("x", negotiated(7)).await, None);
    assert_eq!(create("x", negotiated(7)).await, Some("OperationError"));
    for id in [7, 65_535] {
        let ignored = DataChannelInit {
            id: Some(id),
            ..plain()
        };
        let made = pc.create_data_channel("x", ignored).await;
        let made = made.expect("an id of no negotiated channel is nothing");
        assert_eq!(made.id(), None);
    }
    for id in [0, 65_534] {
        let made = pc.create_data_channel("x", negotiated(id)).await;
        assert_eq!(made.expect("a channel").id(), Some(id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_what_both_ends_tell() {
    let pair = Pair::over(&runtime(2), TRANSPORT).await;
    let mut events = pair.b.events();
    let init = DataChannelInit {
        ordered: false,
        max_retransmits: Some(3),
        protocol: "proto".into(),
        priority: Priority::High,
        ..DataChannelInit::default()
    };
    let ours = pair.a.create_data_channel("odd", init).await;
    let ours = ours.expect("a channel");
    let theirs = soon("the channel", crate::common::incoming(&mut events)).await;
    for channel in [&ours, &theirs] {
        assert_eq!(channel.label(), "odd");
        assert_eq!(channel.protocol(), "proto");
        assert!(!channel.ordered());
        assert_eq!(channel.max_retransmits(), Some(3));
        assert_eq!(channel.max_packet_life_time(), None);
        assert_eq!(channel.priority(), Priority::High);
    }
    soon("it to open", ours.opened()).await.expect("open");
    assert_eq!(ours.id(), theirs.id());
    assert_eq!(theirs.ready_state(), ReadyState::Open);
    let ids = [pair.channel_a.id(), ours.id()].map(|id| id.expect("open"));
    assert_eq!(
        ids,
        [1, 3],
        "the offerer is the DTLS server: RFC 8832 section 6"
    );
    for channel in [&pair.channel_a, &pair.channel_b] {
        assert_eq!((channel.label(), channel.protocol()), ("first", ""));
        assert!(channel.ordered() && !channel.negotiated());
        assert_eq!(channel.max_retransmits(), None);
        assert_eq!(channel.priority(), Priority::Low);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_channel_is_told_once_and_an_agreed_one_never() {
    let pair = Pair::over(&runtime(2), TRANSPORT).await;
    let mut events = pair.b.events();
    let mut agreed = Vec::new();
    for pc in [&pair.a, &pair.b] {
        let made = pc.create_data_channel("agreed", negotiated(100)).await;
        agreed.push(made.expect("a channel"));
    }
    agreed[0].send("x").await.expect("open");
    assert!(soon("the message", agreed[1].recv()).await.is_some());
    assert!(agreed[0].negotiated() && agreed[1].negotiated());
    let ours = channel(&pair.a, "announced").await;
    let theirs = soon("the channel", crate::common::incoming(&mut events)).await;
    assert_eq!(theirs.label(), "announced");
    ours.send("x").await.expect("open");
    assert!(soon("the message", theirs.recv()).await.is_some());
    pair.b.close().await;
    while let Some(event) = soon("an event", events.next()).await {
        assert!(!matches!(event, Event::DataChannel(_)), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_is_told_once_at_both_ends() {
    let runtime = runtime(2);
    let (a, b) = (new(&runtime).await, new(&runtime).await);
    let mut incoming = b.events();
    let ours = channel(&a, "x").await;
    let mut told = ours.events();
    assert_eq!(ours.ready_state(), ReadyState::Connecting);
    crate::common::negotiate(&a, &b).await.expect("a negotiation");
    let theirs = soon("the channel", crate::common::incoming(&mut incoming)).await;
    assert_eq!(theirs.ready_state(), ReadyState::Open);
    // What was sent through it is there: it was open for a while before anybody listened.
    soon("it to open", ours.opened()).await.expect("open");
    ours.send("x").await.expect("open");
    assert!(soon("the message", theirs.recv()).await.is_some());
    let mut told_there = theirs.events();
    for (events, channel) in [(&mut told, &ours), (&mut told_there, &theirs)] {
        let event = soon("an event", events.next()).await;
        assert_eq!(event, Some(DataChannelEvent::Open));
        assert_eq!(channel.ready_state(), ReadyState::Open);
    }
    ours.close().await;
    for events in [&mut told, &mut told_there, &mut theirs.events()] {
        let mut rest = Vec::new();
        while rest.last() != Some(&DataChannelEvent::Close) {
            rest.push(soon("an event", events.next()).await.expect("not over"));
        }
        assert!(!rest.contains(&DataChannelEvent::Open), "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_comes_before_the_close_that_it_causes() {
    let runtime = runtime(2);
    let (a, b) = (new(&runtime).await, new(&runtime).await);
    let other = new(&runtime).await;
    let channel = channel(&a, "x").await;
    let mut events = channel.events();
    let print = |pc: &PeerConnection| pc.certificate().fingerprint().to_string();
    let alter = |answer: &mut peerloom_actors::SessionDescription| {
        answer.sdp = answer.sdp.replace(&print(&b), &print(&other));
    };
    crate::common::negotiate_altered(&a, &b, Default::default(), alter)
        .await
        .expect("well-formed");
    let first = soon("an event", events.next()).await;
    let error = Cause::Fingerprint { sent_alert: None };
    let detail = error.error_detail().map(|detail| detail.name());
    assert_eq!(detail, Some("fingerprint-failure"));
    assert_eq!(first, Some(DataChannelEvent::Error(error.clone())));
    let second = soon("an event", events.next()).await;
    assert_eq!(second, Some(DataChannelEvent::Close));
    assert_eq!(channel.ready_state(), ReadyState::Closed);
    assert_eq!(channel.cause(), Some(error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_goes_through_its_states_with_events_at_both_ends() {
    let pair = Pair::over(&runtime(2), TRANSPORT).await;
    let (mut ours, mut theirs) = (pair.channel_a.events(), pair.channel_b.events());
    assert_eq!(pair.channel_a.ready_state(), ReadyState::Open);
    pair.channel_a.close().await;
    assert!(pair.channel_a.ready_state() >= ReadyState::Closing);
    for events in [&mut ours, &mut theirs] {
        let mut seen = Vec::new();
        while seen.last() != Some(&DataChannelEvent::Close) {
            seen.push(soon("an event", events.next()).await.expect("not over"));
        }
        seen.retain(|event| *event != DataChannelEvent::Open);
        assert_eq!(seen, [DataChannelEvent::Closing, DataChannelEvent::Close]);
    }
    for channel in [&pair.channel_a, &pair.channel_b] {
        assert_eq!(channel.ready_state(), ReadyState::Closed);
    }
    pair.a.close().await;
    for events in [&mut ours, &mut theirs] {
        let more = events.next().now_or_never();
        assert_eq!(more, None, "nothing comes after the close");
    }
    // The state is looked at before the length.
    let sent = pair.channel_a.try_send(vec![0; 17 * 1024 * 1024]);
    let sent = sent.expect_err("closed");
    assert!(matches!(
        sent,
        TrySendError::Never(SendError::NotOpen { .. })
    ));
    assert!(sent.to_string().starts_with("InvalidStateError"), "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_cannot_send_before_it_is_open() {
    let pc = new(&runtime(1)).await;
    let made = channel(&pc, "x").await;
    let sent = made.try_send("early").expect_err("connecting");
    assert!(sent.to_string().starts_with("InvalidStateError"), "{sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffered_amount_rises_falls_and_reports_once_per_crossing() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let channel = &pair.channel_a;
    let mut events = channel.events();
    channel.set_buffered_amount_low_threshold(1000);
    for _ in 0..2 {
        channel.try_send(vec![1; 200_000]).expect("credit");
        assert!(channel.buffered_amount() >= 1000);
        let event = soon("the low event", events.next()).await;
        assert_eq!(event, Some(DataChannelEvent::BufferedAmountLow));
        let got = soon("the message", pair.channel_b.recv())
            .await
            .expect("open");
        assert_eq!(got.len(), 200_000);
    }
    emptied(channel).await;
    channel.close().await;
    soon("to close", channel.closed()).await;
    let rest = until_closed(&mut events).await;
    assert_eq!(rest, [DataChannelEvent::Closing, DataChannelEvent::Close]);
}

/// What is told up to the close.
async fn until_closed(
    events: &mut (impl Stream<Item = DataChannelEvent> + Unpin),
) -> Vec<DataChannelEvent> {
    let mut told = Vec::new();
    while told.last() != Some(&DataChannelEvent::Close) {
        let event = soon("the closing events", events.next()).await;
        told.push(event.expect("not over"));
    }
    told
}

/// Everything sent has left.
async fn emptied(channel: &DataChannel) {
    let empty = async {
        while channel.buffered_amount() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the buffer to be empty", empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_that_never_exceeded_the_threshold_do_not_fall_to_it() {
    let runtime = runtime(2);
    let pair = Pair::over(&runtime, TRANSPORT).await;
    let channel = &pair.channel_a;
    assert_eq!(channel.buffered_amount_low_threshold(), 0);
    channel.set_buffered_amount_low_threshold(500_000);
    assert_eq!(channel.buffered_amount_low_threshold(), 500_000);
    let mut events = channel.events();
    channel.try_send(vec![1; 200_000]).expect("credit");
    emptied(channel).await;
    channel.close().await;
    let rest = until_closed(&mut events).await;
    assert_eq!(rest, [DataChannelEvent::Closing, DataChannelEvent::Close]);
}
