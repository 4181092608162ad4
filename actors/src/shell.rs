//! The one routine every engine-holding actor runs: feed, drain, re-arm.
//!
//! A *turn* answers one message: it checks the engine's deadline first (a full
//! mailbox would starve a timer), feeds the input, carries out what the engine
//! asks up to the shell's own budget, and notes the next deadline. The [`Driver`]
//! is the one future of the actor: it sleeps until that deadline and continues
//! turns whose budget ran out. After [`TURNS_PER_POLL`] messages the actor yields
//! to the others on its arbiter.

use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context};
use peerloom_transports::clock;
use tokio::time::{Instant as TokioInstant, Sleep, sleep_until};

/// Messages an actor handles before others on its arbiter may run. Small enough that
/// sixteen busy actors still see a 1 ms deadline in time.
pub(crate) const TURNS_PER_POLL: u32 = 8;

/// What a drain left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing to do until the next input or deadline.
    Idle,
    /// The budget ran out: continue after others had their turn.
    More,
}

/// An actor around an engine.
pub(crate) trait Shell: Actor<Context = Context<Self>> {
    /// When the engine wants to be called next.
    fn deadline(&mut self) -> Option<Instant>;

    /// The engine's deadline has passed.
    fn expire(&mut self, now: Instant);

    /// Carries out what the engine asks, within a budget.
    fn drain(&mut self, ctx: &mut Context<Self>, now: Instant) -> Drained;

    /// The shell's alarm.
    fn alarm(&mut self) -> &mut Alarm;
}

/// When a shell runs next without a message.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    at: Option<Instant>,
    more: bool,
    turns: u32,
}

/// One turn: expired deadline first, then `feed`, then everything the engine asks.
pub(crate) fn turn<S: Shell>(
    shell: &mut S,
    ctx: &mut Context<S>,
    feed: impl FnOnce(&mut S, Instant),
) {
    let now = clock::now();
    if shell.deadline().is_some_and(|at| at <= now) {
        shell.expire(now);
        // Drained before the input, as the engines' contract asks. A remainder is
        // covered by the drain below.
        shell.drain(ctx, now);
    }
    feed(shell, now);
    let drained = shell.drain(ctx, now);
    let at = shell.deadline();
    let alarm = shell.alarm();
    alarm.at = at;
    alarm.more = drained == Drained::More;
    alarm.turns += 1;
    if alarm.turns >= TURNS_PER_POLL {
        alarm.turns = 0;
        ctx.wait(Yield(false));
    }
}

/// Starts the driver; call once, in `started`.
pub(crate) fn start<S: Shell>(shell: &mut S, ctx: &mut Context<S>) {
    turn(shell, ctx, |_, _| {});
    let sleep = Box::pin(sleep_until(TokioInstant::now()));
    ctx.spawn(Driver { sleep, armed: None });
}

/// Sleeps until the alarm's deadline and continues unfinished turns.
struct Driver {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl<S: Shell> ActorFuture<S> for Driver {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        shell: &mut S,
        ctx: &mut Context<S>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        shell.alarm().turns = 0;
        if shell.alarm().more || self.rings(shell, task) {
            turn(shell, ctx, |_, _| {});
            if shell.alarm().more || self.rings(shell, task) {
                task.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Driver {
    /// Arms the sleep for the alarm's deadline; whether it has passed already. A sleep
    /// that is armed for an earlier instant is left alone: it costs one spare turn.
    fn rings<S: Shell>(&mut self, shell: &mut S, task: &mut task::Context<'_>) -> bool {
        let Some(at) = shell.alarm().at else { return false };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            self.sleep.as_mut().reset(TokioInstant::from_std(at));
        }
        let rings = self.sleep.as_mut().poll(task).is_ready();
        if rings {
            self.armed = None;
        }
        rings
    }
}

/// Lets every other task of the arbiter run once.
struct Yield(bool);

impl<A: Actor> ActorFuture<A> for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut A, _: &mut A::Context, task: &mut task::Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
