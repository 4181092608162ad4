//! What is known of the other implementations: features they do not have, and
//! checks that fail because of them.
//!
//! An entry is a claim about somebody else's program, so each names what was
//! seen. A check listed as failing that passes is reported like one that
//! fails: the entry is out of date then.

use crate::cases::{Case, Way};
use crate::peers::Kind;

/// What is expected of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It passes.
    Works,
    /// It is not run: the other side has no such feature.
    Absent,
    /// It fails, through the other side's fault.
    Fails,
    /// It fails now and then; the reason says what is known of whose fault that is.
    AtTimes,
}

/// Which of the two a fault depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Either,
    Peerloom,
    Them,
}

impl Who {
    fn is(self, kind: Kind) -> bool {
        match self {
            Self::Either => true,
            Self::Peerloom => kind == Kind::Peerloom,
            Self::Them => kind != Kind::Peerloom,
        }
    }
}

/// One reviewed fault.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: Kind,
    column: Column,
    verdict: Verdict,
    /// Who drives the check when it goes wrong.
    drives: Who,
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
}

impl Column {
    pub(crate) const ALL: [Self; 15] = [
        Self::Answers,
        Self::Offers,
        Self::Channels,
        Self::Sizes,
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
    ];

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Offers => "offers",
            Self::Channels => "channel kinds",
            Self::Sizes => "sizes",
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
        }
    }

    /// Where the outcome of this check belongs.
    pub(crate) fn of(case: &Case, check: &str) -> Option<Self> {
        match case.way {
            Way::Direct => {}
            Way::Mdns => return Some(Self::Mdns),
            Way::Tcp => return Some(Self::Tcp),
        }
        Some(match check {
            "connect" if case.kind(case.offerer) == Kind::Peerloom => Self::Answers,
            "connect" => Self::Offers,
            "channels" => Self::Channels,
            "sizes" => Self::Sizes,
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

/// What is to be expected of a check in a case.
pub(crate) fn verdict(case: &Case, check: &str) -> Verdict {
    find(case, check).map_or(Verdict::Works, |fault| fault.verdict)
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

/// An entry; a feature that is absent is absent whoever asks.
const fn fault(
    kind: Kind,
    column: Column,
    verdict: Verdict,
    drives: Who,
    why: &'static str,
) -> Fault {
    Fault {
        kind,
        column,
        verdict,
        drives,
        why,
    }
}

const NO_TCP: &str = "has no candidates over TCP";
const NO_NAMES: &str = "its host candidates are addresses, never names";

const FAULTS: &[Fault] = &[
    fault(
        Kind::Firefox,
        Column::Identity,
        Verdict::Absent,
        Who::Them,
        "its statistics show no certificates, so it cannot drive this check",
    ),
    fault(
        Kind::Firefox,
        Column::Restart,
        Verdict::AtTimes,
        Who::Either,
        "its DTLS transport fails now and then after a restart; seen once with Chromium as well; whose fault it is was not found",
    ),
    fault(
        Kind::Aiortc,
        Column::Restart,
        Verdict::Absent,
        Who::Either,
        "has no ICE restart: `createOffer` takes no options, and an offer that restarts is \
         answered with the old credentials",
    ),
    fault(
        Kind::Aiortc,
        Column::Mdns,
        Verdict::Absent,
        Who::Either,
        NO_NAMES,
    ),
    fault(
        Kind::Aiortc,
        Column::Tcp,
        Verdict::Absent,
        Who::Either,
        NO_TCP,
    ),
    fault(
        Kind::WebrtcRs,
        Column::Tcp,
        Verdict::Absent,
        Who::Either,
        NO_TCP,
    ),
    fault(
        Kind::Wrtc,
        Column::Mdns,
        Verdict::Absent,
        Who::Either,
        NO_NAMES,
    ),
    fault(
        Kind::Wrtc,
        Column::Channels,
        Verdict::Fails,
        Who::Either,
        "says that `maxRetransmits` and `maxPacketLifeTime` are 65535 where the interface says null",
    ),
    fault(
        Kind::Wrtc,
        Column::Sizes,
        Verdict::Fails,
        Who::Them,
        "its `send` takes more than `sctp.maxMessageSize` without an error",
    ),
    fault(
        Kind::Wrtc,
        Column::Buffered,
        Verdict::Absent,
        Who::Them,
        "has no `bufferedamountlow` event, so it cannot drive this check",
    ),
    fault(
        Kind::WebrtcRs,
        Column::Mdns,
        Verdict::Absent,
        Who::Either,
        NO_NAMES,
    ),
    fault(
        Kind::WebrtcRs,
        Column::Close,
        Verdict::AtTimes,
        Who::Peerloom,
        "acts on a reset request again when it is sent twice (RFC 6525 section 5.2), so that a \
         channel that took the freed id meanwhile closes",
    ),
];
