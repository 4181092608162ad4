//! The rooms this node is in: who holds them, who listens, who is there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use peerloom_mesh_proto::{PeerId, RoomId};
use tokio::sync::{mpsc, watch};

use crate::channel::Incoming;
use crate::error::ChannelError;
use crate::shared::{RoomName, Roster};

/// Channels a room may have open here.
const CHANNELS: usize = 64;
/// Longest channel name, in bytes (the core's limit).
const CHANNEL_NAME: usize = peerloom_mesh_proto::frame::MAX_CHANNEL;
/// Messages kept per room for channels nobody has opened yet: whoever joins and
/// then opens its channel misses nothing. Beyond it, whoever has most there loses
/// its oldest, so that nobody's messages push out those of the quiet.
const UNCLAIMED: usize = 256;
/// The same in bytes.
const UNCLAIMED_BYTES: usize = 1024 * 1024;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// Somebody has it, or it waits for its channel to be opened.
    Taken,
    /// The application does not read; it is lost.
    Overflow,
}

/// One room.
pub(super) struct RoomEntry {
    pub(super) name: RoomName,
    /// Handles that hold the membership.
    pub(super) holders: usize,
    pub(super) roster: watch::Sender<Roster>,
    channels: BTreeMap<Arc<str>, Vec<mpsc::Sender<Incoming>>>,
    unclaimed: VecDeque<(String, Incoming)>,
    unclaimed_bytes: usize,
}

impl RoomEntry {
    fn new(name: RoomName) -> Self {
        Self {
            name,
            holders: 0,
            roster: watch::Sender::new(Roster::default()),
            channels: BTreeMap::new(),
            unclaimed: VecDeque::new(),
            unclaimed_bytes: 0,
        }
    }

    /// Opens a channel and hands over what waited for it.
    pub(super) fn open(
        &mut self,
        name: &str,
        inbox: mpsc::Sender<Incoming>,
    ) -> Result<(), ChannelError> {
        if name.is_empty() || name.len() > CHANNEL_NAME {
            return Err(ChannelError::Name { max: CHANNEL_NAME });
        }
        self.channels.retain(|_, inboxes| {
            inboxes.retain(|inbox| !inbox.is_closed());
            !inboxes.is_empty()
        });
        if self.channels.len() >= CHANNELS && !self.channels.contains_key(name) {
            return Err(ChannelError::TooMany { max: CHANNELS });
        }
        let mut kept = VecDeque::new();
        for (channel, message) in self.unclaimed.drain(..) {
            if channel == name {
                self.unclaimed_bytes -= message.payload.len();
                // Fits: an inbox holds more than is kept unclaimed.
                drop(inbox.try_send(message));
            } else {
                kept.push_back((channel, message));
            }
        }
        self.unclaimed = kept;
        self.channels.entry(name.into()).or_default().push(inbox);
        Ok(())
    }

