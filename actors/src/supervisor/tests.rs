use super::*;
use actix::System;
use tokio::sync::mpsc;

struct Parent {
    children: Children<u32>,
    deaths: mpsc::UnboundedSender<(u32, Death)>,
}

struct Kid {
    dropped: mpsc::UnboundedSender<(u32, Death)>,
}

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Stop,
    Panic,
    Wedge,
}

impl Actor for Parent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        watch(ctx, |parent, _| {
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
            Do::Wedge => ctx.wait(actix::fut::wrap_future(std::future::pending::<()>())),
        }
    }
}

impl Handler<Ping> for Kid {
    type Result = ();
    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        ping.answer();
    }
}

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

/// A parent with two children on a paused clock.
fn family<F: Future<Output = ()>>(
    test: impl FnOnce(Vec<Addr<Kid>>, mpsc::UnboundedReceiver<(u32, Death)>) -> F,
) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    };
    System::with_tokio_rt(runtime).block_on(async {
        let (deaths, seen) = mpsc::unbounded_channel();
        let context: Context<Parent> = Context::new();
        let me = context.address();
        let mut children = Children::default();
        let kids = (0..2)
            .map(|key| {
                let kid = Kid {
                    dropped: deaths.clone(),
                };
                children.start(key, Context::new(), kid, me.clone().recipient())
            })
            .collect();
        context.run(Parent { children, deaths });
        test(kids, seen).await;
    });
}
