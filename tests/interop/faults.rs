//! What is known of the other implementations: features they do not have, and
//! checks that fail because of them.
//!
//! An entry is a claim about somebody else's program, so each names what was
//! seen. A check listed as failing that passes is reported like one that
//! fails: the entry is out of date then.

use crate::cases::{Case, Way};
use crate::judge::Verdict;
use crate::peers::Kind;

/// Which of the two a fault depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Either,
    Them,
}

impl Who {
    fn is(self, kind: Kind) -> bool {
        match self {
            Self::Either => true,
            Self::Them => kind != Kind::Peerloom,
        }
    }
}

/// One reviewed fault.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: Kind,
    column: Column,
    pub(crate) verdict: Verdict,
    /// Who drives the check when it goes wrong.
    drives: Who,
    /// One of these stands in the failure if it is this fault; any other is ours.
    pub(crate) symptoms: &'static [&'static str],
    /// What shows it without Peerloom, where something does (`claims.rs`).
    pub(crate) shown_by: &'static [&'static str],
    /// Why, with what was seen.
    pub(crate) why: &'static str,
}

/// A column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    /// Connecting, Peerloom making the offer.
    Answers,
    /// Connecting, the other side making the offer.
    Offers,
    Channels,
    Sizes,
    Empty,
    Buffered,
    Ordered,
    Unreliable,
    Close,
    Restart,
    Renegotiate,
    Throughput,
    Identity,
    WrongFingerprint,
    Mdns,
    Tcp,
    TurnUdp,
    TurnTcp,
    TurnTls,
}

impl Column {
    pub(crate) const ALL: [Self; 19] = [
        Self::Answers,
        Self::Offers,
        Self::Channels,
        Self::Sizes,
        Self::Empty,
        Self::Buffered,
        Self::Ordered,
        Self::Unreliable,
        Self::Close,
        Self::Restart,
        Self::Renegotiate,
        Self::Throughput,
        Self::Identity,
        Self::WrongFingerprint,
        Self::Mdns,
        Self::Tcp,
        Self::TurnUdp,
        Self::TurnTcp,
        Self::TurnTls,
    ];

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Offers => "offers",
            Self::Channels => "channel kinds",
            Self::Sizes => "sizes",
            Self::Empty => "empty messages",
            Self::Buffered => "buffered amount",
            Self::Ordered => "ordered 10,000",
            Self::Unreliable => "unreliable",
            Self::Close => "close",
            Self::Restart => "ICE restart",
            Self::Renegotiate => "renegotiation",
            Self::Throughput => "throughput",
            Self::Identity => "certificate",
            Self::WrongFingerprint => "wrong fingerprint refused",
            Self::Mdns => "mDNS",
            Self::Tcp => "ICE-TCP",
            Self::TurnUdp => "TURN UDP",
            Self::TurnTcp => "TURN TCP",
            Self::TurnTls => "TURN TLS",
        }
    }

    /// Where the outcome of this check belongs.
    pub(crate) fn of(case: &Case, check: &str) -> Option<Self> {
        match case.way {
            Way::Direct => {}
            Way::Mdns => return Some(Self::Mdns),
            Way::Tcp => return Some(Self::Tcp),
            Way::TurnUdp => return Some(Self::TurnUdp),
            Way::TurnTcp => return Some(Self::TurnTcp),
            Way::TurnTls => return Some(Self::TurnTls),
        }
        Some(match check {
            "connect" if case.kind(case.offerer) == Kind::Peerloom => Self::Answers,
            "connect" => Self::Offers,
            "channels" => Self::Channels,
            "sizes" => Self::Sizes,
            "empty" => Self::Empty,
            "bufferedAmount" => Self::Buffered,
            "ordered" => Self::Ordered,
            "unreliable" => Self::Unreliable,
            "close" => Self::Close,
            "iceRestart" => Self::Restart,
            "renegotiate" => Self::Renegotiate,
            "throughput" => Self::Throughput,
            "identity" => Self::Identity,
            "noConnect" => Self::WrongFingerprint,
            _ => return None,
        })
    }
}

