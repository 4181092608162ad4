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
use std::task::{self, Poll, Waker};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context};
use peerloom_transports::clock;
use tokio::time::{Instant as TokioInstant, Sleep, sleep_until};

use crate::supervisor::Turns;

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
    done: Turns,
    /// Of the driver, once it was polled.
    driver: Option<Waker>,
}

impl Alarm {
    /// Counts the turns of the shell.
    pub(crate) fn done(&self) -> Turns {
        self.done.clone()
    }
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
    alarm.done.count();
    if alarm.turns >= TURNS_PER_POLL {
        alarm.turns = 0;
        ctx.wait(Yield(false));
    }
}

/// A turn for what comes out of a stream or a future of the actor. The context polls those in an order
/// that changes when one of them waits: the driver, which sees after each *message* what the turn has
/// left to do and by when, may have had its turn before.
pub(crate) fn turn_aside<S: Shell>(
    shell: &mut S,
    ctx: &mut Context<S>,
    feed: impl FnOnce(&mut S, Instant),
) {
    turn(shell, ctx, feed);
    if let Some(driver) = &shell.alarm().driver {
        driver.wake_by_ref();
    }
}

/// Handlers that answer a message with one turn: `Message => method(message, now)`.
macro_rules! turns {
    ($actor:ty { $($message:ty => $method:ident,)+ }) => {$(
        impl actix::Handler<$message> for $actor {
            type Result = ();
            fn handle(&mut self, message: $message, ctx: &mut Self::Context) {
                $crate::shell::turn(self, ctx, |actor, now| actor.$method(message, now));
            }
        }
    )+};
}
pub(crate) use turns;

/// Starts the driver; call once, in `started`.
pub(crate) fn start<S: Shell>(shell: &mut S, ctx: &mut Context<S>) {
    turn(shell, ctx, |_, _| {});
    let sleep = Box::pin(sleep_until(TokioInstant::now()));
    ctx.spawn(Driver {
        sleep,
        armed: None,
        hurried: false,
    });
}

/// Sleeps until the alarm's deadline and continues unfinished turns.
struct Driver {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    /// It rang without the timer, and nothing else has happened since.
    hurried: bool,
}

