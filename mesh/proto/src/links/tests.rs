//! Tests of the link plan: many plans against each other on a virtual clock.
#![expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]

use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

const STEP: Duration = Duration::from_millis(10);
/// Steps an attempt takes to succeed or fail.
const DIAL: u32 = 3;

struct World {
    rng: ChaCha20Rng,
    now: Instant,
    plans: BTreeMap<PeerId, LinkPlan>,
    dials: Vec<(u32, PeerId, PeerId)>,
    loss: f64,
    closed: usize,
}

impl World {
    fn new(n: u16, loss: f64, seed: u64) -> World {
        let (mut rng, now) = (ChaCha20Rng::seed_from_u64(seed), Instant::now());
        let room = RoomId::new("m", "r");
        let ids: Vec<PeerId> = (0..n).map(|_| PeerId::from_bytes(rng.random())).collect();
        let mut plans: BTreeMap<PeerId, LinkPlan> = ids
            .iter()
            .map(|id| (*id, LinkPlan::new(PlanConfig::default(), *id, room)))
            .collect();
        for plan in plans.values_mut() {
            ids.iter().for_each(|id| plan.joined(*id, now));
        }
        World {
            rng,
            now,
            plans,
            dials: Vec::new(),
            loss,
            closed: 0,
        }
    }

    fn state(&self, a: PeerId, b: PeerId) -> State {
        self.plans
            .get(&a)
            .and_then(|plan| plan.peers.get(&b))
            .map_or(State::Idle, |entry| entry.state)
    }

    fn end(&mut self, a: PeerId, b: PeerId, how: Ended) {
        for (x, y) in [(a, b), (b, a)] {
            if let Some(plan) = self.plans.get_mut(&x) {
                plan.ended(y, how, self.now, &mut self.rng);
            }
        }
    }

    fn act(&mut self, me: PeerId, action: PlanAction) {
        match action {
            PlanAction::Dial(peer) => self.dials.push((DIAL, me, peer)),
            PlanAction::Close(peer) => {
                self.closed += 1;
                self.end(me, peer, Ended::Released);
            }
        }
    }

    /// An offer arrives: glare, loss, death and admission as in the node.
    fn arrive(&mut self, from: PeerId, to: PeerId) {
        if self.state(from, to) != State::Dialing {
            return;
        }
        let dead = !self.plans.contains_key(&to);
        if dead || self.rng.random_bool(self.loss) {
            return self.fail(from, to, Ended::Failed);
        }
        if self.state(to, from) == State::Dialing && to > from {
            return; // the larger one's offer stands and is on its way
        }
        let Some(plan) = self.plans.get_mut(&to) else {
            return;
        };
        match plan.admit(from, self.now, &mut self.rng) {
            Admission::Accept { evict } => {
                if let Some(evicted) = evict {
                    self.closed += 1;
                    self.end(to, evicted, Ended::Released);
                }
                for (x, y) in [(from, to), (to, from)] {
                    if let Some(plan) = self.plans.get_mut(&x) {
                        plan.up(y, self.now);
                    }
                }
            }
            Admission::Full => self.fail(from, to, Ended::Refused(Duration::from_secs(1))),
            Admission::Unknown => self.fail(from, to, Ended::Failed),
        }
    }

