//! Channels that have closed: W3C webrtc-stats names no time at which they leave the statistics, so
//! they stay (its section on lifetimes), as far as there is room.

use std::collections::VecDeque;

use super::stats::DataChannelStats;
use crate::sctp_transport::ChannelKey;

/// Closed channels remembered: as many as may be open by default. Filled by channels that close;
/// beyond it the one that closed first is forgotten.
const MAX_CHANNELS: usize = 1024;

/// Bytes of their labels and protocols, of which a peer may choose 128 KiB for each.
const MAX_NAMES: usize = 256 * 1024;

/// The last numbers of closed channels.
#[derive(Debug, Default)]
pub(super) struct Past {
    channels: VecDeque<(ChannelKey, DataChannelStats)>,
    names: usize,
}

impl Past {
    /// A channel has closed.
    pub(super) fn add(&mut self, key: ChannelKey, stats: DataChannelStats) {
        self.names += names(&stats);
        self.channels.push_back((key, stats));
        while self.channels.len() > MAX_CHANNELS || self.names > MAX_NAMES {
            let Some((_, oldest)) = self.channels.pop_front() else {
                return;
            };
            self.names -= names(&oldest);
        }
    }

    /// Those that closed first come first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(ChannelKey, DataChannelStats)> {
        self.channels.iter()
    }
}

fn names(stats: &DataChannelStats) -> usize {
    stats.label.len() + stats.protocol.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_channel::ReadyState;

    fn add(past: &mut Past, number: u64, label: String) {
        let stats = DataChannelStats {
            label,
            protocol: String::new(),
            id: None,
            state: ReadyState::Closed,
            messages_sent: 0,
            bytes_sent: 0,
            messages_received: 0,
            bytes_received: 0,
        };
        past.add(ChannelKey::Local(number), stats);
    }

    #[test]
    fn the_oldest_make_room_by_number_and_by_length_of_names() {
        let first = |past: &Past| past.iter().next().map(|(key, _)| *key);
        let mut past = Past::default();
        for number in 0..MAX_CHANNELS as u64 + 2 {
            add(&mut past, number, String::new());
        }
        assert_eq!(past.iter().count(), MAX_CHANNELS);
        assert_eq!(first(&past), Some(ChannelKey::Local(2)));
        let mut past = Past::default();
        for number in 0..6 {
            add(&mut past, number, "x".repeat(MAX_NAMES / 4));
        }
        assert_eq!(past.iter().count(), 4);
        assert_eq!(first(&past), Some(ChannelKey::Local(2)));
    }
}
