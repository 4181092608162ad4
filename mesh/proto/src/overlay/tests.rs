//! Two or a few overlays, driven by hand.

use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[expect(
    clippy::disallowed_methods,
    reason = "the virtual clock needs some instant to start from"
)]
fn start() -> Instant {
    Instant::now()
}

fn contact(n: u8) -> Contact {
    let address = ([203, 0, n, 1], 4_001).into();
    Contact::new(PeerId::from_bytes([n; 32]), address, Class::Native)
}

/// One overlay and what it wants.
struct Bench {
    overlay: Overlay,
    rng: ChaCha8Rng,
    out: Vec<Output>,
    start: Instant,
    now: Duration,
}

impl Bench {
    fn new(config: Config, bootstrap: &[Contact]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let start = start();
        let bootstrap = bootstrap.iter().copied();
        Bench {
            overlay: Overlay::new(config, contact(100), bootstrap, start, &mut rng),
            rng,
            out: Vec::new(),
            start,
            now: Duration::ZERO,
        }
    }

    fn native(bootstrap: &[Contact]) -> Self {
        Bench::new(Config::new(Class::Native), bootstrap)
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let now = self.start + self.now;
        self.overlay
            .handle_input(input, now, &mut self.rng, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn message(&mut self, conn: ConnId, message: Message) -> Vec<Output> {
        self.input(Input::Message { conn, message })
    }

    /// Lets time pass, waking the overlay when it wants to be.
    fn pass(&mut self, by: Duration) -> Vec<Output> {
        let until = self.now + by;
        loop {
            let due = self.overlay.deadline().at.duration_since(self.start);
            self.now = due.max(self.now).min(until);
            let now = self.start + self.now;
            self.overlay
                .handle_timeout(now, &mut self.rng, &mut self.out);
            if due > until {
                return std::mem::take(&mut self.out);
            }
        }
    }

    /// Somebody dials and asks.
    fn asked_by(&mut self, n: u8, need: Need) -> Vec<Output> {
        let conn = ConnId(1_000 + u32::from(n));
        let other = contact(n);
        let (peer, ip) = (other.peer, other.address().ip());
        self.input(Input::Accepted { conn, peer, ip });
        let me = Box::new(other);
        self.message(conn, Message::Ask { me, need })
    }

    /// Brings a dial to its end, with yes.
    fn admitted(&mut self, dial: DialId, contact: Contact) -> Vec<Output> {
        let conn = ConnId(dial.0);
        self.input(Input::Dialled { dial, conn });
        let me = Box::new(contact);
        self.message(conn, Message::Admit { me })
    }
}

fn dials(out: &[Output]) -> Vec<(DialId, Contact)> {
    let mut dials = Vec::new();
    for output in out {
        if let Output::Dial { dial, contact } = output {
            dials.push((*dial, *contact));
        }
    }
    dials
}

fn admits(out: &[Output]) -> bool {
    out.iter()
        .any(|output| matches!(output, Output::LinkUp { .. }))
}

#[test]
fn three_dials_are_in_flight_and_no_more() {
    let contacts: Vec<Contact> = (1..20).map(contact).collect();
    let mut bench = Bench::new(Config::new(Class::Browser), &contacts);
    let out = bench.pass(Duration::from_millis(1));
    let first = dials(&out);
    assert_eq!(first.len(), 3);
    // One fails: another begins. One is admitted: another begins.
    let out = bench.input(Input::DialFailed { dial: first[0].0 });
    assert_eq!(dials(&out).len(), 1);
    let out = bench.admitted(first[1].0, first[1].1);
    assert!(admits(&out));
    assert_eq!(dials(&out).len(), 1);
    assert_eq!(bench.overlay.sizes().links, 1);
}

#[test]
fn a_dial_that_nobody_answers_is_cancelled() {
    let mut bench = Bench::native(&[contact(1)]);
    assert_eq!(dials(&bench.pass(Duration::from_millis(1))).len(), 1);
    let out = bench.pass(Duration::from_millis(1_100));
    let cancelled = |output: &Output| matches!(output, Output::CancelDial { .. });
    assert_eq!(out.iter().filter(|output| cancelled(output)).count(), 1);
    // Configured contacts are tried again, with growing pauses.
    assert!(!dials(&bench.pass(Duration::from_secs(20))).is_empty());
}

#[test]
fn half_of_the_links_cannot_be_taken_by_others() {
    let mut bench = Bench::native(&[]);
    let admitted = (1..60).filter(|n| admits(&bench.asked_by(*n, Need::Welcome)));
    let inbound = Class::Native.degrees().inbound();
    assert_eq!(admitted.count(), usize::from(inbound));
    assert_eq!(bench.overlay.sizes().inbound, usize::from(inbound));
}

#[test]
fn who_has_no_room_names_others() {
    let mut bench = Bench::native(&[]);
    let mut refusals = Vec::new();
    for n in 1..30 {
        for output in bench.asked_by(n, Need::Welcome) {
            if let Output::Send {
                message: Message::Refuse { others },
                ..
            } = output
            {
                refusals.push((n, others));
            }
        }
    }
    assert!(!refusals.is_empty());
    for (n, others) in refusals {
        assert!(!others.is_empty());
        assert!(others.iter().all(|other| other.peer != contact(n).peer));
    }
}

#[test]
fn whoever_is_in_need_gets_somebody_elses_place_now_and_then() {
    let mut bench = Bench::native(&[]);
    for n in 1..20 {
        bench.asked_by(n, Need::Welcome);
    }
    bench.pass(Duration::from_secs(1));
    assert!(admits(&bench.asked_by(50, Need::Urgent)));
    assert!(!admits(&bench.asked_by(51, Need::Urgent)), "too soon");
    bench.now += Duration::from_millis(600);
    assert!(admits(&bench.asked_by(52, Need::Urgent)));
    assert_eq!(bench.overlay.stats().evicted, 2);
}

#[test]
fn few_links_lead_to_one_subnet() {
    let mut bench = Bench::native(&[]);
    let mut count = 0;
    for n in 1..5_u8 {
        let address = ([203, 0, 1, n], 1).into();
        let other = Contact::new(PeerId::from_bytes([n; 32]), address, Class::Native);
        let conn = ConnId(n.into());
        let (peer, ip) = (other.peer, address.ip());
        bench.input(Input::Accepted { conn, peer, ip });
        let (me, need) = (Box::new(other), Need::Urgent);
        count += usize::from(admits(&bench.message(conn, Message::Ask { me, need })));
    }
    assert_eq!(count, 2);
}

#[test]
fn nobody_asks_in_anothers_name() {
    let mut bench = Bench::native(&[]);
    let (conn, peer) = (ConnId(5), contact(1).peer);
    let ip = contact(1).address().ip();
    bench.input(Input::Accepted { conn, peer, ip });
    let (me, need) = (Box::new(contact(2)), Need::Urgent);
    let out = bench.message(conn, Message::Ask { me, need });
    assert_eq!(out, [Output::Close { conn }]);
}

#[test]
fn a_silent_link_is_pinged_and_then_given_up() {
    let mut bench = Bench::native(&[]);
    bench.asked_by(1, Need::Welcome);
    let out = bench.pass(Duration::from_millis(3_200));
    let is_ping = |output: &&Output| {
        matches!(
            output,
            Output::Send {
                message: Message::Ping { .. },
                ..
            }
        )
    };
    assert_eq!(out.iter().filter(is_ping).count(), 3);
    let down = |output: &Output| matches!(output, Output::LinkDown { .. });
    assert!(out.iter().any(down));
    assert_eq!(bench.overlay.stats().lost, 1);
}

#[test]
fn who_answers_stays() {
    let mut bench = Bench::native(&[]);
    bench.asked_by(1, Need::Welcome);
    let conn = ConnId(1_001);
    for n in 1..=10 {
        bench.pass(Duration::from_millis(1_900));
        bench.message(conn, Message::Pong { n, degree: 3 });
    }
    assert_eq!(bench.overlay.sizes().links, 1);
    // Other traffic is as good.
    for _ in 0..10 {
        bench.pass(Duration::from_millis(1_500));
        bench.overlay.heard(conn, bench.start + bench.now);
    }
    assert_eq!(bench.overlay.sizes().links, 1);
}

#[test]
fn a_node_that_slept_blames_nobody() {
    let mut bench = Bench::native(&[]);
    bench.asked_by(1, Need::Welcome);
    bench.pass(Duration::from_millis(100));
    bench.now += Duration::from_secs(120);
    let now = bench.start + bench.now;
    let Bench {
        overlay, rng, out, ..
    } = &mut bench;
    overlay.handle_timeout(now, rng, out);
    assert_eq!(overlay.sizes().links, 1);
    assert_eq!(overlay.stats().late, 1);
}

#[test]
fn a_browser_is_given_up_only_after_neighbours_were_asked() {
    let mut bench = Bench::native(&[]);
    bench.asked_by(1, Need::Welcome);
    let mut browser = contact(2);
    browser.class = Class::Browser;
    let conn = ConnId(7);
    let (peer, ip) = (browser.peer, browser.address().ip());
    bench.input(Input::Accepted { conn, peer, ip });
    let (me, need) = (Box::new(browser), Need::Welcome);
    bench.message(conn, Message::Ask { me, need });
    let mut asked = false;
    for _ in 0..34 {
        let out = bench.pass(Duration::from_millis(100));
        bench.message(ConnId(1_001), Message::Pong { n: 0, degree: 1 });
        asked |= out.iter().any(|output| {
            matches!(output, Output::Send { conn, message: Message::Vouch { .. } } if conn.0 == 1_001)
        });
        if asked {
            break;
        }
    }
    assert!(asked);
    let peer = Box::new(browser.peer);
    bench.message(ConnId(1_001), Message::Alive { peer });
    assert_eq!(bench.overlay.stats().vouched, 1);
    assert_eq!(bench.overlay.sizes().links, 2);
}

#[test]
fn a_remembered_peer_out_of_reach_becomes_a_link_once_it_answers() {
    let mut config = Config::new(Class::Native);
    config.degrees.outbound = 0;
    config.degrees.low = 0;
    config.mix = Duration::from_secs(36_000);
    config.settling = Duration::ZERO;
    let friend = contact(9);
    let mut bench = Bench::new(config, &[friend]);
    let (dial, _) = dials(&bench.pass(Duration::from_millis(1)))[0];
    bench.admitted(dial, friend);
    let pong = Message::Pong { n: 0, degree: 1 };
    for n in 1..4 {
        bench.asked_by(n, Need::Welcome);
    }
    // Three die and are remembered; the friend stays, so nothing is missing.
    for _ in 0..4 {
        bench.pass(Duration::from_secs(1));
        bench.message(ConnId(dial.0), pong.clone());
    }
    assert_eq!(bench.overlay.sizes().links, 1);
    for _ in 0..100 {
        let out = bench.pass(Duration::from_millis(500));
        bench.message(ConnId(dial.0), pong.clone());
        if let Some((dial, lost)) = dials(&out).first() {
            assert!(admits(&bench.admitted(*dial, *lost)));
            assert_eq!(bench.overlay.stats().bridged, 1);
            return;
        }
    }
    panic!("nobody was looked after");
}

#[test]
fn anchors_bring_a_node_back() {
    let contacts: Vec<Contact> = (1..9).map(contact).collect();
    let mut bench = Bench::native(&contacts);
    for (dial, contact) in dials(&bench.pass(Duration::from_millis(1))) {
        bench.admitted(dial, contact);
    }
    let anchors = bench.overlay.anchors();
    assert_eq!(anchors.len(), 5);
    let mut again = Bench::native(&anchors);
    assert_eq!(dials(&again.pass(Duration::from_millis(1))).len(), 5);
}

#[test]
fn messages_survive_the_wire_and_nothing_else_does() {
    let contacts = Contacts::truncated((1..20).map(contact));
    assert_eq!(contacts.len(), MAX_CONTACTS);
    let me = contact(1);
    let all = [
        Message::Ask {
            me: Box::new(me),
            need: Need::Urgent,
        },
        Message::Admit { me: Box::new(me) },
        Message::Refuse {
            others: Box::new(contacts.clone()),
        },
        Message::Leave,
        Message::Ping { n: 65_535 },
        Message::Pong { n: 0, degree: 255 },
        Message::Shuffle(Box::new(Named {
            me,
            contacts: contacts.clone(),
        })),
        Message::Shuffled(Box::new(Named { me, contacts })),
        Message::Vouch {
            peer: Box::new(me.peer),
        },
        Message::Alive {
            peer: Box::new(me.peer),
        },
    ];
    for message in all {
        let bytes = message.encode().unwrap();
        assert_eq!(Message::decode(&bytes).unwrap(), message);
        assert!(Message::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Message::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
    assert!(Message::decode(&[]).is_err());
    assert!(Message::decode(&[2, 0]).is_err());
    assert!(Message::decode(&[1; 10_000]).is_err());
}

/// Anything that may happen, with few names, so that they meet.
fn any_input() -> impl Strategy<Value = Input> {
    let conn = (0..12_u32).prop_map(ConnId);
    let who = 1..12_u8;
    let message = (0..10_u8, who.clone(), any::<u16>()).prop_map(|(kind, n, number)| {
        let me = Box::new(contact(n));
        let contacts = Contacts::truncated((n..n + 9).map(contact));
        let named = Box::new(Named {
            me: *me,
            contacts: contacts.clone(),
        });
        let peer = Box::new(me.peer);
        let need = if number % 2 == 0 {
            Need::Urgent
        } else {
            Need::Welcome
        };
        match kind {
            0 => Message::Ask { me, need },
            1 => Message::Admit { me },
            2 => Message::Refuse {
                others: Box::new(contacts),
            },
            3 => Message::Leave,
            4 => Message::Ping { n: number },
            5 => Message::Pong {
                n: number,
                degree: n,
            },
            6 => Message::Shuffle(named),
            7 => Message::Shuffled(named),
            8 => Message::Vouch { peer },
            _ => Message::Alive { peer },
        }
    });
    prop_oneof![
        (any::<u8>(), conn.clone()).prop_map(|(dial, conn)| Input::Dialled {
            dial: DialId(dial.into()),
            conn
        }),
        any::<u8>().prop_map(|dial| Input::DialFailed {
            dial: DialId(dial.into())
        }),
        (conn.clone(), who).prop_map(|(conn, n)| Input::Accepted {
            conn,
            peer: contact(n).peer,
            ip: contact(n).address().ip()
        }),
        conn.clone().prop_map(|conn| Input::Closed { conn }),
        (conn, message).prop_map(|(conn, message)| Input::Message { conn, message }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_every_table_keeps_its_bound(
        inputs in prop::collection::vec((any_input(), 0..2_000_u64), 1..200),
    ) {
        let contacts: Vec<Contact> = (1..6).map(contact).collect();
        let mut bench = Bench::native(&contacts);
        // Dials get small numbers, so that the inputs name some of them.
        bench.overlay.next_dial = 0;
        let degrees = Class::Native.degrees();
        let mut links = std::collections::BTreeSet::new();
        for (input, wait) in inputs {
            let mut out = bench.input(input);
            out.extend(bench.pass(Duration::from_millis(wait)));
            for output in out {
                match output {
                    Output::LinkUp { peer, .. } => {
                        prop_assert!(links.insert(peer), "a second link to {peer:?}");
                    }
                    Output::LinkDown { peer, .. } => {
                        prop_assert!(links.remove(&peer));
                    }
                    Output::Dial { .. }
                    | Output::CancelDial { .. }
                    | Output::Send { .. }
                    | Output::Close { .. } => {}
                }
            }
            let sizes = bench.overlay.sizes();
            prop_assert_eq!(sizes.links, links.len());
            prop_assert!(sizes.links <= usize::from(degrees.high));
            prop_assert!(sizes.inbound <= usize::from(degrees.inbound()));
            prop_assert!(sizes.passive <= usize::from(degrees.passive));
            prop_assert!(sizes.attempts <= 9 && sizes.guests <= MAX_GUESTS);
        }
    }
}
