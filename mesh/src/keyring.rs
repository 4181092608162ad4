//! A node's identity and memory without the node: for tools.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use peerloom_actors::{Certificate, Fingerprint};
use peerloom_mesh_proto::assertion::{self, AssertionError, Expected, Scope, Verifier};
use peerloom_mesh_proto::{Identity, Incarnation, MeshTag, PeerId, RoomId, SessionId, Time};
use rand::rngs::StdRng;

use crate::store::{Data, KnownIdentity, Notice, Store, StoreError};

/// The identity in a data directory, open without starting a node. As long as
/// it is open, no node can use the directory.
pub struct Keyring {
    identity: Identity,
    incarnation: Incarnation,
    created: bool,
    store: Store,
}

/// What an identity assertion is about, besides who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// The mesh's name.
    pub mesh: String,
    /// The room's name.
    pub room: String,
    /// Which attempt to connect.
    pub session: u64,
}

/// Why an identity assertion was not made, or not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// It could not be made.
    #[error("no assertion was made: {0}")]
    NotMade(String),
    /// The fingerprint is not a SHA-256 one: the assertion names no other.
    #[error("the fingerprint is not a sha-256 one")]
    Fingerprint,
    /// It does not hold.
    #[error(transparent)]
    Refused(#[from] AssertionError),
}

impl Keyring {
    /// Opens `data`; an identity is created when there is none.
    ///
    /// # Errors
    /// When the directory is in use or not accessible, or the key is damaged.
    pub async fn open(data: Data) -> Result<Self, StoreError> {
        let fresh = || Identity::generate(&mut rand::make_rng::<StdRng>()).to_seed();
        let opened = Store::open(data, fresh).await?;
        Ok(Self {
            identity: Identity::from_seed(*opened.seed),
            incarnation: Incarnation(u32::try_from(opened.boot).unwrap_or(u32::MAX)),
            created: opened.notices.contains(&Notice::KeyCreated),
            store: opened.store,
        })
    }

    /// Whose identity is in `data`, if there is one. Works while a node uses
    /// the directory, too.
    ///
    /// # Errors
    /// When the key is not accessible or damaged.
    pub fn peek(data: &Data) -> Result<Option<PeerId>, StoreError> {
        let seed = Store::peek_key(data)?;
        Ok(seed.map(|seed| Identity::from_seed(*seed).peer_id()))
    }

    /// Whose identity it is.
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// Whether it was created just now.
    pub fn created(&self) -> bool {
        self.created
    }

    /// The identities that were validated and are remembered, by name.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn identities(&self) -> Result<Vec<KnownIdentity>, StoreError> {
        self.store.identities().await
    }

    /// Forgets a remembered identity; says whether it was known.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn forget(&self, name: &str) -> Result<bool, StoreError> {
        self.store.forget(name).await
    }

    /// Asserts to `addressee` that this identity uses `certificate`.
    ///
    /// # Errors
    /// When the certificate is too large or its key does not sign.
    pub fn assert(
        &self,
        occasion: &Occasion,
        addressee: PeerId,
        certificate: &Certificate,
    ) -> Result<String, KeyringError> {
        assertion::assert(
            &self.identity,
            self.incarnation,
            occasion.scope(addressee),
            certificate.der(),
            |message| certificate.sign(message),
            &mut rand::make_rng::<StdRng>(),
            now().unix_ms,
        )
        .map_err(|error| KeyringError::NotMade(error.to_string()))
    }

    /// Verifies an assertion addressed to this identity, for a description
    /// with that fingerprint, and says who made it.
    ///
    /// It says yes as often as it is asked, until the assertion expires: a
    /// look at an assertion does not use it up. Nodes take each one once.
    ///
    /// # Errors
    /// When it does not hold: forged, expired, for somebody else, another
    /// occasion or another certificate.
    pub fn verify(
        &self,
        assertion: &str,
        occasion: &Occasion,
        fingerprint: &Fingerprint,
    ) -> Result<PeerId, KeyringError> {
        let print = <[u8; 32]>::try_from(fingerprint.value.as_slice());
        let print = print.map_err(|_| KeyringError::Fingerprint)?;
        let expected = Expected {
            scope: occasion.scope(self.peer_id()),
            peer: None,
            fingerprints: &[print],
        };
        let time = now();
        let asserted = Verifier::new(time.now).verify(assertion, &expected, time)?;
        Ok(asserted.peer)
    }

    /// Releases the directory.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn close(self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

impl Occasion {
    fn scope(&self, addressee: PeerId) -> Scope {
        Scope {
            mesh: MeshTag::new(&self.mesh),
            room: RoomId::new(&self.mesh, &self.room),
            session: SessionId::from_bytes(self.session.to_be_bytes()),
            sdp_session: self.session,
            addressee,
        }
    }
}

fn now() -> Time {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    Time {
        now: Instant::now(),
        unix_ms,
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("peer", &self.peer_id())
            .finish_non_exhaustive()
    }
}