impl<S: Shell> ActorFuture<S> for Driver {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        shell: &mut S,
        ctx: &mut Context<S>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let alarm = shell.alarm();
        match &mut alarm.driver {
            Some(known) => known.clone_from(task.waker()),
            none @ None => *none = Some(task.waker().clone()),
        }
        let turns = std::mem::take(&mut alarm.turns);
        self.hurried &= turns == 0;
        if shell.alarm().more || self.hurries(shell) || self.rings(shell, task) {
            turn(shell, ctx, |_, _| {});
            shell.alarm().turns = 0;
            if shell.alarm().more || self.rings(shell, task) {
                task.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Driver {
    /// What is due now is done now: the timer would come up to a millisecond later. Not twice in
    /// a row, though: an engine that asks for now again and again gets the timer's pace.
    fn hurries<S: Shell>(&mut self, shell: &mut S) -> bool {
        let due = shell.alarm().at.is_some_and(|at| at <= clock::now());
        due && !std::mem::replace(&mut self.hurried, due)
    }

    /// Arms the sleep for the alarm's deadline; whether it has passed already. A sleep
    /// that is armed for an earlier instant is left alone: it costs one spare turn.
    fn rings<S: Shell>(&mut self, shell: &mut S, task: &mut task::Context<'_>) -> bool {
        let Some(at) = shell.alarm().at else {
            return false;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            self.sleep.as_mut().reset(TokioInstant::from_std(at));
        }
        let rings = self.sleep.as_mut().poll(task).is_ready();
        if rings {
            self.armed = None;
            self.hurried = false;
        }
        rings
    }
}

/// Lets every other task of the arbiter run once.
struct Yield(bool);

impl<A: Actor> ActorFuture<A> for Yield {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        _: &mut A,
        _: &mut A::Context,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::{Handler, Message, StreamHandler, System};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio_stream::wrappers::ReceiverStream;

    /// What happened, in order.
    type Log = Arc<Mutex<Vec<String>>>;

    struct Clockwork {
        log: Log,
        deadline: Option<Instant>,
        work: u32,
        insists: u32,
        alarm: Alarm,
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    enum Input {
        Arm(Duration),
        Work(u32),
        Note(u32),
        /// Always late, so often.
        Insist(u32),
        /// From here on inputs come out of this as well.
        Listen(tokio::sync::mpsc::Receiver<Input>),
    }

    impl Shell for Clockwork {
        fn deadline(&mut self) -> Option<Instant> {
            self.deadline
        }

        fn expire(&mut self, now: Instant) {
            self.deadline = (self.insists > 0).then_some(now);
            self.insists = self.insists.saturating_sub(1);
            note(&self.log, "expired");
        }

        fn drain(&mut self, _: &mut Context<Self>, _: Instant) -> Drained {
            if self.work == 0 {
                return Drained::Idle;
            }
            self.work -= 1;
            note(&self.log, "worked");
            if self.work == 0 {
                Drained::Idle
            } else {
                Drained::More
            }
        }

        fn alarm(&mut self) -> &mut Alarm {
            &mut self.alarm
        }
    }

    impl Actor for Clockwork {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            start(self, ctx);
        }
    }

    impl Handler<Input> for Clockwork {
        type Result = ();

        fn handle(&mut self, input: Input, ctx: &mut Self::Context) {
            match input {
                Input::Listen(inputs) => {
                    ctx.add_stream(ReceiverStream::new(inputs));
                }
                input @ (Input::Arm(_) | Input::Work(_) | Input::Note(_) | Input::Insist(_)) => {
                    turn(self, ctx, |shell, now| shell.take(input, now));
                }
            }
        }
    }

    impl StreamHandler<Input> for Clockwork {
        fn handle(&mut self, input: Input, ctx: &mut Self::Context) {
            turn_aside(self, ctx, |shell, now| shell.take(input, now));
        }
    }

    impl Clockwork {
        fn take(&mut self, input: Input, now: Instant) {
            match input {
                Input::Arm(after) => self.deadline = Some(now + after),
                Input::Work(units) => self.work = units,
                Input::Note(n) => note(&self.log, &n.to_string()),
                Input::Insist(times) => {
                    self.insists = times;
                    self.deadline = Some(now);
                }
                Input::Listen(_) => {}
            }
        }
    }

    #[test]
    fn an_idle_shell_wakes_at_its_deadline() {
        paused(|addr, log| async move {
            addr.send(Input::Arm(Duration::from_secs(3600)))
                .await
                .expect("alive");
            let before = clock::now();
            while notes(&log).is_empty() {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            assert!(clock::now() - before >= Duration::from_secs(3600));
            assert_eq!(notes(&log), ["expired"]);
        });
    }

    #[test]
    fn an_earlier_deadline_replaces_a_later_one() {
        paused(|addr, log| async move {
            addr.send(Input::Arm(Duration::from_secs(3600)))
                .await
                .expect("alive");
            addr.send(Input::Arm(Duration::from_secs(1)))
                .await
                .expect("alive");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(notes(&log), ["expired"]);
        });
    }

    #[test]
    fn what_is_due_now_is_done_now() {
        paused(|addr, log| async move {
            // Between two ticks of the timer.
            tokio::time::advance(Duration::from_micros(300)).await;
            let before = clock::now();
            addr.send(Input::Arm(Duration::ZERO)).await.expect("alive");
            tokio::task::yield_now().await;
            assert_eq!(notes(&log), ["expired"]);
            assert_eq!(clock::now(), before);
        });
    }

    /// It is polled after the driver.
    #[test]
    fn what_a_stream_leaves_to_do_is_done_now() {
        paused(|addr, log| async move {
            let (inputs, listen) = tokio::sync::mpsc::channel(4);
            addr.send(Input::Listen(listen)).await.expect("alive");
            let before = clock::now();
            inputs.send(Input::Arm(Duration::ZERO)).await.expect("room");
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert_eq!(notes(&log), ["expired"]);
            inputs.send(Input::Work(40)).await.expect("room");
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            assert_eq!(notes(&log).len(), 41);
            assert_eq!(clock::now(), before);
        });
    }

    /// An engine that asks for now again and again, whatever is done for it: it gets the timer's pace.
    #[test]
    fn an_engine_that_is_never_done_gets_the_pace_of_the_timer() {
        paused(|addr, log| async move {
            // Between two ticks of the timer, where the clock stands still as long as we are busy.
            tokio::time::advance(Duration::from_micros(300)).await;
            addr.send(Input::Insist(100)).await.expect("alive");
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            let at_once = notes(&log).len();
            assert!((1..=3).contains(&at_once), "{at_once} times");
        });
    }

    #[test]
    fn a_full_mailbox_does_not_starve_the_deadline() {
        paused(|addr, log| async move {
            addr.send(Input::Arm(Duration::from_millis(5)))
                .await
                .expect("alive");
            tokio::time::advance(Duration::from_millis(10)).await;
            let recipient = addr.recipient();
            for n in 0..3 {
                recipient.try_send(Input::Note(n)).expect("room");
            }
            recipient.send(Input::Note(3)).await.expect("alive");
            assert_eq!(notes(&log), ["expired", "0", "1", "2", "3"]);
        });
    }

    #[test]
    fn work_beyond_the_budget_goes_on_by_itself() {
        paused(|addr, log| async move {
            addr.send(Input::Work(40)).await.expect("alive");
            while notes(&log).len() < 40 {
                tokio::task::yield_now().await;
            }
            addr.send(Input::Note(1)).await.expect("alive");
            assert_eq!(notes(&log).len(), 41);
        });
    }

    #[test]
    fn a_busy_shell_yields_to_its_neighbours() {
        paused(|addr, log| async move {
            let neighbour = log.clone();
            let recipient = addr.recipient();
            for n in 0..4 * TURNS_PER_POLL {
                recipient.try_send(Input::Note(n)).expect("room");
            }
            tokio::task::spawn_local(async move { note(&neighbour, "neighbour") });
            recipient.send(Input::Note(u32::MAX)).await.expect("alive");
            let seen = notes(&log);
            let turn = seen
                .iter()
                .position(|entry| entry == "neighbour")
                .expect("it ran");
            assert!(turn <= TURNS_PER_POLL as usize, "{seen:?}");
        });
    }

    /// Runs a test with one shell on a paused clock.
    fn paused<F: Future<Output = ()>>(test: impl FnOnce(actix::Addr<Clockwork>, Log) -> F) {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime")
        };
        System::with_tokio_rt(runtime).block_on(async {
            let log = Log::default();
            let mut context = Context::new();
            context.set_mailbox_capacity(64);
            let addr = context.address();
            let shell = Clockwork {
                log: log.clone(),
                deadline: None,
                work: 0,
                insists: 0,
                alarm: Alarm::default(),
            };
            context.run(shell);
            test(addr, log).await;
        });
    }

    fn note(log: &Log, entry: &str) {
        log.lock().expect("not poisoned").push(entry.to_owned());
    }

    fn notes(log: &Log) -> Vec<String> {
        log.lock().expect("not poisoned").clone()
    }
}
