use super::*;
use actix::System;
use tokio::sync::mpsc;

struct Parent {
    children: Children<u32>,
    deaths: mpsc::UnboundedSender<(u32, Death)>,
}

struct Kid {
    dropped: mpsc::UnboundedSender<(u32, Death)>,
    turns: Turns,
}

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Stop,
    Panic,
    Wedge,
    /// Work that takes others' time.
    Work,
}

impl Actor for Parent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        watch(ctx, self.children.patrol(), |parent, _| {
            for key in parent.children.wedged() {
                parent.children.remove(&key);
                parent
                    .deaths
                    .send((key, Death::Wedged))
                    .expect("the test listens");
            }
        });
    }
}

impl Handler<Died<u32>> for Parent {
    type Result = ();
    fn handle(&mut self, died: Died<u32>, _: &mut Self::Context) {
        self.children.remove(&died.key);
        self.deaths
            .send((died.key, died.death))
            .expect("the test listens");
    }
}

impl Actor for Kid {
    type Context = Context<Self>;
}

impl Drop for Kid {
    fn drop(&mut self) {
        // Marks the drop in the order of deaths.
        drop(self.dropped.send((u32::MAX, Death::Stopped)));
    }
}

impl Handler<Do> for Kid {
    type Result = ();
    fn handle(&mut self, order: Do, ctx: &mut Self::Context) {
        use actix::ActorContext as _;
        match order {
            Do::Stop => ctx.stop(),
            Do::Panic => panic!("on purpose"),
            // Others have their turn before the next message is read.
            Do::Work => {
                self.turns.count();
                ctx.wait(actix::fut::wrap_future(tokio::time::sleep(PING_INTERVAL)));
            }
            Do::Wedge => ctx.wait(actix::fut::wrap_future(std::future::pending::<()>())),
        }
    }
}

supervised!(Kid, |kid| Some(kid.turns.clone()));

#[test]
fn every_death_is_reported_and_neighbours_go_on() {
    for (order, death) in [
        (Do::Stop, Death::Stopped),
        (Do::Panic, Death::Panicked("on purpose".into())),
        (Do::Wedge, Death::Wedged),
    ] {
        family(|kids, mut deaths| async move {
            kids[0].try_send(order).expect("alive");
            assert_eq!(deaths.recv().await, Some((0, death)));
            assert_eq!(
                deaths.recv().await,
                Some((u32::MAX, Death::Stopped)),
                "it is dropped"
            );
            // Long enough for a watchdog to be wrong about the other.
            tokio::time::sleep(PING_INTERVAL * 10 * MISSED_PINGS).await;
            assert!(kids[1].connected() && !kids[0].connected());
            assert!(deaths.try_recv().is_err());
        });
    }
}

#[test]
fn a_stalled_thread_wedges_nobody() {
    family(|kids, mut deaths| async move {
        for _ in 0..5 {
            // As seen by timers: nothing ran for a long while.
            tokio::time::advance(PING_INTERVAL * 20).await;
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(PING_INTERVAL * 5).await;
        assert!(deaths.try_recv().is_err());
        assert!(kids.iter().all(Addr::connected));
    });
}

#[test]
fn a_long_mailbox_is_no_wedge_and_what_follows_it_is() {
    family(|kids, mut deaths| async move {
        for _ in 0..10 * MISSED_PINGS {
            kids[0].try_send(Do::Work).expect("room");
        }
        kids[0].try_send(Do::Wedge).expect("room");
        let begun = tokio::time::Instant::now();
        assert_eq!(deaths.recv().await, Some((0, Death::Wedged)));
        assert!(begun.elapsed() >= PING_INTERVAL * 10 * MISSED_PINGS);
    });
}

#[test]
fn looks_between_which_a_child_had_no_turn_count_once() {
    System::with_tokio_rt(paused).block_on(async {
        let (deaths, _seen) = mpsc::unbounded_channel();
        let parent: Context<Parent> = Context::new();
        let mut children = Children::default();
        let kid = Kid {
            dropped: deaths,
            turns: Turns::default(),
        };
        let kid = children.start(0, Context::new(), kid, parent.address().recipient());
        kid.try_send(Do::Wedge).expect("room");
        let turn = || tokio::time::sleep(PING_INTERVAL);
        turn().await;
        assert!(children.wedged().is_empty(), "asked for the first time");
        for missed in 1..=MISSED_PINGS {
            turn().await;
            let wedged = if missed < MISSED_PINGS {
                vec![]
            } else {
                vec![0]
            };
            assert_eq!(children.wedged(), wedged, "after {missed}");
            assert_eq!(children.wedged(), wedged, "again after {missed}");
            assert_eq!(children.wedged(), wedged, "and again after {missed}");
        }
    });
}

#[test]
fn who_rests_is_left_alone_and_who_waits_is_looked_after() {
    System::with_tokio_rt(paused).block_on(async {
        let (deaths, _seen) = mpsc::unbounded_channel();
        let parent: Context<Parent> = Context::new();
        let mut children = Children::default();
        let kid = Kid {
            dropped: deaths.clone(),
            turns: Turns::default(),
        };
        let kid = children.start(0, Context::new(), kid, parent.address().recipient());
        let (patrol, visits) = (children.patrol(), children.children[&0].visits.clone());
        parent.run(Parent { children, deaths });
        tokio::time::sleep(PING_INTERVAL * 10).await;
        let polls = visits.polls.get();
        tokio::time::sleep(PING_INTERVAL * 100).await;
        assert_eq!(visits.polls.get(), polls);
        assert!(!patrol.0.wanted.get());
        kid.try_send(Do::Work).expect("room");
        tokio::task::yield_now().await;
        assert!(patrol.0.wanted.get(), "it waits");
        tokio::time::sleep(PING_INTERVAL * 10).await;
        assert!(!patrol.0.wanted.get(), "it has done its work");
    });
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let builder = builder.enable_all().start_paused(true);
    builder.build().expect("a runtime")
}

/// A parent with two children on a paused clock.
fn family<F: Future<Output = ()>>(
    test: impl FnOnce(Vec<Addr<Kid>>, mpsc::UnboundedReceiver<(u32, Death)>) -> F,
) {
    System::with_tokio_rt(paused).block_on(async {
        let (deaths, seen) = mpsc::unbounded_channel();
        let context: Context<Parent> = Context::new();
        let me = context.address();
        let mut children = Children::default();
        let kids = (0..2)
            .map(|key| {
                let kid = Kid {
                    dropped: deaths.clone(),
                    turns: Turns::default(),
                };
                let mut context = Context::new();
                context.set_mailbox_capacity(64);
                children.start(key, context, kid, me.clone().recipient())
            })
            .collect();
        context.run(Parent { children, deaths });
        test(kids, seen).await;
    });
}
