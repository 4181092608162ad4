//! The only way from one actor to another: a sender with a written overflow policy.
//!
//! actix's `do_send` ignores mailbox bounds, and every fresh clone of an address
//! owns one free slot. An [`Outlet`] is one long-lived [`Recipient`], used through
//! `try_send` only, so that a mailbox's capacity means something.
//!
//! actix wakes nobody when a full mailbox has room again (its `send` future, too, is
//! never polled again), so what an outlet keeps is offered again by a task of its own,
//! at most [`RETRY`] apart, whatever its owner does meanwhile.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::dev::SendError;
use actix::{Message, Recipient};

/// Messages an outlet keeps for a receiver whose mailbox is full. Filled by the actor
/// that owns the outlet; beyond it the receiver counts as dead
/// ([`Refused::Overflow`]).
pub(crate) const KEPT_MESSAGES: usize = 256;

/// How long after a refusal kept messages are offered again: the least a timer can do.
const RETRY: Duration = Duration::from_millis(1);

/// What happens to a message for a full mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// Lost and counted: for datagrams and packets, whose protocols send again.
    Drop,
    /// Kept, in order, and offered again: for everything that must not be lost. Flow
    /// control keeps this queue all but empty.
    Keep,
}

/// A message could not be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The receiving actor is gone.
    Closed,
    /// Its mailbox is full and, by policy, the message is lost.
    Overflow,
}

/// A message that can take up a later one while it waits, so that many small ones do
/// not fill a queue that is meant for few.
pub(crate) trait Absorb: Sized {
    /// Takes up what came later; gives back what must stay a message of its own.
    fn absorb(&mut self, later: Self) -> Option<Self>;
}

/// A bounded sender to one actor.
#[derive(Debug)]
pub(crate) struct Outlet<M>
where
    M: Message + Send,
    M::Result: Send,
{
    way: Rc<Way<M>>,
    policy: Overflow,
    bound: usize,
    dropped: u64,
}

/// The receiver and what is kept for it, shared with the task that offers it again.
#[derive(Debug)]
struct Way<M>
where
    M: Message + Send,
    M::Result: Send,
{
    to: Recipient<M>,
    /// Not empty exactly while the task runs.
    kept: RefCell<VecDeque<M>>,
}

impl<M> Outlet<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// For messages that may be lost.
    pub(crate) fn dropping(to: Recipient<M>) -> Self {
        Outlet::new(to, Overflow::Drop, 0)
    }

    /// For messages that must arrive. The owner lives on an arbiter.
    pub(crate) fn keeping(to: Recipient<M>) -> Self {
        Outlet::keeping_up_to(to, KEPT_MESSAGES)
    }

    /// The same, when so many may come in one go.
    pub(crate) fn keeping_up_to(to: Recipient<M>, bound: usize) -> Self {
        Outlet::new(to, Overflow::Keep, bound)
    }

    fn new(to: Recipient<M>, policy: Overflow, bound: usize) -> Self {
        let kept = RefCell::default();
        Outlet {
            way: Rc::new(Way { to, kept }),
            policy,
            bound,
            dropped: 0,
        }
    }

    /// Hands a message over, or applies the policy.
    pub(crate) fn send(&mut self, message: M) -> Result<(), Refused> {
        if !self.way.kept.borrow().is_empty() {
            return self.overflow(message);
        }
        match self.way.to.try_send(message) {
            Ok(()) => Ok(()),
            Err(SendError::Full(message)) => self.overflow(message),
            Err(SendError::Closed(_)) => Err(Refused::Closed),
        }
    }

    /// Hands a message to a receiver whose death is reported elsewhere.
    pub(crate) fn post(&mut self, message: M) {
        match (self.send(message), self.policy) {
            (Ok(()), _) => {}
            (Err(Refused::Overflow), Overflow::Keep) => {
                tracing::error!("an actor takes nothing any more: a message to it is lost");
            }
            (Err(refused), _) => tracing::trace!(?refused, "message not delivered"),
        }
    }

    /// The same, into a message that is kept already if that takes it up.
    pub(crate) fn post_merged(&mut self, message: M)
    where
        M: Absorb,
    {
        let left = {
            let mut kept = self.way.kept.borrow_mut();
            let absorb = |message, kept: &mut M| kept.absorb(message);
            kept.iter_mut().rev().try_fold(message, absorb)
        };
        if let Some(message) = left {
            self.post(message);
        }
    }

    /// Messages lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn overflow(&mut self, message: M) -> Result<(), Refused> {
        let mut kept = self.way.kept.borrow_mut();
        if self.policy == Overflow::Drop || kept.len() >= self.bound {
            self.dropped += 1;
            return Err(Refused::Overflow);
        }
        kept.push_back(message);
        if kept.len() == 1 {
            actix::spawn(Way::deliver(self.way.clone()));
        }
        Ok(())
    }
}

