//! The built-in identity provider: the node's own key speaks for it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use peerloom_actors::identity::contents;
use peerloom_actors::{
    AssertionRequest, Fingerprint, HashFunction, IdentityError, IdentityProvider,
    ValidatedIdentity, ValidationRequest,
};
use peerloom_mesh_proto::assertion::{self, Expected, Scope, Verifier};
use peerloom_mesh_proto::{Identity, Incarnation, MeshTag, PeerId, RoomId, SessionId};

use super::known::known_identity;
use crate::clock::time;
use crate::config::KnownPeers;
use crate::event::Event;
use crate::shared::{Shared, count};
use crate::store::{Store, Verdict};

/// One link's worth of context: who we are, whom we expect, and what for.
pub(crate) struct Occasion {
    pub(crate) identity: Arc<Identity>,
    pub(crate) incarnation: Incarnation,
    pub(crate) room: RoomId,
    pub(crate) session: SessionId,
    /// The only peer whose assertion counts.
    pub(crate) peer: PeerId,
    /// What that peer calls itself.
    pub(crate) name: String,
    pub(crate) assertions: Assertions,
    pub(crate) known_peers: KnownPeers,
    pub(crate) store: Store,
    pub(crate) shared: Arc<Shared>,
}

/// A provider for one link.
pub(crate) fn provider(occasion: Occasion) -> Arc<dyn IdentityProvider> {
    Arc::new(KeyProvider { occasion })
}

struct KeyProvider {
    occasion: Occasion,
}

impl IdentityProvider for KeyProvider {
    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        async move { self.generate(&request) }.boxed()
    }

    fn validate_assertion(
        &self,
        request: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        async move {
            self.verify(&request)?;
            self.remember().await?;
            let identity = self.occasion.peer.to_string();
            // `verify` has held the assertion against these very fingerprints.
            let contents = contents(&request.fingerprints);
            Ok(ValidatedIdentity { identity, contents })
        }
        .boxed()
    }
}

impl KeyProvider {
    /// Holds the proven identity against what is known under its name.
    async fn remember(&self) -> Result<(), IdentityError> {
        let Occasion {
            peer,
            name,
            shared,
            store,
            known_peers,
            ..
        } = &self.occasion;
        let accept = *known_peers == KnownPeers::AcceptChanged;
        let verdict = store
            .check(known_identity(name.clone(), peer), accept)
            .await;
        let verdict = verdict.map_err(|error| IdentityError::Unchecked(error.to_string()))?;
        if let Verdict::Changed { known, accepted } = &verdict {
            let (known, accepted) = (known.clone(), *accepted);
            shared.emit(Event::IdentityChanged {
                known,
                offered: *peer,
                accepted,
            });
            if !accepted {
                return Err(IdentityError::Refused(format!(
                    "`{name}` is known with another key"
                )));
            }
        }
        count(&shared.totals.identities_verified, 1);
        let first_use = verdict == Verdict::First;
        shared.emit(Event::IdentityVerified {
            peer: *peer,
            name: name.clone(),
            first_use,
        });
        Ok(())
    }
}

/// The node's memory of assertions it has seen: each counts once. Links check
/// theirs on whatever task they run on, for microseconds and one at a time.
#[derive(Clone)]
pub(crate) struct Assertions {
    verifier: Arc<Mutex<Verifier>>,
}

impl Assertions {
    pub(crate) fn new() -> Self {
        Self {
            verifier: Arc::new(Mutex::new(Verifier::new(time().now))),
        }
    }
}

impl KeyProvider {
    fn scope(&self, sdp_session: u64, addressee: PeerId) -> Scope {
        let Occasion {
            room,
            session,
            shared,
            ..
        } = &self.occasion;
        let mesh = MeshTag::new(&shared.mesh);
        Scope {
            mesh,
            room: *room,
            session: *session,
            sdp_session,
            addressee,
        }
    }

    fn generate(&self, request: &AssertionRequest) -> Result<String, IdentityError> {
        let Occasion {
            identity,
            incarnation,
            peer,
            ..
        } = &self.occasion;
        let certificate = &request.certificate;
        assertion::assert(
            identity,
            *incarnation,
            self.scope(request.session_id, *peer),
            certificate.der(),
            |message| certificate.sign(message),
            &mut rand::make_rng::<rand::rngs::StdRng>(),
            time().unix_ms,
        )
        .map_err(|error| IdentityError::NotMade(error.to_string()))
    }

    /// Signatures, possession, scope, period, replay: all before any data.
    fn verify(&self, request: &ValidationRequest) -> Result<(), IdentityError> {
        let fingerprints = sha256_fingerprints(&request.fingerprints)?;
        let Occasion {
            peer,
            shared,
            assertions,
            ..
        } = &self.occasion;
        let expected = Expected {
            scope: self.scope(request.session_id, shared.me),
            peer: Some(*peer),
            fingerprints: &fingerprints,
        };
        let mut verifier = assertions
            .verifier
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match verifier.verify(&request.assertion, &expected, time()) {
            Ok(_) => Ok(()),
            Err(error) => Err(IdentityError::Refused(error.to_string())),
        }
    }
}

/// The fingerprints as digests; one that is not SHA-256 cannot be vouched for.
fn sha256_fingerprints(
    fingerprints: &[Fingerprint],
) -> Result<Vec<assertion::Fingerprint>, IdentityError> {
    fingerprints
        .iter()
        .map(|fingerprint| {
            let sha256 = fingerprint.hash == HashFunction::Sha256;
            let digest = <[u8; 32]>::try_from(fingerprint.value.as_slice()).ok();
            digest
                .filter(|_| sha256)
                .ok_or(IdentityError::OtherCertificate)
        })
        .collect()
}
