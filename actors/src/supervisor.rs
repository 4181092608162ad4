//! Children and their deaths.
//!
//! actix's own `Supervisor` does not survive a panic and never rebuilds state, so
//! supervision is ours. A child's whole future runs inside [`Watched`], which
//! reports its end to the parent whatever that end is:
//!
//! * **stop**: the future completes after `stopped`.
//! * **panic**: measured on actix-rt 2.15 and tokio 1.54, a panic in a handler ends
//!   only that task; the arbiter and its other actors go on, and `stopped` runs when
//!   the context is dropped. It is not told why, though, so `Watched` catches the
//!   unwinding one level further out, where the panic's message is known.
//! * **wedge** (an exclusive await that never resolves): the mailbox is never served
//!   again. An actor can only begin to wait in a turn of its own, so each turn that ends
//!   that way ([`Beat`]) calls its parent's [`Patrol`]. As long as one does the parent
//!   pings it each [`PING_INTERVAL`]; after [`MISSED_PINGS`] unanswered ones the task is
//!   aborted, which drops the actor and its mailbox. Actors that rest cost nothing.
//!   A busy thread is no child's fault: a ping counts as missed only when
//!   the child had a turn since the last look, and has neither answered nor done
//!   anything else (a ping waits in the mailbox behind all that came before).
//!
//! Dropping a [`Child`] aborts its task: whatever happens to a parent, no child
//! outlives it. What follows from a death is decided by the parent.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll, Waker, ready};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext as _, Context, Handler, Message, Recipient};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

/// Time between two pings of a child that waits. Guess: with three misses a wedged actor is
/// noticed within 1.2 s.
pub(crate) const PING_INTERVAL: Duration = Duration::from_millis(300);

/// Unanswered pings after which a child counts as wedged.
pub(crate) const MISSED_PINGS: u32 = 3;

/// How an actor died.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// It stopped though nobody had asked it to.
    Stopped,
    /// It panicked, with this message.
    Panicked(String),
    /// It served its mailbox no more and was given up by the watchdog.
    Wedged,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Death::Stopped => f.write_str("stopped unexpectedly"),
            Death::Panicked(message) => write!(f, "panicked: {message}"),
            Death::Wedged => f.write_str("no longer answered and was given up"),
        }
    }
}

/// A fault to put into one actor.
#[cfg(feature = "chaos")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The actor stops.
    Stop,
    /// The actor panics in a message handler.
    Panic,
    /// The actor awaits something exclusively that never resolves.
    Wedge,
}

/// Asks a child whether it still serves its mailbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Ping {
    pulse: Arc<AtomicU64>,
    number: u64,
}

impl Ping {
    /// The child's whole answer.
    pub(crate) fn answer(&self) {
        self.pulse.store(self.number, Ordering::Relaxed);
    }
}

/// A child that its parent watches.
pub(crate) trait Supervised: Actor<Context = Context<Self>> + Handler<Ping> {
    /// What grows as long as it gets on with its work.
    fn turns(&self) -> Option<Turns>;
}

/// Counts what an actor has done, for its parent to see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Rc<Cell<u64>>);