    fn fail(&mut self, from: PeerId, to: PeerId, how: Ended) {
        if let Some(plan) = self.plans.get_mut(&from) {
            plan.ended(to, how, self.now, &mut self.rng);
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let due: Vec<_> = std::mem::take(&mut self.dials);
        for (left, from, to) in due {
            match left {
                0 => self.arrive(from, to),
                _ => self.dials.push((left - 1, from, to)),
            }
        }
        let ids: Vec<PeerId> = self.plans.keys().copied().collect();
        let degrees: BTreeMap<PeerId, usize> = self
            .plans
            .iter()
            .map(|(id, plan)| (*id, plan.degree()))
            .collect();
        for me in &ids {
            for (peer, degree) in &degrees {
                self.plans.get_mut(me).unwrap().note_degree(*peer, *degree);
            }
            if self.plans[me].poll_timeout().is_none_or(|at| at > self.now) {
                continue;
            }
            for round in 0.. {
                assert!(round < 100, "a plan never rests");
                let plan = self.plans.get_mut(me).unwrap();
                let Some(action) = plan.poll(self.now, &mut self.rng) else {
                    break;
                };
                self.act(*me, action);
            }
            let plan = self.plans.get(me).unwrap();
            assert!(plan.occupied() <= plan.config.max);
            assert!(plan.dialing() <= plan.config.in_flight);
        }
    }

    fn kill(&mut self, victims: usize) {
        for _ in 0..victims {
            let at = self.rng.random_range(0..self.plans.len());
            let victim = *self.plans.keys().nth(at).unwrap();
            self.plans.remove(&victim);
            for plan in self.plans.values_mut() {
                plan.suspected(victim, self.now);
                plan.left(victim, self.now);
            }
        }
    }

    fn links(&self, a: &PeerId) -> Vec<PeerId> {
        let up = |entry: &&Peer| matches!(entry.state, State::Up(_));
        self.plans[a]
            .peers
            .iter()
            .filter(|(_, entry)| up(entry))
            .map(|(peer, _)| *peer)
            .collect()
    }

    fn formed(&self) -> bool {
        let enough = self
            .plans
            .keys()
            .all(|me| self.links(me).len() >= 4.min(self.plans.len() - 1));
        enough && self.reached() == self.plans.len()
    }

    fn reached(&self) -> usize {
        let first = *self.plans.keys().next().unwrap();
        let (mut seen, mut todo) = (BTreeSet::from([first]), vec![first]);
        while let Some(at) = todo.pop() {
            todo.extend(
                self.links(&at)
                    .into_iter()
                    .filter(|peer| seen.insert(*peer)),
            );
        }
        seen.len()
    }

    fn run_until_formed(&mut self, limit: u32) -> u32 {
        (0..limit)
            .find(|_| {
                self.step();
                self.formed()
            })
            .unwrap_or_else(|| panic!("not formed after {limit} steps"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn complete_rosters_always_end_in_one_well_linked_graph(
        n in 2u16..60, loss in prop_oneof![Just(0.0), 0.0..0.3], seed in any::<u64>()
    ) {
        let mut world = World::new(n, loss, seed);
        world.run_until_formed(2000);
        if n >= 3 {
            world.kill(usize::from(n) / 3);
            world.run_until_formed(2000);
        }
    }
}

#[test]
fn without_losses_a_few_rounds_suffice() {
    for n in [2, 5, 12, 50] {
        let steps = World::new(n, 0.0, 7).run_until_formed(100);
        assert!(steps < 60, "{n}: {steps}");
    }
}

#[test]
fn a_formed_graph_comes_to_rest() {
    let mut world = World::new(30, 0.0, 3);
    world.run_until_formed(100);
    (0..3000).for_each(|_| world.step());
    world.closed = 0;
    (0..3000).for_each(|_| world.step());
    assert_eq!(world.closed, 0, "links are still being exchanged");
    assert!(world.dials.is_empty());
    assert!(world.formed());
}

#[test]
fn links_above_twice_the_target_are_given_up() {
    let mut world = World::new(12, 0.0, 5);
    let ids: Vec<PeerId> = world.plans.keys().copied().collect();
    for me in &ids {
        for peer in ids.iter().filter(|peer| *peer != me) {
            world.plans.get_mut(me).unwrap().up(*peer, world.now);
        }
    }
    (0..6000).for_each(|_| world.step());
    assert!(world.formed());
    assert!(ids.iter().all(|me| world.links(me).len() <= 8), "trimmed");
}

#[test]
fn a_ring_partner_finds_a_place_on_a_full_node() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let me = PeerId::from_bytes([0; 32]);
    let mut plan = LinkPlan::new(PlanConfig::default(), me, RoomId::new("m", "r"));
    let ids: Vec<PeerId> = (0..40).map(|_| PeerId::from_bytes(rng.random())).collect();
    ids.iter().for_each(|id| plan.joined(*id, now));
    let partners = plan.partners();
    let others = ids.iter().filter(|id| !partners.contains(&Some(**id)));
    let accepted = others
        .filter(|id| plan.admit(**id, now, &mut rng) != Admission::Full)
        .count();
    assert_eq!(
        accepted,
        plan.config.max - 2,
        "places for the ring are kept"
    );
    for partner in partners.into_iter().flatten() {
        assert_eq!(
            plan.admit(partner, now, &mut rng),
            Admission::Accept { evict: None }
        );
    }
}
