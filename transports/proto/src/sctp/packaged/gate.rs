//! What passes between the engine and the peer.
//!
//! The engine trusts its peer in places where it must not: it counts through a FORWARD TSN of
//! any width one by one, keeps every stream reset that lies in the future, performs a repeated reset
//! again on whatever uses the stream by then, resets a stream a second time when the peer resets it
//! as well, takes an ERROR chunk for the end, and creates streams
//! without limit. The gate looks at each packet on its way in and out, remembers the little that
//! is needed to tell, and drops what an honest peer does not send.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::packet::{self, Chunk, Reconfig, Sack};
use super::{CloseReason, ErrorCause};
use crate::id::StreamId;

/// How far ahead of what we have acknowledged a TSN may lie: 65,536 chunks are a window of 4 MiB
/// in pieces of 64 bytes. The engine's work for a jump, and the number of chunks that can wait
/// behind a gap, are bounded by it; what lies further ahead is dropped and sent again.
pub const MAX_TSN_JUMP: u32 = 1 << 16;

/// Stream resets in either direction that have not been settled. Filled by either side; more of the
/// peer's are dropped until some are, and it repeats them.
pub const MAX_OPEN_RESETS: usize = 256;

/// Resets of the peer remembered after they were performed, so that a repetition is recognised.
const MAX_PAST_RESETS: usize = 1024;

/// Where data goes that nobody will read: a stream no channel can have.
pub(super) const SINK: StreamId = StreamId(u16::MAX - 1);

/// A stream that nobody has (RFC 8832 §6), for resets that must be sent for their number's sake.
const NO_STREAM: u16 = u16::MAX;

/// What to do with a packet from the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// The engine gets this one instead.
    Replace(Bytes),
    Drop(&'static str),
    /// Not for the engine; this is the answer.
    Reply(Bytes),
}

/// What a packet of ours contained.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// User data that was sent for the first time.
    pub(super) new_bytes: usize,
    /// DATA chunks that were sent before.
    pub(super) repeated: u64,
    pub(super) sack: bool,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    streams: u16,
    /// The tag the peer writes into its packets, and their ports.
    local_tag: Option<(u32, [u8; 4])>,
    /// The tag and ports of ours.
    remote_tag: Option<(u32, [u8; 4])>,
    /// The last TSN of the peer that we have acknowledged.
    cumulative: Option<u32>,
    highest_received: Option<u32>,
    highest_sent: Option<u32>,
    last_sack: Option<Sack>,
    /// The last acknowledgement of the peer's.
    peer_sack: Option<Sack>,
    window_opened: bool,
    /// The cause of the ABORT in the packet that was judged last.
    abort: Option<Option<ErrorCause>>,
    /// The peer's initiate tag and our answer, as the server, for its repetitions.
    init: Option<(u32, Option<Bytes>)>,
    /// Streams we are resetting. The engine does not let us read them any more, and does not let
    /// the peer reset its side while something is unread: what arrives goes to [`SINK`].
    diverted: BTreeSet<u16>,
    /// Those of them whose reset has been sent.
    reset: BTreeSet<u16>,
    /// Streams reset by both ends that the engine is about to reset again, in answer to the peer.
    settled: BTreeSet<u16>,
    /// Resets of ours without an answer, with their packets.
    ours: BTreeMap<u32, Bytes>,
    theirs: BTreeSet<u32>,
    /// Resets of the peer that we have settled, oldest first, and how.
    past: VecDeque<u32>,
    past_results: BTreeMap<u32, u32>,
}

impl Gate {
    pub(super) fn new(streams: u16) -> Self {
        Self {
            streams,
            ..Self::default()
        }
    }

