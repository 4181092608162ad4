//! What an application, or somebody who knows no rules, does to a session.

use peerloom_transports_proto::jsep::SdpType;
use peerloom_transports_proto::sdp::{Direction, MediaKind};
use proptest::prelude::*;

/// The one that gives way when offers cross, and the one that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Polite,
    Impolite,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Polite => Self::Impolite,
            Self::Impolite => Self::Polite,
        }
    }
}

/// Transceivers are named by a number that counts those ever seen, round and round.
#[derive(Debug, Clone)]
pub(super) enum Call {
    RequestData,
    RestartIce,
    CreateOffer {
        restart: bool,
    },
    CreateAnswer,
    SetLocal(Option<SdpType>),
    SetLocalEdited,
    SetRemoteNonsense,
    Rollback {
        remote: bool,
    },
    Candidate {
        elsewhere: bool,
    },
    EndOfCandidates,
    AddTransceiver(MediaKind, Direction),
    AddSimulcast,
    AddTrack(MediaKind),
    RemoveTrack(usize),
    SetDirection(usize, Direction),
    SetStreams(usize),
    Stop(usize),
    /// Offers, and all goes on until nothing is on its way.
    Negotiate,
    /// The next signal arrives.
    Deliver,
    /// The next signal is lost, unless it is an answer: an application repeats those.
    Lose,
}

fn kind() -> impl Strategy<Value = MediaKind> {
    prop_oneof![Just(MediaKind::Audio), Just(MediaKind::Video)]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![
        Just(Direction::SendRecv),
        Just(Direction::SendOnly),
        Just(Direction::RecvOnly),
        Just(Direction::Inactive)
    ]
}

fn negotiation() -> impl Strategy<Value = Call> {
    let kind = || {
        prop_oneof![
            Just(SdpType::Offer),
            Just(SdpType::PrAnswer),
            Just(SdpType::Answer)
        ]
    };
    prop_oneof![
        2 => Just(Call::RequestData),
        1 => Just(Call::RestartIce),
        2 => any::<bool>().prop_map(|restart| Call::CreateOffer { restart }),
        2 => Just(Call::CreateAnswer),
        4 => proptest::option::of(kind()).prop_map(Call::SetLocal),
        1 => Just(Call::SetLocalEdited),
        1 => Just(Call::SetRemoteNonsense),
        1 => any::<bool>().prop_map(|remote| Call::Rollback { remote }),
        1 => any::<bool>().prop_map(|elsewhere| Call::Candidate { elsewhere }),
        1 => Just(Call::EndOfCandidates),
        6 => Just(Call::Deliver),
        1 => Just(Call::Lose),
        3 => Just(Call::Negotiate),
    ]
}

fn media() -> impl Strategy<Value = Call> {
    prop_oneof![
        2 => (kind(), direction()).prop_map(|(kind, to)| Call::AddTransceiver(kind, to)),
        1 => Just(Call::AddSimulcast),
        3 => kind().prop_map(Call::AddTrack),
        1 => (0..8_usize).prop_map(Call::RemoveTrack),
        2 => (0..8_usize, direction()).prop_map(|(which, to)| Call::SetDirection(which, to)),
        1 => (0..8_usize).prop_map(Call::SetStreams),
        3 => (0..8_usize).prop_map(Call::Stop),
    ]
}

/// Calls of one side or the other.
pub(super) fn calls(with_media: bool) -> impl Strategy<Value = Vec<(Side, Call)>> {
    let side = prop_oneof![Just(Side::Polite), Just(Side::Impolite)];
    let call = if with_media {
        prop_oneof![3 => negotiation(), 2 => media()].boxed()
    } else {
        negotiation().boxed()
    };
    proptest::collection::vec((side, call), 0..60)
}
