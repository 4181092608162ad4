//! How channels end, and what becomes of their ids.

use std::time::Duration;

use super::super::*;
use super::carrier::Below;
use super::pair::*;
use crate::config::ChannelConfig;
use crate::sctp;

with_all_engines!(
    close_delivers_what_was_sent_and_frees_the_id,
    both_may_close_at_once_and_ids_given_by_us_are_used_again,
    a_channel_can_be_closed_while_the_peer_is_sending,
    a_channel_the_peer_never_knew_closes_all_the_same,
    the_end_of_the_association_closes_all_channels,
    each_end_opens_half_of_the_channels_and_both_together_all,
    a_channel_for_which_no_id_is_left_closes_and_says_so,
);

fn close_delivers_what_was_sent_and_frees_the_id(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let (keep, _) = pair.open(0, labelled("keep"));
    for round in 0..4 {
        let closer = round % 2;
        let init = ChannelInit {
            negotiated: Some(StreamId(50)),
            ..labelled("again")
        };
        let (a, _) = pair.open(0, init.clone());
        let (b, _) = pair.open(1, init);
        pair.settle();
        let ids = [a, b];
        pair.send(
            closer,
            ids[closer],
            Message::Binary(vec![1; 200_000].into()),
        );
        pair.ends[closer].channels.close(ids[closer]);
        pair.settle();
        assert_eq!(
            pair.messages(1 - closer, ids[1 - closer]).len(),
            1,
            "round {round}"
        );
        assert!(pair.closed(0, a) && pair.closed(1, b), "round {round}");
        let closing = Event::Closing(ids[1 - closer]);
        assert!(pair.ends[1 - closer].events.contains(&closing));
    }
    pair.send(0, keep, text("alive"));
    pair.settle();
    assert_eq!(pair.ends[0].channels.state(keep), State::Open);
}

fn both_may_close_at_once_and_ids_given_by_us_are_used_again(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    for _ in 0..5 {
        let (ours, theirs) = pair.open(0, labelled("both"));
        pair.ends[0].channels.close(ours);
        pair.ends[1].channels.close(theirs);
        pair.settle();
        assert!(
            pair.closed(0, ours) && pair.closed(1, theirs),
            "{:?} {:?}",
            pair.ends[0].channels,
            pair.ends[1].channels
        );
    }
    assert_eq!(pair.ends[0].channels.ids().count(), 0);
    assert_eq!(pair.ends[1].channels.ids().count(), 0);
}

#[test]
fn a_channel_closed_before_the_role_is_known_frees_its_id() {
    let mut channels = Channels::new(ChannelConfig::default());
    let init = ChannelInit {
        negotiated: Some(StreamId(5)),
        ..labelled("agreed")
    };
    let first = channels.open(init.clone()).expect("a free id");
    channels.close(first);
    let event = channels.poll_event();
    assert!(matches!(event, Some(Event::Closed { channel, cause: None }) if channel == first));
    channels.open(init).expect("the id is free again");
}

fn a_channel_can_be_closed_while_the_peer_is_sending(engines: [Below; 2]) {
    for takes in [true, false] {
        let mut pair = Pair::new(engines);
        let (ours, theirs) = pair.open(0, labelled("busy"));
        pair.ends[0].takes = takes;
        for _ in 0..12 {
            while pair.ends[1]
                .channels
                .send(theirs, Message::Binary(vec![1; 30_000].into()))
                .is_ok()
            {}
            pair.run(Duration::from_millis(1), |_| false);
        }
        pair.ends[0].channels.close(ours);
        assert!(pair.run(Duration::from_secs(60), |p| p.closed(0, ours)
            && p.closed(1, theirs)));
        let (_, again) = pair.open(0, labelled("next"));
        pair.send(1, again, text("alive"));
        pair.settle();
        assert!(pair.ends[0].association.is_clean());
    }
}

fn a_channel_the_peer_never_knew_closes_all_the_same(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let init = ChannelInit {
        negotiated: Some(StreamId(8)),
        ..labelled("lonely")
    };
    let (ours, _) = pair.open(0, init);
    pair.ends[0].channels.close(ours);
    assert!(pair.run(Duration::from_secs(20), |pair| pair.closed(0, ours)));
}

fn the_end_of_the_association_closes_all_channels(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let (ours, theirs) = pair.open(0, labelled("x"));
    let now = pair.now;
    pair.ends[0].association.abort(now);
    pair.settle();
    let by_user = Some(sctp::ErrorCause::USER_INITIATED_ABORT);
    let reason = match engines[0] {
        Below::Quic => sctp::CloseReason::Peer,
        Below::Packaged | Below::Native => sctp::CloseReason::Aborted(by_user),
    };
    let cause = Some(CloseCause::Association(reason));
    assert!(pair.ends[1].events.contains(&Event::Closed {
        channel: theirs,
        cause
    }));
    assert_eq!(
        pair.ends[0].channels.send(ours, text("x")),
        Err(SendError::NotOpen)
    );
    assert_eq!(
        pair.ends[1].channels.open(labelled("y")),
        Err(OpenError::Closed)
    );
}

fn each_end_opens_half_of_the_channels_and_both_together_all(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let all = ChannelConfig::default().max_channels;
    for end in [0, 1] {
        for n in 0..all / 2 {
            let opened = pair.ends[end].channels.open(labelled(&n.to_string()));
            opened.expect("a channel");
        }
    }
    pair.settle();
    for end in &pair.ends {
        let open = |id: &ChannelId| end.channels.state(*id) == State::Open;
        assert_eq!(end.channels.ids().filter(open).count(), all);
    }
    let one_more = pair.ends[0].channels.open(labelled("one more"));
    assert_eq!(one_more, Err(OpenError::TooMany));
}

fn a_channel_for_which_no_id_is_left_closes_and_says_so(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let half = ChannelConfig::default().max_channels / 2;
    for n in 0..half {
        let opened = pair.ends[0].channels.open(labelled(&n.to_string()));
        opened.expect("a channel");
    }
    pair.settle();
    let id = pair.ends[0].channels.open(labelled("one more"));
    let id = id.expect("the ids are counted later");
    pair.settle();
    let closed = Event::Closed {
        channel: id,
        cause: Some(CloseCause::NoStream),
    };
    assert!(pair.ends[0].events.contains(&closed));
}