    /// Hands a message to everybody who has the channel open.
    pub(super) fn hand(&mut self, channel: &str, message: Incoming) -> Handed {
        let mut handed = Handed::Taken;
        let mut listeners = 0;
        if let Some(inboxes) = self.channels.get_mut(channel) {
            inboxes.retain(|inbox| match inbox.try_send(message.clone()) {
                Ok(()) => {
                    listeners += 1;
                    true
                }
                Err(mpsc::error::TrySendError::Full(_)) => {
                    listeners += 1;
                    handed = Handed::Overflow;
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
        }
        if listeners == 0 {
            return self.keep_unclaimed(channel, message);
        }
        handed
    }

    fn keep_unclaimed(&mut self, channel: &str, message: Incoming) -> Handed {
        let mut handed = Handed::Taken;
        self.unclaimed_bytes += message.payload.len();
        self.unclaimed.push_back((channel.to_owned(), message));
        while self.unclaimed.len() > UNCLAIMED || self.unclaimed_bytes > UNCLAIMED_BYTES {
            self.drop_unclaimed();
            handed = Handed::Overflow;
        }
        handed
    }

    /// Drops the oldest message of whoever has most bytes waiting.
    fn drop_unclaimed(&mut self) {
        let mut bytes: BTreeMap<PeerId, usize> = BTreeMap::new();
        for (_, message) in &self.unclaimed {
            // An empty message takes a place, too.
            *bytes.entry(message.from).or_default() += message.payload.len().max(1);
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        let oldest = most.and_then(|(author, _)| {
            let of_author = |(_, message): &(String, Incoming)| message.from == author;
            self.unclaimed.iter().position(of_author)
        });
        if let Some((_, dropped)) = oldest.and_then(|index| self.unclaimed.remove(index)) {
            self.unclaimed_bytes -= dropped.payload.len();
        }
    }
}

/// All rooms, by id.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: BTreeMap<RoomId, RoomEntry>,
}

impl Rooms {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(super) fn contains(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    /// Adds a holder, making the entry when it is the first.
    pub(super) fn hold(&mut self, name: RoomName) -> &mut RoomEntry {
        let entry = self
            .rooms
            .entry(name.id)
            .or_insert_with(|| RoomEntry::new(name));
        entry.holders += 1;
        entry
    }

    /// Takes a holder away; says whether it was the last, and the room gone.
    pub(super) fn release(&mut self, room: &RoomId) -> bool {
        let Some(entry) = self.rooms.get_mut(room) else {
            return false;
        };
        entry.holders = entry.holders.saturating_sub(1);
        entry.holders == 0 && self.rooms.remove(room).is_some()
    }

    pub(super) fn get_mut(&mut self, room: &RoomId) -> Option<&mut RoomEntry> {
        self.rooms.get_mut(room)
    }

    /// All of them.
    pub(super) fn ids(&self) -> impl Iterator<Item = RoomId> {
        self.rooms.keys().copied()
    }

    /// The room's name; its id in hexadecimal for one we are not in.
    pub(super) fn name(&self, room: &RoomId) -> String {
        match self.rooms.get(room) {
            Some(entry) => entry.name.name.as_ref().to_owned(),
            None => room.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use peerloom_mesh_proto::PeerId;

    fn message(text: &'static str) -> Incoming {
        let payload = Bytes::from_static(text.as_bytes());
        Incoming {
            from: PeerId::from_bytes([1; 32]),
            payload,
            hops: 1,
            direct: false,
        }
    }

    fn room() -> RoomEntry {
        RoomEntry::new(RoomName {
            id: RoomId::from_bytes([1; 16]),
            name: "r".into(),
        })
    }

    #[test]
    fn early_messages_wait_for_their_channel_and_every_opener_gets_later_ones() {
        let mut room = room();
        assert_eq!(room.hand("a", message("early")), Handed::Taken);
        assert_eq!(room.hand("b", message("other")), Handed::Taken);
        let (sender, mut first) = mpsc::channel(1024);
        room.open("a", sender).unwrap();
        assert_eq!(first.try_recv().unwrap().payload, "early");
        let (sender, mut second) = mpsc::channel(1024);
        room.open("a", sender).unwrap();
        room.hand("a", message("late"));
        assert_eq!(first.try_recv().unwrap().payload, "late");
        assert_eq!(second.try_recv().unwrap().payload, "late");
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_said() {
        let mut room = room();
        for _ in 0..UNCLAIMED {
            assert_eq!(room.hand("a", message("x")), Handed::Taken);
        }
        for _ in 0..10 {
            assert_eq!(room.hand("a", message("x")), Handed::Overflow);
        }
        assert_eq!(room.unclaimed.len(), UNCLAIMED);
        let (sender, _full) = mpsc::channel(1);
        room.open("b", sender).unwrap();
        assert_eq!(room.hand("b", message("x")), Handed::Taken);
        assert_eq!(room.hand("b", message("x")), Handed::Overflow);
        assert!(matches!(
            room.open("", mpsc::channel(1).0),
            Err(ChannelError::Name { .. })
        ));
    }

    #[test]
    fn a_flood_for_channels_nobody_opens_leaves_the_quiet_alone() {
        let mut room = room();
        let quiet = Incoming {
            from: PeerId::from_bytes([2; 32]),
            ..message("hello")
        };
        assert_eq!(room.hand("late", quiet), Handed::Taken);
        for _ in 0..2 * UNCLAIMED {
            room.hand("flood", message("x"));
        }
        let (sender, mut late) = mpsc::channel(1024);
        room.open("late", sender).unwrap();
        assert_eq!(late.try_recv().unwrap().payload, "hello");
    }

    #[test]
    fn a_room_is_left_with_its_last_holder() {
        let mut rooms = Rooms::default();
        let name = room().name;
        rooms.hold(name.clone());
        rooms.hold(name.clone());
        assert!(!rooms.release(&name.id));
        assert!(rooms.release(&name.id));
        assert!(!rooms.release(&name.id) && rooms.len() == 0);
    }
}
