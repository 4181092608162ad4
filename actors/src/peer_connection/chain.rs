//! The operations chain of a connection (W3C webrtc-pc section 4.4.1.2), and what waits for it
//! to be empty: `negotiationneeded` (section 4.7.3).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll};

use actix::Context;
use actix::fut::ActorFuture;
use futures::task::AtomicWaker;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::actor::PeerConnectionActor;
use super::events::Event;

/// Calls of all handles, in the order in which they were made, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    turns: Arc<Mutex<()>>,
    /// Calls that wait or run.
    operations: AtomicUsize,
    /// The actor, which wants to know when there are none.
    actor: AtomicWaker,
}

/// A place in the chain; when it is dropped the next call has its turn.
#[derive(Debug)]
pub(super) struct Turn {
    chain: Arc<Chain>,
    lock: Option<OwnedMutexGuard<()>>,
}

impl Chain {
    /// Waits for the turn. A call that is dropped while it waits leaves the chain.
    pub(super) async fn enter(self: &Arc<Self>) -> Turn {
        self.operations.fetch_add(1, Ordering::AcqRel);
        let mut turn = Turn {
            chain: self.clone(),
            lock: None,
        };
        turn.lock = Some(self.turns.clone().lock_owned().await);
        turn
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.load(Ordering::Acquire) == 0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.lock.take());
        if self.chain.operations.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.chain.actor.wake();
        }
    }
}

impl PeerConnectionActor {
    /// The flag of webrtc-pc section 4.7.3 went up: told at once, or when the chain is empty.
    pub(super) fn negotiation_is_needed(&mut self) {
        self.untold_negotiation = true;
        self.tell_negotiation_needed();
    }

    fn tell_negotiation_needed(&mut self) {
        if !self.untold_negotiation || !self.chain.is_empty() {
            return;
        }
        self.untold_negotiation = false;
        // A call in between may have brought what was needed.
        if self.session.negotiation_needed() {
            self.emit(Event::NegotiationNeeded);
        }
    }
}

/// Looks again whenever the chain has become empty.
pub(super) struct WhenEmpty;

impl ActorFuture<PeerConnectionActor> for WhenEmpty {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut PeerConnectionActor,
        _: &mut Context<PeerConnectionActor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        actor.chain.actor.register(task.waker());
        actor.tell_negotiation_needed();
        Poll::Pending
    }
}
