//! Names the node has seen proven, for a quick look while rosters are shown.

use std::collections::BTreeMap;

use peerloom_mesh_proto::PeerId;

use crate::clock::unix_now;
use crate::store::{IDENTITIES_MAX, KnownIdentity, Store, StoreError};

/// What a peer calls itself towards us: `nick@mesh`, or its peer id.
pub(crate) fn name_of(nick: Option<&str>, mesh: &str, peer: &PeerId) -> String {
    match nick {
        Some(nick) if !nick.is_empty() => format!("{nick}@{mesh}"),
        _ => peer.to_string(),
    }
}

/// The store's identities, mirrored by the node. The store decides; this is
/// for display, so a node that shows an impostor's nick would be the worst of
/// a miss.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    names: BTreeMap<String, KnownIdentity>,
}

impl KnownNames {
    /// Everything the store knows.
    pub(crate) async fn load(store: &Store) -> Result<Self, StoreError> {
        let known = store.identities().await?;
        Ok(Self {
            names: known
                .into_iter()
                .map(|known| (known.name.clone(), known))
                .collect(),
        })
    }

    /// The identity remembered under `name`, if its key is not `peer`'s.
    pub(crate) fn conflict(&self, name: &str, peer: &PeerId) -> Option<&KnownIdentity> {
        self.names
            .get(name)
            .filter(|known| known.peer != *peer.as_bytes())
    }

    /// Notes that `peer` has proven itself under `name`. A name that is
    /// another key's stays so, unless the configuration lets it `change`
    /// hands.
    pub(crate) fn proven(&mut self, name: String, peer: &PeerId, change: bool) {
        let free = self.names.len() < IDENTITIES_MAX && !self.names.contains_key(&name);
        let own = self
            .names
            .get(&name)
            .is_some_and(|known| change || known.peer == *peer.as_bytes());
        if free || own {
            let known = known_identity(name.clone(), peer);
            self.names.insert(name, known);
        }
    }

    /// Follows the store in forgetting a name.
    pub(crate) fn forget(&mut self, name: &str) {
        self.names.remove(name);
    }
}

/// The record of an identity proven now.
pub(crate) fn known_identity(name: String, peer: &PeerId) -> KnownIdentity {
    let now = unix_now();
    KnownIdentity {
        name,
        peer: *peer.as_bytes(),
        first_seen: now,
        last_seen: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_the_key_that_proved_itself() {
        let (alice, mallory) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let mut names = KnownNames::default();
        let name = name_of(Some("alice"), "m", &alice);
        assert_eq!(name, "alice@m");
        assert!(names.conflict(&name, &mallory).is_none());
        names.proven(name.clone(), &alice, false);
        assert!(names.conflict(&name, &alice).is_none());
        assert_eq!(names.conflict(&name, &mallory).unwrap().peer, [1; 32]);
        names.proven(name.clone(), &mallory, false);
        assert_eq!(names.conflict(&name, &mallory).unwrap().peer, [1; 32]);
        names.proven(name.clone(), &mallory, true);
        assert_eq!(names.conflict(&name, &alice).unwrap().peer, [2; 32]);
        names.forget(&name);
        assert!(names.conflict(&name, &mallory).is_none());
        assert_eq!(name_of(None, "m", &alice), alice.to_string());
    }
}