impl Turns {
    /// One more was done.
    pub(crate) fn count(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Tells a child to suffer a fault.
#[cfg(feature = "chaos")]
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Inject(pub(crate) Fault);

/// Tells a parent that a child's future has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Died<K: Send + 'static> {
    /// Which child.
    pub(crate) key: K,
    /// How.
    pub(crate) death: Death,
}

/// A parent's children by key.
#[derive(Debug)]
pub(crate) struct Children<K: Ord> {
    children: BTreeMap<K, Child>,
    patrol: Patrol,
}

impl<K: Ord> Default for Children<K> {
    fn default() -> Self {
        Children {
            children: BTreeMap::new(),
            patrol: Patrol::default(),
        }
    }
}

/// One child. Aborted when dropped.
#[derive(Debug)]
struct Child {
    task: JoinHandle<()>,
    ping: Recipient<Ping>,
    pulse: Arc<AtomicU64>,
    sent: u64,
    /// Its mailbox had room for the last ping.
    delivered: bool,
    missed: u32,
    visits: Rc<Visits>,
    /// What it has done, if it counts that.
    turns: Turns,
    /// Both at the last look.
    seen: (u64, u64),
}

/// Calls a parent to look after its children.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patrol(Rc<Rounds>);

#[derive(Debug, Default)]
struct Rounds {
    wanted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Patrol {
    fn call(&self) {
        if !self.0.wanted.replace(true)
            && let Some(waker) = self.0.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    fn is_wanted(&self, waker: &Waker) -> bool {
        let mut known = self.0.waker.borrow_mut();
        known.get_or_insert_with(|| waker.clone());
        self.0.wanted.get()
    }
}

/// What a child's task tells its parent.
#[derive(Debug, Default)]
struct Visits {
    polls: Cell<u64>,
    /// Its last turn has served the mailbox to the end: it waits for nothing else.
    rests: Cell<bool>,
    /// A wedged actor's mailbox wakes nobody: its parent does.
    waker: RefCell<Option<Waker>>,
}

impl Visits {
    fn count(&self, waker: &Waker) {
        self.polls.set(self.polls.get() + 1);
        self.rests.set(false);
        self.waker.borrow_mut().get_or_insert_with(|| waker.clone());
    }

    fn ask_for(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K: Ord + Clone + Send + Unpin + 'static> Children<K> {
    /// Starts a prepared actor on the current arbiter under this key; its death will be
    /// told to `parent`.
    pub(crate) fn start<A>(
        &mut self,
        key: K,
        mut context: Context<A>,
        actor: A,
        parent: Recipient<Died<K>>,
    ) -> Addr<A>
    where
        A: Supervised,
    {
        let turns = actor.turns().unwrap_or_default();
        let visits = Rc::<Visits>::default();
        context.spawn(Beat(visits.clone()));
        let future = context.into_future(actor);
        let addr = future.address();
        let task = tokio::task::spawn_local(Watched {
            actor: Some(future),
            key: Some(key.clone()),
            parent,
            visits: visits.clone(),
            patrol: self.patrol.clone(),
        });
        let child = Child {
            task,
            ping: addr.clone().recipient(),
            pulse: Arc::new(AtomicU64::new(0)),
            sent: 0,
            delivered: true,
            missed: 0,
            visits,
            turns,
            seen: (0, 0),
        };
        self.children.insert(key, child);
        addr
    }

    /// Forgets a child, aborting it if it still runs. Whether it was known.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        self.children.remove(key).is_some()
    }

    /// Pings those that wait; returns those that have missed too many pings, for the parent to
    /// remove. Called once per [`PING_INTERVAL`] by [`watch`], as long as somebody waits.
    pub(crate) fn wedged(&mut self) -> Vec<K> {
        let missed = self
            .children
            .iter_mut()
            .filter_map(|(key, child)| child.missed_too_many().then(|| key.clone()));
        let missed = missed.collect();
        if !self.children.values().all(|child| child.visits.rests.get()) {
            self.patrol.call();
        }
        missed
    }

    /// What calls for a look at these children.
    pub(crate) fn patrol(&self) -> Patrol {
        self.patrol.clone()
    }
}

impl Child {
    fn missed_too_many(&mut self) -> bool {
        let (polls, turns) = (self.visits.polls.get(), self.turns.0.get());
        let before = std::mem::replace(&mut self.seen, (polls, turns));
        if self.visits.rests.get() {
            self.missed = 0;
            return false;
        }
        if self.pulse.load(Ordering::Relaxed) == self.sent {
            self.missed = 0;
            self.sent += 1;
            self.delivered = false;
        } else if turns != before.1 {
            self.missed = 0;
        } else if polls != before.0 {
            self.missed += 1;
        }
        if !self.delivered {
            self.delivered = self.ping.try_send(self.next_ping()).is_ok();
        }
        self.visits.ask_for();
        self.missed >= MISSED_PINGS
    }

    fn next_ping(&self) -> Ping {
        Ping {
            pulse: self.pulse.clone(),
            number: self.sent,
        }
    }
}

/// An actor's future, with its end reported.
struct Watched<A: Actor<Context = Context<A>>, K: Send + Unpin + 'static> {
    actor: Option<ContextFut<A, Context<A>>>,
    key: Option<K>,
    parent: Recipient<Died<K>>,
    visits: Rc<Visits>,
    patrol: Patrol,
}

impl<A, K> Future for Watched<A, K>
where
    A: Actor<Context = Context<A>>,
    K: Send + Unpin + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        self.visits.count(task.waker());
        let Some(actor) = self.actor.as_mut() else {
            return Poll::Ready(());
        };
        // Sound: after a panic the actor is dropped and never looked at again.
        let poll = catch_unwind(AssertUnwindSafe(|| Pin::new(actor).poll(task)));
        let death = match poll {
            Ok(Poll::Pending) => {
                if !self.visits.rests.get() {
                    self.patrol.call();
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(())) => Death::Stopped,
            Err(panic) => Death::Panicked(panic_message(&*panic)),
        };
        self.bury(death);
        Poll::Ready(())
    }
}

impl<A, K> Watched<A, K>
where
    A: Actor<Context = Context<A>>,
    K: Send + Unpin + 'static,
{
    fn bury(&mut self, death: Death) {
        if let Some(key) = self.key.take() {
            // This recipient's own slot takes the message even if the mailbox is full;
            // a parent that is gone needs no report.
            drop(self.parent.try_send(Died { key, death }));
        }
        // After the parent's turn, so that it has published the cause before anything the
        // actor owned looks for it. A second panic in there ends only that task.
        let actor = self.actor.take();
        tokio::task::spawn_local(async move { drop(actor) });
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}

/// Sees at the end of each of a child's turns whether it waits: while it does, neither this nor
/// the mailbox is served.
struct Beat(Rc<Visits>);

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Beat {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        ctx: &mut Context<A>,
        _: &mut task::Context<'_>,
    ) -> Poll<()> {
        self.0.rests.set(!ctx.waiting());
        Poll::Pending
    }
}

/// Calls `check` [`PING_INTERVAL`] after `patrol` was called for, counted from the end of the last
/// call. actix's `run_interval` catches up after a stalled thread with several calls at once,
/// between which no child had a turn: healthy ones would look wedged.
pub(crate) fn watch<A: Actor<Context = Context<A>>>(
    ctx: &mut Context<A>,
    patrol: Patrol,
    check: fn(&mut A, &mut Context<A>),
) {
    let pause = None;
    ctx.spawn(Watch {
        patrol,
        check,
        pause,
    });
}

/// A parent's look at its children.
struct Watch<A: Actor<Context = Context<A>>> {
    patrol: Patrol,
    check: fn(&mut A, &mut Context<A>),
    /// There only while a look is wanted.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Watch<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        parent: &mut A,
        ctx: &mut Context<A>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        while self.patrol.is_wanted(task.waker()) {
            let pause = || Box::pin(tokio::time::sleep(PING_INTERVAL));
            ready!(self.pause.get_or_insert_with(pause).as_mut().poll(task));
            self.pause = None;
            self.patrol.0.wanted.set(false);
            (self.check)(parent, ctx);
        }
        Poll::Pending
    }
}