/// The fault that speaks of a check in a case.
pub(crate) fn find(case: &Case, check: &str) -> Option<&'static Fault> {
    let kind = case.foreign()?;
    let column = Column::of(case, check)?;
    FAULTS
        .iter()
        .find(|fault| fault.kind == kind && fault.column == column && fault.drives.is(case.driver))
}

/// Why this cell of the matrix is not all well.
pub(crate) fn of(kind: Kind, column: Column) -> impl Iterator<Item = &'static str> {
    FAULTS
        .iter()
        .filter(move |fault| fault.kind == kind && fault.column == column)
        .map(|fault| fault.why)
}

/// A feature that they do not have, whoever asks for it.
const fn absent(kind: Kind, column: Column, why: &'static str) -> Fault {
    Fault {
        kind,
        column,
        verdict: Verdict::Absent,
        drives: Who::Either,
        symptoms: &[],
        shown_by: &[],
        why,
    }
}

/// A check that they cannot drive.
const fn undriven(kind: Kind, column: Column, why: &'static str) -> Fault {
    Fault {
        drives: Who::Them,
        ..absent(kind, column, why)
    }
}

/// A check that fails with one of `symptoms`, always or at times.
const fn fails(
    kind: Kind,
    column: Column,
    verdict: Verdict,
    drives: Who,
    symptoms: &'static [&'static str],
    why: &'static str,
) -> Fault {
    Fault {
        kind,
        column,
        verdict,
        drives,
        symptoms,
        shown_by: &[],
        why,
    }
}

impl Fault {
    /// The same, shown without Peerloom by these claims.
    const fn shown_by(self, claims: &'static [&'static str]) -> Self {
        Self {
            shown_by: claims,
            ..self
        }
    }
}

/// Everything that claims have to show.
pub(crate) fn shown() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().flat_map(|fault| fault.shown_by).copied()
}

const CHECKS_NOTHING: &str = "sends no checks of its own after a restart (`connect` of its \
     `RTCPeerConnection` ends where DTLS is up) and forgets those that it answered before it knew the other's \
     candidates (`earlyChecks` of its `ice.js`, which only that `connect` looks at); between two of its own none is sent";

/// werift, through a relay.
const fn stops(column: Column) -> Fault {
    fails(
        Kind::Werift,
        column,
        Verdict::AtTimes,
        Who::Either,
        &["not done after"],
        "a flight of DTLS that is repeated after the Finished makes it change its keys (`exec` of its `flight5.js`), which \
         the longer way makes likelier; and it stops after a lost packet as in the column of the 10,000",
    )
    .shown_by(&["newKeys", "numbers", "heldBack"])
}

/// werift, where it opens a channel under the id of one that it has just closed.
const fn ends(column: Column) -> Fault {
    fails(
        Kind::Werift,
        column,
        Verdict::AtTimes,
        Who::Them,
        &["channel not found"],
        "closes what has an id both when the other's reset of it arrives and when its own is answered (`onReconfigStreams` \
         in its `sctp.js`), also a channel that it has opened between under the same id, whose acknowledgement then ends it \
         (\"channel not found\")",
    )
    .shown_by(&["reusedId"])
}

const NO_TCP: &str = "has no candidates over TCP";
const NO_NAMES: &str = "its host candidates are addresses, never names";

