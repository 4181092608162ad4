//! The store's content in memory: typed tables over the stored records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backend::Write;
use super::{IDENTITIES_MAX, Notice, PEERS_MAX, StoreError, record};

/// Addresses kept per remembered peer; a peer that names more is truncated.
const ADDRESSES_MAX: usize = 8;
/// Longest address kept, in bytes; longer ones are dropped.
const ADDRESS_LENGTH_MAX: usize = 256;
/// Longest name of a mesh or an identity, in bytes.
pub(crate) const NAME_MAX: usize = 256;

/// A peer worth dialling at the next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedPeer {
    /// The mesh it was met in.
    pub mesh: String,
    /// Its Ed25519 public key, which is its peer id.
    pub peer: [u8; 32],
    /// Where it was reached, as multiaddrs.
    pub addresses: Vec<String>,
    /// When a link to it last came up, in seconds since 1970.
    pub last_good: u64,
}

/// An identity whose assertion was validated once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownIdentity {
    /// What it calls itself: `nick@mesh`, or the peer id when it has no nick.
    pub name: String,
    /// The Ed25519 public key that spoke for the name.
    pub peer: [u8; 32],
    /// When it was first validated, in seconds since 1970.
    pub first_seen: u64,
    /// When it was last validated, in seconds since 1970 (kept to the hour).
    pub last_seen: u64,
}

/// The answer to "do we know this identity?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Never seen; remembered now (trust on first use).
    First,
    /// The key that was remembered.
    Same,
    /// Another key was remembered for the name.
    Changed {
        /// What was remembered.
        known: KnownIdentity,
        /// Whether the new key replaced it.
        accepted: bool,
    },
}

/// Everything in the store, and the writes not yet committed.
#[derive(Default)]
pub(super) struct Tables {
    boot: u64,
    peers: BTreeMap<(String, [u8; 32]), RememberedPeer>,
    identities: BTreeMap<String, KnownIdentity>,
    pending: Vec<Write>,
}

/// `last_seen` is rewritten only when it is older than this, in seconds, so
/// that a link that flaps does not write to the disk.
const SEEN_GRAIN: u64 = 3600;

impl Tables {
    /// Takes in what the backend holds; unusable records are dropped.
    pub(super) fn load(records: Vec<(Vec<u8>, Vec<u8>)>, notices: &mut Vec<Notice>) -> Self {
        let mut tables = Self::default();
        for (key, value) in records {
            if let Err(cause) = tables.load_one(&key, &value) {
                notices.push(Notice::RecordDropped { cause });
                tables.pending.push((key, None));
            }
        }
        tables
    }

    fn load_one(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let text = |error: record::RecordError| error.to_string();
        match key.first() {
            Some(b'b') => self.boot = record::open(key, value).map_err(text)?,
            Some(b'p') => {
                let peer: RememberedPeer = record::open(key, value).map_err(text)?;
                self.peers.insert((peer.mesh.clone(), peer.peer), peer);
            }
            Some(b'i') => {
                let identity: KnownIdentity = record::open(key, value).map_err(text)?;
                self.identities.insert(identity.name.clone(), identity);
            }
            _ => return Err("unknown table".to_owned()),
        }
        Ok(())
    }

    /// Counts a boot. Never below the wall clock in seconds, so that the
    /// incarnation also grows when the database was lost.
    pub(super) fn count_boot(&mut self, unix_now: u64) -> Result<u64, StoreError> {
        self.boot = self.boot.saturating_add(1).max(unix_now);
        put(&mut self.pending, boot_key(), &self.boot)?;
        Ok(self.boot)
    }

    pub(super) fn remember(&mut self, mut peer: RememberedPeer) -> Result<(), StoreError> {
        peer.addresses
            .retain(|address| address.len() <= ADDRESS_LENGTH_MAX);
        peer.addresses.truncate(ADDRESSES_MAX);
        check_name(&peer.mesh)?;
        put(&mut self.pending, peer_key(&peer.mesh, &peer.peer), &peer)?;
        let mesh = peer.mesh.clone();
        self.peers.insert((peer.mesh.clone(), peer.peer), peer);
        for old in self.peers(&mesh).into_iter().skip(PEERS_MAX) {
            self.pending.push((peer_key(&old.mesh, &old.peer), None));
            self.peers.remove(&(old.mesh, old.peer));
        }
        Ok(())
    }

