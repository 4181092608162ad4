//! Each kind of actor killed by stop, by panic and by wedging: the cause is reported,
//! the restart unit is as designed, neighbours neither hang nor panic.
#![cfg(feature = "chaos")]

mod common;

use common::{Pair, channel, endpoint, incoming, over, runtime, soon};
use futures::{Stream, StreamExt as _};
use peerloom_actors::{
    ActorKind, Cause, ConnectionState, DataChannel, DataTransport, Death, Endpoint, Error, Event,
    Fault, Message, ReadyState, Runtime,
};

const FAULTS: [Fault; 3] = [Fault::Stop, Fault::Panic, Fault::Wedge];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_ice_agent_fails_its_connection_only() {
    for fault in FAULTS {
        Scene::new()
            .await
            .kill_transport(ActorKind::IceAgent, fault)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_dtls_transport_fails_its_connection_only() {
    for fault in FAULTS {
        Scene::new()
            .await
            .kill_transport(ActorKind::DtlsTransport, fault)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_sctp_transport_fails_its_connection_only() {
    for fault in FAULTS {
        Scene::new()
            .await
            .kill_transport(ActorKind::SctpTransport, fault)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_quic_transport_fails_its_connection_only() {
    for fault in FAULTS {
        Scene::over(DataTransport::Quic)
            .await
            .kill_transport(ActorKind::QuicTransport, fault)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_ice_agent_below_quic_fails_its_connection_only() {
    for fault in FAULTS {
        Scene::over(DataTransport::Quic)
            .await
            .kill_transport(ActorKind::IceAgent, fault)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_peer_connection_fails_itself_only() {
    for fault in FAULTS {
        Scene::new()
            .await
            .kill_transport(ActorKind::PeerConnection, fault)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_data_channel_closes_only_itself() {
    for fault in FAULTS {
        Scene::new().await.kill_channel(fault).await;
        let over_quic = Scene::over(DataTransport::Quic).await;
        over_quic.kill_channel(fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_channel_that_is_not_there_says_so() {
    let scene = Scene::new().await;
    let kind = ActorKind::DataChannel("nobody".into());
    assert!(
        !scene
            .victim
            .a
            .inject(kind, Fault::Panic)
            .await
            .expect("alive")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peer_of_a_dead_transport_is_told_goodbye() {
    for (kind, transport) in [
        (ActorKind::IceAgent, DataTransport::Sctp),
        (ActorKind::SctpTransport, DataTransport::Sctp),
        (ActorKind::IceAgent, DataTransport::Quic),
    ] {
        let scene = Scene::over(transport).await;
        scene
            .victim
            .a
            .inject(kind, Fault::Panic)
            .await
            .expect("alive");
        soon(
            "the peer to see its channel close",
            scene.victim.channel_b.closed(),
        )
        .await;
        assert_eq!(scene.victim.b.cause(), Some(Cause::ClosedByPeer));
    }
}

/// Two connections between the same two endpoints, everything on one arbiter.
struct Scene {
    _runtime: Runtime,
    _endpoints: (Endpoint, Endpoint),
    victim: Pair,
    neighbour: Pair,
}

impl Scene {
    async fn new() -> Scene {
        Scene::over(DataTransport::Sctp).await
    }

    async fn over(transport: DataTransport) -> Scene {
        let runtime = runtime(1);
        let endpoints = (endpoint(&runtime).await, endpoint(&runtime).await);
        let pair = || {
            let (for_a, for_b) = (over(transport), over(transport));
            Pair::with(&endpoints.0, &endpoints.1, for_a, for_b)
        };
        let (victim, neighbour) = (pair().await, pair().await);
        let scene = Scene {
            _runtime: runtime,
            _endpoints: endpoints,
            victim,
            neighbour,
        };
        scene.neighbour_works().await;
        scene
    }

    async fn neighbour_works(&self) {
        works(&self.neighbour.channel_a, &self.neighbour.channel_b).await;
    }

    async fn kill_transport(self, kind: ActorKind, fault: Fault) {
        let victim = &self.victim;
        let mut events = victim.a.events();
        let reader = tokio::spawn({
            let channel = victim.channel_a.clone();
            async move { channel.recv().await }
        });
        assert!(victim.a.inject(kind.clone(), fault).await.expect("alive"));

        let death = soon("the death", death_of(&mut events, &kind)).await;
        assert!(matches(&death, fault), "{kind}, {fault:?}: {death:?}");
        let cause = soon("the failure", failure(&mut events)).await;
        assert_eq!(cause, Some(Cause::ActorDied { kind, death }));
        assert_eq!(victim.a.connection_state(), ConnectionState::Failed);
        assert_eq!(victim.a.cause(), cause);

        soon("its channel to close", victim.channel_a.closed()).await;
        assert_eq!(victim.channel_a.cause(), cause);
        assert_eq!(
            soon("a waiting reader", reader).await.expect("no panic"),
            None
        );
        soon("a sender", victim.channel_a.send("x"))
            .await
            .expect_err("closed");
        let refused = soon("a call", victim.a.create_answer()).await;
        assert!(
            std::matches!(refused, Err(Error::Closed { .. })),
            "{refused:?}"
        );
        self.neighbour_works().await;
        soon("to close", victim.a.close()).await;
        self.neighbour_works().await;
    }

    async fn kill_channel(self, fault: Fault) {
        let victim = &self.victim;
        let mut incoming_b = victim.b.events();
        let other_a = channel(&victim.a, "other").await;
        let other_b = soon("the second channel", incoming(&mut incoming_b)).await;
        works(&other_a, &other_b).await;
        let mut events = victim.a.events();
        let kind = ActorKind::DataChannel("first".into());
        assert!(victim.a.inject(kind.clone(), fault).await.expect("alive"));

        let death = soon("the death", death_of(&mut events, &kind)).await;
        assert!(matches(&death, fault), "{fault:?}: {death:?}");
        soon("the channel to close", victim.channel_a.closed()).await;
        assert_eq!(
            victim.channel_a.cause(),
            Some(Cause::ActorDied { kind, death })
        );
        soon("the peer's end to close", victim.channel_b.closed()).await;
        assert_eq!(victim.channel_b.ready_state(), ReadyState::Closed);
        assert_eq!(victim.channel_b.cause(), Some(Cause::ClosedByPeer));

        works(&other_a, &other_b).await;
        assert_eq!(victim.a.connection_state(), ConnectionState::Connected);
        let again_a = channel(&victim.a, "first").await;
        let again_b = soon("a channel in its place", incoming(&mut incoming_b)).await;
        works(&again_a, &again_b).await;
        self.neighbour_works().await;
    }
}

async fn works(a: &DataChannel, b: &DataChannel) {
    soon("to send", a.send("ping")).await.expect("open");
    assert_eq!(
        soon("a message", b.recv()).await,
        Some(Message::Text("ping".into()))
    );
    soon("to send", b.send("pong")).await.expect("open");
    assert_eq!(
        soon("a message", a.recv()).await,
        Some(Message::Text("pong".into()))
    );
}

async fn death_of(events: &mut (impl Stream<Item = Event> + Unpin), kind: &ActorKind) -> Death {
    while let Some(event) = events.next().await {
        if let Event::ActorDied { kind: dead, cause } = event {
            assert_eq!(dead, *kind, "died too: {cause}");
            return cause;
        }
    }
    panic!("the connection ended without a report")
}

async fn failure(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<Cause> {
    while let Some(event) = events.next().await {
        if let Event::ConnectionStateChange {
            state: ConnectionState::Failed,
            cause,
        } = event
        {
            return cause;
        }
    }
    panic!("the connection ended without having failed")
}

fn matches(death: &Death, fault: Fault) -> bool {
    match fault {
        Fault::Stop => *death == Death::Stopped,
        Fault::Panic => *death == Death::Panicked("injected fault".into()),
        Fault::Wedge => *death == Death::Wedged,
    }
}
