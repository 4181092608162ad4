//! What a hop between actors costs: within an arbiter, between arbiters, and
//! from a handle in another runtime to a peer connection and back.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, Context, Handler, Message, Recipient, System};
use criterion::{Criterion, criterion_group, criterion_main};
use peerloom::webrtc::{Runtime, RuntimeConfig};
use peerloom_benches::{BenchError, Pair, endpoint};

/// Passed to and fro until nothing is left to go.
struct Ball {
    left: u64,
}

impl Message for Ball {
    type Result = ();
}

/// Tells a player whom it plays with.
struct Meet(Recipient<Ball>);

impl Message for Meet {
    type Result = ();
}

struct Player {
    other: Option<Recipient<Ball>>,
    done: SyncSender<()>,
}

impl Actor for Player {
    type Context = Context<Self>;
}

impl Handler<Meet> for Player {
    type Result = ();

    fn handle(&mut self, Meet(other): Meet, _: &mut Self::Context) {
        self.other = Some(other);
    }
}

impl Handler<Ball> for Player {
    type Result = ();

    fn handle(&mut self, ball: Ball, _: &mut Self::Context) {
        let Some(left) = ball.left.checked_sub(1) else {
            self.done
                .send(())
                .expect("the bench waits for the end of the game");
            return;
        };
        let other = self.other.as_ref().expect("the players have met");
        other
            .try_send(Ball { left })
            .expect("one ball fits into any mailbox");
    }
}

/// Two players and the threads they live on.
struct Court {
    first: Addr<Player>,
    done: std::sync::mpsc::Receiver<()>,
    system: System,
    thread: JoinHandle<()>,
}

impl Court {
    fn new(same_arbiter: bool) -> Self {
        let (done, over) = sync_channel(1);
        let (ready, made) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runner = System::new();
            runner.block_on(async {
                let one = Arbiter::new();
                let two = if same_arbiter {
                    one.handle()
                } else {
                    Arbiter::new().handle()
                };
                let player = |done| move |_: &mut Context<Player>| Player { other: None, done };
                let first = Player::start_in_arbiter(&one.handle(), player(done.clone()));
                let second = Player::start_in_arbiter(&two, player(done));
                first
                    .send(Meet(second.clone().recipient()))
                    .await
                    .expect("the first player lives");
                second
                    .send(Meet(first.clone().recipient()))
                    .await
                    .expect("the second player lives");
                ready
                    .send((first, System::current()))
                    .expect("the bench waits for its players");
            });
            runner.run().expect("the system ends when it is stopped");
        });
        let (first, system) = made.recv().expect("the system starts");
        Self {
            first,
            done: over,
            system,
            thread,
        }
    }

    fn play(&self, hops: u64) -> Duration {
        let from = Instant::now();
        self.first
            .try_send(Ball { left: hops })
            .expect("the mailbox is empty");
        self.done.recv().expect("the players live");
        from.elapsed()
    }

    fn close(self) {
        self.system.stop();
        self.thread.join().expect("the system ends in order");
    }
}

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox hop");
    for (name, same_arbiter) in [("same arbiter", true), ("other arbiter", false)] {
        let court = Court::new(same_arbiter);
        group.bench_function(name, |bencher| bencher.iter_custom(|hops| court.play(hops)));
        court.close();
    }
    group.finish();
}

fn call(criterion: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().expect("a tokio runtime starts");
    let pair = tokio
        .block_on(pair())
        .expect("two peer connections are made");
    criterion.bench_function("call from another runtime/get_stats", |bencher| {
        bencher.iter_custom(|count| {
            tokio.block_on(async {
                let from = Instant::now();
                for _ in 0..count {
                    pair.near().get_stats().await.expect("the connection lives");
                }
                from.elapsed()
            })
        });
    });
}

async fn pair() -> Result<Pair, BenchError> {
    let runtime = Runtime::start(RuntimeConfig::default())?;
    Pair::new(&endpoint(&runtime).await?, &endpoint(&runtime).await?).await
}

criterion_group!(benches, hop, call);
criterion_main!(benches);