    /// The remembered peers of `mesh`, most recently good first.
    pub(super) fn peers(&self, mesh: &str) -> Vec<RememberedPeer> {
        let from = (mesh.to_owned(), [0; 32]);
        let mut peers: Vec<_> = self
            .peers
            .range(from..)
            .take_while(|((name, _), _)| name == mesh)
            .map(|(_, peer)| peer.clone())
            .collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.last_good));
        peers
    }

    pub(super) fn check(
        &mut self,
        mut identity: KnownIdentity,
        accept_change: bool,
    ) -> Result<Verdict, StoreError> {
        check_name(&identity.name)?;
        let verdict = match self.identities.get(&identity.name) {
            None => Verdict::First,
            Some(known) if known.peer == identity.peer => {
                if identity.last_seen < known.last_seen.saturating_add(SEEN_GRAIN) {
                    return Ok(Verdict::Same);
                }
                identity.first_seen = known.first_seen;
                Verdict::Same
            }
            Some(known) => {
                let changed = Verdict::Changed {
                    known: known.clone(),
                    accepted: accept_change,
                };
                if !accept_change {
                    return Ok(changed);
                }
                changed
            }
        };
        put(&mut self.pending, identity_key(&identity.name), &identity)?;
        self.identities.insert(identity.name.clone(), identity);
        self.evict_identities();
        Ok(verdict)
    }

    pub(super) fn identities(&self) -> Vec<KnownIdentity> {
        self.identities.values().cloned().collect()
    }

    pub(super) fn forget(&mut self, name: &str) -> bool {
        let known = self.identities.remove(name).is_some();
        if known {
            self.pending.push((identity_key(name), None));
        }
        known
    }

    /// Writes since the last call, to be committed together.
    pub(super) fn take_pending(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.pending)
    }

    /// Everything, as writes: for a database that had to be started anew.
    pub(super) fn all(&self) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        put(&mut writes, boot_key(), &self.boot)?;
        for peer in self.peers.values() {
            put(&mut writes, peer_key(&peer.mesh, &peer.peer), peer)?;
        }
        for identity in self.identities.values() {
            put(&mut writes, identity_key(&identity.name), identity)?;
        }
        Ok(writes)
    }

    fn evict_identities(&mut self) {
        while self.identities.len() > IDENTITIES_MAX {
            let oldest = self
                .identities
                .values()
                .min_by_key(|identity| identity.last_seen);
            let Some(name) = oldest.map(|identity| identity.name.clone()) else {
                return;
            };
            self.forget(&name);
        }
    }
}

fn boot_key() -> Vec<u8> {
    b"b".to_vec()
}

fn peer_key(mesh: &str, peer: &[u8; 32]) -> Vec<u8> {
    [b"p", mesh.as_bytes(), b"\0", peer].concat()
}

fn identity_key(name: &str) -> Vec<u8> {
    [b"i", name.as_bytes()].concat()
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if name.len() > NAME_MAX {
        return Err(StoreError::Database {
            what: format!("a name of {} bytes", name.len()),
        });
    }
    Ok(())
}

fn put<T: Serialize>(writes: &mut Vec<Write>, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
    let sealed = record::seal(&key, value).map_err(|error| StoreError::Database {
        what: error.to_string(),
    })?;
    writes.push((key, Some(sealed)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8, last_good: u64) -> RememberedPeer {
        RememberedPeer {
            mesh: "m".to_owned(),
            peer: [number; 32],
            addresses: vec![format!("/ip4/127.0.0.1/udp/{number}/quic-v1")],
            last_good,
        }
    }

    fn identity(name: &str, key: u8, seen: u64) -> KnownIdentity {
        KnownIdentity {
            name: name.to_owned(),
            peer: [key; 32],
            first_seen: seen,
            last_seen: seen,
        }
    }

    #[test]
    fn the_last_good_peers_of_each_mesh_are_kept() {
        let mut tables = Tables::default();
        for number in 0..40 {
            tables.remember(peer(number, u64::from(number))).unwrap();
        }
        tables
            .remember(RememberedPeer {
                mesh: "other".to_owned(),
                ..peer(1, 1)
            })
            .unwrap();
        let peers = tables.peers("m");
        assert_eq!(peers.len(), PEERS_MAX);
        assert_eq!((peers[0].last_good, peers[31].last_good), (39, 8));
        assert_eq!(tables.peers("other").len(), 1);
        let records = tables.all().unwrap();
        assert_eq!(records.len(), 1 + PEERS_MAX + 1);
    }

    #[test]
    fn first_use_is_remembered_and_a_change_is_refused() {
        let mut tables = Tables::default();
        assert_eq!(
            tables.check(identity("a@m", 1, 10), false).unwrap(),
            Verdict::First
        );
        assert_eq!(
            tables.check(identity("a@m", 1, 20), false).unwrap(),
            Verdict::Same
        );
        let changed = tables.check(identity("a@m", 2, 30), false).unwrap();
        assert!(matches!(
            changed,
            Verdict::Changed {
                accepted: false,
                ..
            }
        ));
        assert_eq!(tables.identities()[0].peer, [1; 32]);
        let changed = tables.check(identity("a@m", 2, 30), true).unwrap();
        assert!(matches!(changed, Verdict::Changed { accepted: true, .. }));
        assert_eq!(tables.identities()[0].peer, [2; 32]);
        assert!(tables.forget("a@m") && !tables.forget("a@m"));
    }

    #[test]
    fn what_is_written_is_what_is_loaded_and_damage_is_dropped_alone() {
        let mut tables = Tables::default();
        tables.count_boot(5).unwrap();
        tables.remember(peer(1, 1)).unwrap();
        tables.check(identity("a@m", 1, 10), false).unwrap();
        let mut records: Vec<_> = tables
            .take_pending()
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        records[1].1[9] ^= 1;
        let mut notices = Vec::new();
        let mut loaded = Tables::load(records, &mut notices);
        assert!(matches!(&notices[..], [Notice::RecordDropped { .. }]));
        assert_eq!(loaded.identities(), tables.identities());
        assert!(loaded.peers("m").is_empty());
        assert_eq!(loaded.take_pending().len(), 1);
        assert_eq!(loaded.count_boot(5).unwrap(), 6);
        assert_eq!(loaded.count_boot(100).unwrap(), 100);
    }

    #[test]
    fn identities_are_bounded() {
        let mut tables = Tables::default();
        for number in 0..=IDENTITIES_MAX as u64 {
            tables
                .check(identity(&format!("{number}"), 1, number), false)
                .unwrap();
        }
        assert_eq!(tables.identities.len(), IDENTITIES_MAX);
        assert!(!tables.identities.contains_key("0"));
    }
}