impl<M> Way<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// Offers what is kept until nothing is; also when the outlet is gone meanwhile.
    async fn deliver(way: Rc<Self>) {
        while !way.offer() {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Offers kept messages again; `true` when none is left.
    fn offer(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        while let Some(message) = kept.pop_front() {
            match self.to.try_send(message) {
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    kept.push_front(message);
                    return false;
                }
                Err(SendError::Closed(_)) => kept.clear(),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::{Actor, AsyncContext, Context, Handler};

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Number(u32);

    struct Reader {
        seen: tokio::sync::mpsc::UnboundedSender<u32>,
    }

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<Number> for Reader {
        type Result = ();
        fn handle(&mut self, number: Number, _: &mut Context<Self>) {
            self.seen.send(number.0).expect("the test listens");
        }
    }

    #[test]
    fn a_dropping_outlet_is_bounded_by_the_mailbox() {
        actix::System::new().block_on(async {
            let (seen, _listen) = tokio::sync::mpsc::unbounded_channel();
            let addr = start(seen);
            let mut outlet = Outlet::dropping(addr.recipient());
            let accepted = (0..100).filter(|n| outlet.send(Number(*n)).is_ok()).count();
            assert!(accepted <= 6, "{accepted} messages in a mailbox of 4");
            assert_eq!(outlet.dropped() as usize, 100 - accepted);
        });
    }

    #[test]
    fn a_keeping_outlet_delivers_everything_in_order() {
        actix::System::new().block_on(async {
            let (seen, mut listen) = tokio::sync::mpsc::unbounded_channel();
            let mut outlet = Outlet::keeping(start(seen).recipient());
            for n in 0..100 {
                assert_eq!(outlet.send(Number(n)), Ok(()));
            }
            for expected in 0..100 {
                assert_eq!(listen.recv().await, Some(expected));
            }
        });
    }

    impl Absorb for Number {
        fn absorb(&mut self, later: Number) -> Option<Number> {
            self.0 += later.0;
            None
        }
    }

    #[test]
    fn merged_messages_never_reach_the_bound() {
        actix::System::new().block_on(async {
            let (seen, mut listen) = tokio::sync::mpsc::unbounded_channel();
            let mut outlet = Outlet::keeping(start(seen).recipient());
            let all = 100 * u32::try_from(KEPT_MESSAGES).expect("small");
            (0..all).for_each(|_| outlet.post_merged(Number(1)));
            let mut sum = 0;
            while sum < all {
                sum += listen.recv().await.expect("the reader lives");
            }
            assert_eq!((sum, outlet.dropped()), (all, 0));
        });
    }

    #[test]
    fn a_keeping_outlet_gives_up_at_its_bound() {
        actix::System::new().block_on(async {
            let (seen, _listen) = tokio::sync::mpsc::unbounded_channel();
            let mut outlet = Outlet::keeping(start(seen).recipient());
            let accepted = (0..1000)
                .take_while(|n| outlet.send(Number(*n)).is_ok())
                .count();
            assert!(
                (KEPT_MESSAGES..KEPT_MESSAGES + 8).contains(&accepted),
                "{accepted}"
            );
        });
    }

    fn start(seen: tokio::sync::mpsc::UnboundedSender<u32>) -> actix::Addr<Reader> {
        Reader::create(|ctx| {
            ctx.set_mailbox_capacity(4);
            let _: actix::Addr<Reader> = ctx.address();
            Reader { seen }
        })
    }
}
