//! The ready-made perfect negotiation: glare, ignored offers, faults on the way.

mod common;

use common::{channel, endpoint, incoming, runtime, soon};
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use peerloom_actors::{
    Configuration, Endpoint, Event, IceCandidateInit, PeerConnection, PerfectNegotiation, SdpType,
    SessionDescription, Signal, SignalingLost, SignalingState,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Signals under way in one direction.
const SIGNALS: usize = 64;

type Ending = tokio::task::JoinHandle<Result<(), SignalingLost<mpsc::SendError>>>;

async fn new(endpoint: &Endpoint) -> PeerConnection {
    PeerConnection::new(endpoint, Configuration::default())
        .await
        .expect("a connection")
}

/// A signaling channel as the network sees it: JSON, in order, each message as late as the
/// seed says; `alter` may change what passes.
fn carry(
    seed: u64,
    mut alter: impl FnMut(&mut Signal) + Send + 'static,
) -> (mpsc::Sender<Signal>, mpsc::Receiver<Signal>) {
    let (enter, mut entered) = mpsc::channel::<Signal>(SIGNALS);
    let (mut leave, left) = mpsc::channel(SIGNALS);
    tokio::spawn(async move {
        let mut rng = StdRng::seed_from_u64(seed);
        while let Some(mut signal) = entered.next().await {
            for _ in 0..rng.random_range(0..200) {
                tokio::task::yield_now().await;
            }
            alter(&mut signal);
            let json = serde_json::to_string(&signal).expect("JSON");
            let again = serde_json::from_str(&json).expect("our own");
            if leave.send(again).await.is_err() {
                return;
            }
        }
    });
    (enter, left)
}

/// Both ends negotiate over channels of that seed.
fn run(a: &PeerConnection, b: &PeerConnection, seed: u64) -> [Ending; 2] {
    let (to_b, from_a) = carry(seed, |_| {});
    let (to_a, from_b) = carry(seed + 1_000_000, |_| {});
    let polite = PerfectNegotiation::new(a.clone(), true);
    let impolite = PerfectNegotiation::new(b.clone(), false);
    [
        tokio::spawn(polite.run(to_b, from_b)),
        tokio::spawn(impolite.run(to_a, from_a)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_end_alone_connects() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    let (a, b) = (new(&endpoint).await, new(&endpoint).await);
    let mut events = a.events();
    let endings = run(&a, &b, 1);
    let ours = channel(&b, "x").await;
    soon("the channel", ours.opened()).await.expect("open");
    let theirs = soon("the channel", incoming(&mut events)).await;
    assert_eq!(theirs.label(), "x");
    a.close().await;
    b.close().await;
    for ending in endings {
        let ended = soon("the end", ending).await.expect("no panic");
        ended.expect("closing is no fault");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glare_at_random_times_always_connects() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    for seed in 0..25 {
        let (a, b) = (new(&ea).await, new(&eb).await);
        let endings = run(&a, &b, seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let (ours, theirs) = tokio::join!(channel(&a, "a"), channel(&b, "b"));
        for _ in 0..rng.random_range(0..4) {
            let pc = if rng.random_bool(0.5) { &a } else { &b };
            pc.restart_ice().await.expect("open");
            for _ in 0..rng.random_range(0..500) {
                tokio::task::yield_now().await;
            }
        }
        for channel in [&ours, &theirs] {
            let opened = soon(&format!("seed {seed}"), channel.opened()).await;
            opened.unwrap_or_else(|cause| panic!("seed {seed}: {cause}"));
        }
        soon(&format!("seed {seed} to be stable"), async {
            while [&a, &b]
                .iter()
                .any(|pc| pc.signaling_state() != SignalingState::Stable)
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        a.close().await;
        b.close().await;
        for ending in endings {
            soon("the end", ending)
                .await
                .expect("no panic")
                .expect("closing is no fault");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_damaged_on_its_way_is_told_and_made_anew() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let (a, b) = (new(&ea).await, new(&eb).await);
    let mut damaged = 0;
    let damage = move |signal: &mut Signal| {
        if let Signal::Description(description) = signal
            && description.kind == SdpType::Answer
            && damaged == 0
        {
            damaged += 1;
            description.sdp.truncate(20);
        }
    };
    let (to_b, from_a) = carry(1, |_| {});
    let (to_a, from_b) = carry(2, damage);
    let polite = PerfectNegotiation::new(a.clone(), true);
    let mut faults = polite.faults();
    tokio::spawn(polite.run(to_b, from_b));
    tokio::spawn(PerfectNegotiation::new(b.clone(), false).run(to_a, from_a));
    let ours = channel(&a, "x").await;
    let fault = soon("the fault", faults.next()).await.expect("one fault");
    assert_eq!(fault.name(), "RTCError");
    soon("the channel", ours.opened()).await.expect("open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_of_an_ignored_offer_are_no_faults_and_others_are() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    let pc = new(&endpoint).await;
    let stranger = new(&endpoint).await;
    let impolite = PerfectNegotiation::new(pc.clone(), false);
    let mut faults = impolite.faults();
    let (out, mut sent) = mpsc::channel(SIGNALS);
    let (mut feed, signals) = mpsc::channel(SIGNALS);
    tokio::spawn(impolite.run(out, signals));
    let late = |ufrag: &str| {
        Signal::Candidate(Some(IceCandidateInit {
            candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            username_fragment: Some(ufrag.into()),
            ..IceCandidateInit::default()
        }))
    };

    // Before any description: a fault.
    feed.send(late("aaaa")).await.expect("running");
    let fault = soon("the fault", faults.next()).await.expect("a fault");
    assert_eq!(fault.name(), "InvalidStateError");

    // Our offer is out; the peer's is ignored, and so are its candidates.
    channel(&pc, "x").await;
    soon("our offer", sent.next()).await.expect("an offer");
    channel(&stranger, "y").await;
    let offer = stranger.create_offer(Default::default()).await;
    let offer = offer.expect("an offer");
    feed.send(Signal::Description(offer.clone()))
        .await
        .expect("running");
    feed.send(late("bbbb")).await.expect("running");
    // An answer that does not fit is a fault again; whatever came before it was none.
    let answer = SessionDescription::answer("nonsense");
    feed.send(Signal::Description(answer))
        .await
        .expect("running");
    let fault = soon("the fault", faults.next()).await.expect("a fault");
    assert_eq!(fault.name(), "RTCError");
    assert_eq!(pc.current_remote_description(), None);
    assert_eq!(pc.pending_remote_description(), None);
}

#[test]
fn signals_are_those_of_the_specifications_example() {
    let signal: Signal = serde_json::from_str(r#"{"description":{"type":"offer","sdp":"v=0"}}"#)
        .expect("a description");
    assert!(matches!(signal, Signal::Description(it) if it.kind == SdpType::Offer));
    let json = r#"{"candidate":{"candidate":"","sdpMid":"0","sdpMLineIndex":0}}"#;
    let signal: Signal = serde_json::from_str(json).expect("a candidate");
    assert!(matches!(signal, Signal::Candidate(Some(it)) if it.sdp_mid.as_deref() == Some("0")));
    let signal: Signal = serde_json::from_str(r#"{"candidate":null}"#).expect("the end");
    assert_eq!(signal, Signal::Candidate(None));
    for (kind, name) in [
        (SdpType::Offer, "offer"),
        (SdpType::PrAnswer, "pranswer"),
        (SdpType::Answer, "answer"),
        (SdpType::Rollback, "rollback"),
    ] {
        let signal = Signal::Description(SessionDescription::new(kind, "v=0"));
        let json = serde_json::to_value(&signal).expect("JSON");
        let expected = serde_json::json!({"description": {"type": name, "sdp": "v=0"}});
        assert_eq!(json, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_are_signaled_with_their_section_and_generation() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await).await;
    let (out, mut sent) = mpsc::channel(SIGNALS);
    let (_feed, signals) = mpsc::channel(SIGNALS);
    tokio::spawn(PerfectNegotiation::new(pc.clone(), true).run(out, signals));
    channel(&pc, "x").await;
    let Some(Signal::Description(offer)) = soon("our offer", sent.next()).await else {
        panic!("no offer");
    };
    let ufrag = |line: &str| line.strip_prefix("a=ice-ufrag:").map(str::to_owned);
    let ufrag = offer.sdp.lines().find_map(ufrag);
    let mut lines = Vec::new();
    while let Some(Signal::Candidate(Some(it))) = soon("a candidate", sent.next()).await {
        let section = (it.sdp_mid.as_deref(), it.sdp_mline_index);
        assert_eq!(section, (Some("0"), Some(0)));
        assert_eq!(it.username_fragment, ufrag);
        lines.push(it.candidate);
    }
    lines.retain(|line| !line.is_empty()); // what ends a generation
    assert_eq!(lines.len(), 2, "over UDP and TCP: {lines:?}");
    let sdp = pc.local_description().expect("set").sdp;
    for line in lines {
        let described = line.split(" ufrag ").next().expect("a line");
        assert!(sdp.contains(&format!("a={described}")), "{line}: {sdp}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_signaling_channel_ends_it() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await).await;
    let (out, sent) = mpsc::channel::<Signal>(SIGNALS);
    drop(sent);
    let (_feed, signals) = mpsc::channel(SIGNALS);
    let negotiation = PerfectNegotiation::new(pc.clone(), true);
    let mut events = pc.events();
    channel(&pc, "x").await;
    let ended = soon("the end", negotiation.run(out, signals)).await;
    ended.expect_err("nobody takes the offer");
    while let Some(event) = soon("an event", events.next()).await {
        if matches!(event, Event::SignalingStateChange(_)) {
            break;
        }
    }
    assert_eq!(pc.signaling_state(), SignalingState::HaveLocalOffer);
}
