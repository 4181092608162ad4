//! The peer's description and the identity in it: what the actor makes of an assertion.

use actix::{Context, Handler};
use peerloom_transports::proto::jsep::{SdpType, SessionDescription};

use super::actor::PeerConnectionActor;
use super::events::{Event, Identity};
use super::messages::{Asserted, SetIdentityProvider, SetRemote, ToValidate, Verdict};
use crate::cause::Cause;
use crate::error::Error;
use crate::identity::{IdentityError, IdentityProviderDetails};

impl PeerConnectionActor {
    fn set_identity(&self, identity: Identity) {
        self.snapshot
            .send_modify(|snapshot| snapshot.identity = identity);
    }

    fn set_remote(&mut self, description: SessionDescription) -> Result<Option<ToValidate>, Error> {
        self.check_open()?;
        let rollback = description.kind == SdpType::Rollback;
        // The gate closes before any effect opens a transport.
        let before = self.snapshot.borrow().identity.clone();
        let bound = self.session.negotiated().is_some();
        self.set_identity(Identity::Pending);
        if let Err(error) = self.session.set_remote(description) {
            self.set_identity(before);
            self.carry_out();
            return Err(error.into());
        }
        // A verdict on the description before is none on this one.
        self.identity_round += 1;
        let identity = self.carry_out();
        match identity.filter(|_| self.snapshot.borrow().idp.provider.is_some()) {
            Some(identity) => Ok(Some(ToValidate {
                round: self.identity_round,
                identity,
            })),
            None if rollback => {
                self.set_identity(before);
                self.advance();
                Ok(None)
            }
            None => self.accept_without_assertion(before, bound).map(|()| None),
        }
    }

    /// `bound` says that DTLS was agreed on before: later descriptions cannot change the
    /// certificate, so what was proved about it holds on. Before that, a description without
    /// an assertion may name anybody's.
    fn accept_without_assertion(&mut self, before: Identity, bound: bool) -> Result<(), Error> {
        let settled = match before {
            Identity::Valid(identity) if bound => Identity::Valid(identity),
            Identity::Unknown
            | Identity::Pending
            | Identity::Absent
            | Identity::Valid(_)
            | Identity::Refused(_)
            | Identity::Unproved(_) => {
                if self.config.needs_identity() {
                    return self.refuse(IdentityError::Missing);
                }
                Identity::Absent
            }
        };
        self.set_identity(settled);
        self.advance();
        Ok(())
    }

    fn verdict(&mut self, verdict: Verdict) -> Result<(), Error> {
        let identity = match verdict.outcome {
            Ok(identity) => identity,
            Err(error) => return self.not_proved(verdict.idp, error),
        };
        if let Some(expected) = self
            .proved
            .clone()
            .filter(|known| known.identity != identity.identity)
        {
            let found = identity.identity;
            return self.refuse(IdentityError::OtherIdentity {
                found,
                expected: expected.identity,
            });
        }
        self.set_identity(Identity::Valid(identity.clone()));
        if self.proved.replace(identity.clone()).is_none() {
            self.emit(Event::PeerIdentity(identity));
        }
        self.advance();
        Ok(())
    }

    /// webrtc-identity section 7: without a target the connection goes on, and nobody knows with
    /// whom. What was proved once must be proved again.
    fn not_proved(
        &mut self,
        idp: Option<IdentityProviderDetails>,
        error: IdentityError,
    ) -> Result<(), Error> {
        self.blame_provider(&error);
        let told = error.clone();
        self.emit(Event::IdpValidationError { idp, error: told });
        if self.config.needs_identity() || self.proved.is_some() {
            return self.refuse(error);
        }
        self.set_identity(Identity::Unproved(error));
        self.advance();
        Ok(())
    }

    /// `idpLoginUrl` and `idpErrorInfo` tell the latest error.
    fn blame_provider(&self, error: &IdentityError) {
        let url = if let IdentityError::LoginRequired { url } = error {
            Some(url.clone())
        } else {
            None
        };
        self.snapshot.send_modify(|snapshot| {
            snapshot.idp_login_url = url;
            snapshot.idp_error_info = error.info().map(str::to_owned);
        });
    }

    fn refuse(&mut self, error: IdentityError) -> Result<(), Error> {
        self.set_identity(Identity::Refused(error.clone()));
        self.fail(Cause::Identity(error.clone()));
        Err(Error::Identity(error))
    }
}

impl Handler<SetRemote> for PeerConnectionActor {
    type Result = Result<Option<ToValidate>, Error>;

    fn handle(&mut self, set: SetRemote, _: &mut Context<Self>) -> Self::Result {
        self.set_remote(set.0)
    }
}

impl Handler<Verdict> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, verdict: Verdict, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        if verdict.round == self.identity_round {
            self.verdict(verdict)
        } else {
            Ok(())
        }
    }
}

impl Handler<SetIdentityProvider> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, set: SetIdentityProvider, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        self.snapshot.send_modify(|snapshot| snapshot.idp = set.0);
        Ok(())
    }
}

impl Handler<Asserted> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, asserted: Asserted, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        match asserted.outcome {
            Ok(value) => self.emit(Event::IdentityResult(value)),
            Err(error) => {
                self.blame_provider(&error);
                let login_url = self.snapshot.borrow().idp_login_url.clone();
                self.emit(Event::IdpAssertionError {
                    idp: asserted.idp,
                    login_url,
                    error,
                });
            }
        }
        Ok(())
    }
}