const FAULTS: &[Fault] = &[
    undriven(
        Kind::Firefox,
        Column::Identity,
        "its statistics show no certificates, so it cannot drive this check",
    ),
    absent(
        Kind::Aiortc,
        Column::Restart,
        "has no ICE restart: `createOffer` takes no options, and an offer that restarts is \
         answered with the old credentials",
    ),
    absent(Kind::Aiortc, Column::Mdns, NO_NAMES),
    absent(Kind::Aiortc, Column::Tcp, NO_TCP),
    absent(Kind::WebrtcRs, Column::Tcp, NO_TCP),
    absent(Kind::Werift, Column::Tcp, NO_TCP),
    absent(Kind::Str0m, Column::Tcp, NO_GATHERING),
    absent(Kind::Werift, Column::Mdns, NO_NAMES),
    absent(Kind::Wrtc, Column::Mdns, NO_NAMES),
    absent(
        Kind::Wrtc,
        Column::TurnTls,
        "believes the certificate authorities that it was built with, and can be told of no other",
    ),
    fails(
        Kind::Wrtc,
        Column::Channels,
        Verdict::Fails,
        Who::Either,
        &["65535"],
        "says that `maxRetransmits` and `maxPacketLifeTime` are 65535 where the interface says null",
    ),
    fails(
        Kind::Wrtc,
        Column::Sizes,
        Verdict::Fails,
        Who::Them,
        &["were not refused"],
        "its `send` takes more than `sctp.maxMessageSize` without an error",
    ),
    undriven(
        Kind::Wrtc,
        Column::Buffered,
        "has no `bufferedamountlow` event, so it cannot drive this check",
    ),
    fails(
        Kind::Werift,
        Column::Channels,
        Verdict::Fails,
        Who::Them,
        &["unordered, 0 retransmits: ordered is true there and false here"],
        "says of an unordered channel with limited retransmissions or lifetime that it is ordered (RFC 8832 \
         section 5.1: `dataChannelOpen` overwrites its `channelType`); it fails between two of its own",
    )
    .shown_by(&["orderedThere"]),
    fails(
        Kind::Werift,
        Column::Empty,
        Verdict::Fails,
        Who::Either,
        &["no echo of a"],
        "sends no empty message: its SCTP cuts it into no chunks (`fragments` is 0), where RFC 8831 section 6.6 \
         has one byte and a type of its own; it fails between two of its own",
    )
    .shown_by(&["emptyMessages"]),
    fails(
        Kind::Werift,
        Column::Restart,
        Verdict::AtTimes,
        Who::Either,
        &["offer: connected", "offer: over at"],
        CHECKS_NOTHING,
    )
    .shown_by(&["restart"]),
    fails(
        Kind::Werift,
        Column::Sizes,
        Verdict::Fails,
        Who::Them,
        &["65537 bytes were not refused"],
        "its `sctp.maxMessageSize` is the size it takes itself, not what the other side takes",
    )
    .shown_by(&["sizes"]),
    fails(
        Kind::Werift,
        Column::Ordered,
        Verdict::AtTimes,
        Who::Either,
        &["not done after"],
        "after a lost packet does not deliver what lies behind a message of another stream until more arrives \
         (`popMessages` of `InboundStream` in its `sctp.js`), and stops there if nothing does; all was received and \
         acknowledged",
    )
    .shown_by(&["heldBack"]),
    ends(Column::Unreliable),
    ends(Column::Close),
    ends(Column::Renegotiate),
    ends(Column::Throughput),
    stops(Column::TurnUdp),
    stops(Column::TurnTcp),
    stops(Column::TurnTls),
    fails(
        Kind::Str0m,
        Column::Channels,
        Verdict::Fails,
        Who::Either,
        &["\"no echo on echo:unordered-lifetime-0\""],
        "never sends a message with a lifetime of 0 ms: it has run out before it is looked at \
         (`expire_pending_tail` of sctp-proto 0.10); the other ten kinds work",
    ),
    fails(
        Kind::Str0m,
        Column::Empty,
        Verdict::Fails,
        Who::Either,
        &["no echo of a string of 0 bytes"],
        "sends no empty message: sctp-proto 0.10 cuts it into no chunks (`packetize`), where RFC 8831 section 6.6 \
         has one byte; Chromium and aiortc wait for it in vain, too",
    ),
    absent(Kind::Str0m, Column::Mdns, NO_GATHERING),
    absent(Kind::Str0m, Column::TurnUdp, NO_GATHERING),
    absent(Kind::Str0m, Column::TurnTcp, NO_GATHERING),
    absent(Kind::Str0m, Column::TurnTls, NO_GATHERING),
    absent(Kind::WebrtcRs, Column::Mdns, NO_NAMES),
    absent(Kind::WebrtcRs, Column::TurnTcp, RELAYS_BY_UDP),
    absent(Kind::WebrtcRs, Column::TurnTls, RELAYS_BY_UDP),
];

const RELAYS_BY_UDP: &str = "asks TURN servers over UDP only";

const NO_GATHERING: &str = "gathers no candidates: the application hands it those it has";