/// Suffers an injected fault.
#[cfg(feature = "chaos")]
pub(crate) fn suffer<A: Actor<Context = Context<A>>>(ctx: &mut Context<A>, fault: Fault) {
    use actix::{ActorContext as _, fut::wrap_future};
    match fault {
        Fault::Stop => ctx.stop(),
        Fault::Panic => panic!("injected fault"),
        Fault::Wedge => ctx.wait(wrap_future(std::future::pending::<()>())),
    }
}

/// What every supervised actor answers alike.
macro_rules! supervised {
    ($actor:ty) => {
        supervised!($actor, |_| None);
    };
    ($actor:ty, $turns:expr) => {
        impl $crate::supervisor::Supervised for $actor {
            fn turns(&self) -> Option<$crate::supervisor::Turns> {
                let turns: fn(&Self) -> Option<$crate::supervisor::Turns> = $turns;
                turns(self)
            }
        }

        impl actix::Handler<$crate::supervisor::Ping> for $actor {
            type Result = ();
            fn handle(&mut self, ping: $crate::supervisor::Ping, _: &mut Self::Context) {
                ping.answer();
            }
        }

        #[cfg(feature = "chaos")]
        impl actix::Handler<$crate::supervisor::Inject> for $actor {
            type Result = ();
            fn handle(&mut self, inject: $crate::supervisor::Inject, ctx: &mut Self::Context) {
                $crate::supervisor::suffer(ctx, inject.0);
            }
        }
    };
}
pub(crate) use supervised;

#[cfg(test)]
mod tests;