    /// Judges a packet from the peer. `full` says that too many chunks are unread.
    pub(super) fn incoming(&mut self, packet: &[u8], established: bool, full: bool) -> Verdict {
        self.abort = None;
        if !packet::well_formed(packet) {
            return Verdict::Drop("malformed");
        }
        if let Some(rest) = packet::without(packet, packet::ERROR) {
            return self.incoming_rest(rest, established, full);
        }
        for chunk in packet::chunks(packet) {
            let verdict = match chunk.kind {
                packet::DATA => self.incoming_data(chunk, full),
                packet::INIT => self.incoming_init(chunk, established),
                packet::INIT_ACK => self.note_first_tsn(chunk),
                packet::SACK => self.incoming_sack(chunk),
                packet::FORWARD_TSN => self.incoming_forward_tsn(chunk),
                packet::RE_CONFIG => self.incoming_reconfig(chunk),
                packet::ABORT => self.incoming_abort(packet, chunk),
                _ => Verdict::Pass,
            };
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        self.note_local_tag(packet);
        match packet::divert(packet, &self.diverted, SINK.0) {
            Some(changed) => Verdict::Replace(changed),
            None => Verdict::Pass,
        }
    }

    /// Judges what came beside error reports: COOKIE ECHO does (RFC 9260 §5.2.6 and §3.2.2).
    fn incoming_rest(&mut self, rest: Bytes, established: bool, full: bool) -> Verdict {
        if rest.len() <= packet::HEADER {
            return Verdict::Drop("error report");
        }
        match self.incoming(&rest, established, full) {
            Verdict::Pass => Verdict::Replace(rest),
            other @ (Verdict::Replace(_) | Verdict::Drop(_) | Verdict::Reply(_)) => other,
        }
    }

    fn incoming_abort(&mut self, packet: &[u8], chunk: Chunk<'_>) -> Verdict {
        self.abort = Some(ErrorCause::first_of(chunk.value));
        packet::plain_abort(packet, chunk)
            .map_or(Verdict::Drop("malformed ABORT"), Verdict::Replace)
    }

    /// Why an association is over that ended with the packet that was judged last: the engine does
    /// not tell an ABORT from other ends.
    pub(super) fn closed_by_peer(&self) -> CloseReason {
        self.abort.map_or(CloseReason::Peer, CloseReason::Aborted)
    }

    /// Whether an INIT or INIT ACK of the peer's was seen.
    pub(super) fn knows_peer(&self) -> bool {
        self.cumulative.is_some()
    }

    /// We reset `stream`: from now on data on it is thrown away.
    pub(super) fn divert(&mut self, stream: u16) {
        self.diverted.insert(stream);
    }

    /// The peer has reset `stream`, which is gone.
    pub(super) fn undivert(&mut self, stream: u16) {
        self.diverted.remove(&stream);
        if self.reset.remove(&stream) {
            self.settled.insert(stream);
        }
    }

    /// The engine has said all that it had to say to what the peer sent.
    pub(super) fn answered_resets(&mut self) {
        self.settled.clear();
    }

    fn note_local_tag(&mut self, packet: &[u8]) {
        let tag = packet::verification_tag(packet).filter(|tag| *tag != 0);
        let ports = packet
            .get(..4)
            .and_then(|ports| <[u8; 4]>::try_from(ports).ok());
        if self.local_tag.is_none()
            && let Some(known) = tag.zip(ports)
        {
            self.local_tag = Some(known);
        }
    }

    fn incoming_data(&mut self, chunk: Chunk<'_>, full: bool) -> Verdict {
        let Some((tsn, stream, len)) = packet::data(chunk) else {
            return Verdict::Drop("malformed DATA");
        };
        if stream >= self.streams.min(SINK.0) || len == 0 {
            return Verdict::Drop("DATA on a stream that does not exist, or empty");
        }
        if self
            .cumulative
            .is_none_or(|known| ahead(known, tsn) > MAX_TSN_JUMP)
        {
            return Verdict::Drop("DATA too far ahead");
        }
        let fills_gap = self
            .highest_received
            .is_some_and(|high| !is_after(tsn, high));
        if full && !fills_gap {
            return Verdict::Drop("too many unread chunks");
        }
        if !fills_gap {
            self.highest_received = Some(tsn);
        }
        Verdict::Pass
    }

    fn incoming_init(&mut self, chunk: Chunk<'_>, established: bool) -> Verdict {
        let Some((tag, _)) = packet::init(chunk) else {
            return Verdict::Drop("malformed INIT");
        };
        if established {
            return Verdict::Drop("INIT while connected");
        }
        match &self.init {
            Some((known, Some(answer))) if *known == tag => Verdict::Reply(answer.clone()),
            Some((known, None)) if *known == tag => Verdict::Drop("repeated INIT"),
            Some(_) | None => {
                self.init = Some((tag, None));
                self.note_first_tsn(chunk)
            }
        }
    }

    fn note_first_tsn(&mut self, chunk: Chunk<'_>) -> Verdict {
        let Some((_, first)) = packet::init(chunk) else {
            return Verdict::Drop("malformed INIT");
        };
        if self.last_sack.is_none() {
            self.cumulative = Some(first.wrapping_sub(1));
            self.highest_received = self.cumulative;
        }
        Verdict::Pass
    }

    fn incoming_sack(&mut self, chunk: Chunk<'_>) -> Verdict {
        let Some(sack) = packet::sack(chunk) else {
            return Verdict::Drop("malformed SACK");
        };
        let smallest = u32::try_from(super::MAX_PACKET).unwrap_or(u32::MAX);
        self.window_opened |= sack.window >= smallest
            && self
                .peer_sack
                .is_some_and(|last| last.window < smallest && last.cumulative == sack.cumulative);
        self.peer_sack = Some(sack);
        Verdict::Pass
    }

    /// Whether the peer's window has opened since the last call, with nothing acknowledged.
    pub(super) fn take_window_opened(&mut self) -> bool {
        std::mem::take(&mut self.window_opened)
    }

    fn incoming_forward_tsn(&mut self, chunk: Chunk<'_>) -> Verdict {
        let jump = packet::forward_tsn(chunk).zip(self.cumulative);
        match jump.map(|(to, known)| ahead(known, to)) {
            Some(0..=MAX_TSN_JUMP) => Verdict::Pass,
            Some(_) | None => Verdict::Drop("FORWARD TSN too far ahead"),
        }
    }

    fn incoming_reconfig(&mut self, chunk: Chunk<'_>) -> Verdict {
        for part in packet::reconfig(chunk) {
            match part {
                Reconfig::Reset { request, .. } => {
                    if let Some(answer) = self.answer_again(request) {
                        return answer;
                    }
                    let open = self.ours.len() + self.theirs.len();
                    if open >= MAX_OPEN_RESETS && !self.theirs.contains(&request) {
                        return Verdict::Drop("too many stream resets");
                    }
                }
                // The engine would take it for the end of the request and never repeat it.
                Reconfig::Response {
                    result: packet::IN_PROGRESS,
                    ..
                } => {
                    return Verdict::Drop("reset in progress");
                }
                Reconfig::Response { request, .. } => {
                    self.ours.remove(&request);
                }
                Reconfig::Other => return Verdict::Drop("unknown RE-CONFIG parameter"),
            }
        }
        Verdict::Pass
    }

    /// The answer to a reset that was performed before; performing it again would hit whatever uses
    /// the stream by now.
    fn answer_again(&self, request: u32) -> Option<Verdict> {
        let result = *self.past_results.get(&request)?;
        let (tag, ports) = self.remote_tag?;
        let value = packet::reset_response(request, result);
        Some(Verdict::Reply(packet::build(
            ports,
            tag,
            packet::RE_CONFIG,
            0,
            &value,
        )))
    }

    /// Notes what a packet of ours says, and cuts an acknowledgement that is too long.
    pub(super) fn outgoing(&mut self, mut packet: Bytes) -> (Bytes, Sent) {
        if let Some(changed) = self.without_second_reset(&packet) {
            packet = changed;
        }
        let mut sent = Sent::default();
        let tag = packet::verification_tag(&packet).filter(|tag| *tag != 0);
        let ports = packet
            .get(..4)
            .and_then(|ports| <[u8; 4]>::try_from(ports).ok());
        self.remote_tag = tag.zip(ports).or(self.remote_tag);
        for chunk in packet::chunks(&packet) {
            match chunk.kind {
                packet::DATA => self.outgoing_data(chunk, &mut sent),
                packet::SACK => {
                    self.last_sack = packet::sack(chunk);
                    self.cumulative = self.last_sack.map(|s| s.cumulative).or(self.cumulative);
                    sent.sack = true;
                }
                packet::INIT_ACK => {
                    if let Some((_, answer)) = &mut self.init {
                        *answer = Some(packet.clone());
                    }
                }
                packet::RE_CONFIG => self.outgoing_reconfig(chunk, &packet),
                _ => {}
            }
        }
        if packet.len() > super::MAX_PACKET
            && let Some(short) = packet::shorten_sack(&packet, super::MAX_PACKET)
        {
            return (short, sent);
        }
        (packet, sent)
    }

    fn outgoing_data(&mut self, chunk: Chunk<'_>, sent: &mut Sent) {
        let Some((tsn, _, len)) = packet::data(chunk) else {
            return;
        };
        if self.highest_sent.is_some_and(|high| !is_after(tsn, high)) {
            sent.repeated += 1;
            return;
        }
        self.highest_sent = Some(tsn);
        sent.new_bytes += len;
    }

    fn outgoing_reconfig(&mut self, chunk: Chunk<'_>, packet: &Bytes) {
        for part in packet::reconfig(chunk) {
            match part {
                Reconfig::Reset {
                    request, streams, ..
                } => {
                    let diverted = |stream: &u16| self.diverted.contains(stream);
                    self.reset.extend(streams.iter().filter(diverted));
                    self.ours.insert(request, packet.clone());
                }
                Reconfig::Response {
                    request,
                    result: packet::IN_PROGRESS,
                } => {
                    self.theirs.insert(request);
                }
                Reconfig::Response { request, result } => {
                    self.theirs.remove(&request);
                    self.remember(request, result);
                }
                Reconfig::Other => {}
            }
        }
    }

    /// A reset of ours without the streams that were reset before: the peer may use them anew
    /// already, and would close what it has there. The packet goes out nevertheless, since the
    /// peer expects the numbers of requests one after the other (RFC 6525 §5.2.1).
    fn without_second_reset(&mut self, packet: &Bytes) -> Option<Bytes> {
        let Some(Reconfig::Reset {
            request,
            answers,
            streams,
        }) = packet::lone_reconfig(packet)
        else {
            return None;
        };
        if let Some(same) = self.ours.get(&request) {
            return Some(same.clone()); // sent again
        }
        let (all, mut fresh) = (streams.iter().count(), Vec::new());
        for stream in streams.iter() {
            let second = match answers {
                0 => !self.diverted.contains(&stream), // the peer was quicker
                _ => self.settled.remove(&stream),
            };
            if !second {
                fresh.push(stream);
            }
        }
        if fresh.len() == all {
            return None;
        }
        if fresh.is_empty() {
            fresh.push(NO_STREAM);
        }
        packet::with_streams(packet, &fresh)
    }

    fn remember(&mut self, request: u32, result: u32) {
        if self.past_results.insert(request, result).is_some() {
            return;
        }
        self.past.push_back(request);
        if self.past.len() > MAX_PAST_RESETS
            && let Some(oldest) = self.past.pop_front()
        {
            self.past_results.remove(&oldest);
        }
    }

    /// Whether a reset of ours waits for its answer.
    pub(super) fn resets_open(&self) -> bool {
        !self.ours.is_empty()
    }

    /// The packets of resets that wait for an answer, to be sent again: the engine forgets to,
    /// for those it makes in answer to one of the peer's.
    pub(super) fn unanswered_resets(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.ours.values().cloned()
    }

    pub(super) fn last_sack(&self) -> Option<Sack> {
        self.last_sack
    }

    /// A packet as if from the peer that repeats something acknowledged and asks for an
    /// acknowledgement (RFC 7053): the engine answers it at once, with its current window.
    pub(super) fn provocation(&self) -> Option<Bytes> {
        const UNORDERED_WHOLE_NOW: u8 = 0x08 | 0x04 | 0x02 | 0x01;
        let (tag, ports) = self.local_tag?;
        let sack = self.last_sack?;
        let mut value = sack.cumulative.to_be_bytes().to_vec();
        value.extend([0; 8]);
        value.push(0);
        Some(packet::build(
            ports,
            tag,
            packet::DATA,
            UNORDERED_WHOLE_NOW,
            &value,
        ))
    }
}

/// How far `tsn` lies after `known`, or 0 if it does not.
fn ahead(known: u32, tsn: u32) -> u32 {
    let distance = tsn.wrapping_sub(known);
    if distance < 1 << 31 { distance } else { 0 }
}

fn is_after(tsn: u32, other: u32) -> bool {
    ahead(other, tsn) > 0
}
