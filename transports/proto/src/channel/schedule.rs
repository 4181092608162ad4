//! Who may write next: deficit round robin, weighted by priority (RFC 8831 §6.4). Messages are
//! never interleaved, since SCTP sends each whole.

use std::time::Instant;

use super::channels::Channels;
use super::state::Channel;
use super::{CloseCause, State, Streams};
use crate::id::ChannelId;
use crate::sctp::{Error, Ppid, Reliability};

/// Bytes handed to SCTP beyond what its window takes: enough to keep it busy until the next call, and
/// little enough that priorities matter.
const LEAD: usize = 192 * 1024;

/// Bytes of one turn per unit of weight: a turn of the lowest priority is 8 KiB.
const TURN_PER_WEIGHT: isize = 64;

impl Channels {
    /// Writes as the window allows.
    pub(super) fn write_queued(&mut self, association: &mut impl Streams, now: Instant) {
        loop {
            let before = association.messages_sent();
            while has_room(association) {
                let Some(id) = self.active.pop_front() else {
                    break;
                };
                self.take_turn(id, association, now);
            }
            if association.messages_sent() == before {
                return;
            }
            // May make room again, if the window is wide.
            association.advance(now);
        }
    }

    fn take_turn(&mut self, id: ChannelId, association: &mut impl Streams, now: Instant) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        channel.scheduled = false;
        if channel.deficit <= 0 {
            let weight = isize::try_from(channel.init.priority.weight()).unwrap_or(isize::MAX);
            channel.deficit += weight * TURN_PER_WEIGHT;
        }
        let mut failed = None;
        while channel.deficit > 0 && has_room(association) {
            match write_next(channel, association, now) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if channel.queue.is_empty() {
            channel.deficit = 0;
        } else if failed.is_none() {
            channel.scheduled = true;
            // Whoever was stopped by the window goes on first.
            if channel.deficit > 0 {
                self.active.push_front(id);
            } else {
                self.active.push_back(id);
            }
        }
        match failed {
            Some(Error::Stream(_)) => self.drop_channel(id, Some(CloseCause::NoStream)),
            Some(Error::Closing(_)) => {
                self.drop_channel(id, Some(CloseCause::Protocol("the stream was never reset")));
            }
            Some(error) => tracing::debug!(%error, "write"), // the association has ended
            None => {}
        }
    }

    /// Puts a channel with something to send into the round.
    pub(super) fn schedule(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let sends = matches!(channel.state, State::Open | State::Closing);
        if sends && !channel.scheduled && !channel.queue.is_empty() {
            channel.scheduled = true;
            self.active.push_back(id);
        }
    }
}

fn has_room(association: &impl Streams) -> bool {
    association.is_connected()
        && association.unsent() < LEAD
        && association.buffered_total() < association.send_buffer()
}

fn write_next(
    channel: &mut Channel,
    association: &mut impl Streams,
    now: Instant,
) -> Result<bool, Error> {
    let (Some(stream), Some(next)) = (channel.stream, channel.queue.front()) else {
        return Ok(false);
    };
    let ordered = channel.is_ordered_now();
    let reliability = match next.message.ppid {
        Ppid::Dcep => Reliability::Reliable,
        Ppid::Text | Ppid::Binary | Ppid::TextEmpty | Ppid::BinaryEmpty | Ppid::Other => {
            channel.init.reliability
        }
    };
    match association.write(stream, ordered, reliability, &next.message, now) {
        Ok(()) | Err(Error::Length(_)) => {} // lengths were checked when it was sent
        Err(error) => return Err(error),
    }
    let len = next.message.data.len();
    let counts = next.counts;
    channel.queue.pop_front();
    channel.queued -= counts;
    channel.in_sctp += counts;
    channel.overhead_in_sctp += len - counts;
    channel.deficit -= isize::try_from(len).unwrap_or(isize::MAX);
    Ok(true)
}
