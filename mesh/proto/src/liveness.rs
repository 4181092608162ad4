//! Does the other side of a link still answer?
//!
//! Consent freshness (RFC 7675) gives up after 30 s, far too late for a mesh.
//! So each side probes an idle link every [`ProbeConfig::interval`] and gives
//! it up when nothing at all came for [`ProbeConfig::missed`] intervals and as
//! many probes were sent in vain.
//!
//! A machine that is overloaded runs its own timers late and would declare
//! everyone dead. As in Lifeguard (Dadgar, Phillips, Currey, DSN-W 2018,
//! section IV-A) the timeout is multiplied by a local health score, which
//! rises when this node's own timers fire late and falls when they do not.

use std::time::{Duration, Instant};

/// How links are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Pause between probes. Two small frames each time: 100 B/s and link.
    pub interval: Duration,
    /// Intervals without a sign of life before a link is given up.
    pub missed: u32,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        ProbeConfig {
            interval: Duration::from_millis(500),
            missed: 3,
        }
    }
}

/// Largest health multiplier, as in Lifeguard (its S is 8).
const WORST: u32 = 8;

/// How punctual this node's own timers are; one for all its links.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    multiplier: u32,
    changed: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            multiplier: 1,
            changed: None,
        }
    }
}

impl Health {
    /// Timers that were due at `due` are served at `now`. The score rises
    /// with every late turn and falls by one in each interval without.
    pub fn fired(&mut self, due: Instant, now: Instant, interval: Duration) {
        let late = now.saturating_duration_since(due);
        if late > interval / 2 {
            let by = late.as_millis() / interval.as_millis().max(1);
            let by = u32::try_from(by).unwrap_or(WORST).max(1);
            self.multiplier = self.multiplier.saturating_add(by).min(WORST);
            self.changed = Some(now);
        } else if self
            .changed
            .is_none_or(|at| now.saturating_duration_since(at) >= interval)
        {
            self.multiplier = self.multiplier.saturating_sub(1).max(1);
            self.changed = Some(now);
        }
    }

    /// By how much to stretch timeouts, 1 to 8.
    pub fn multiplier(self) -> u32 {
        self.multiplier
    }
}

/// What a due probe timer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Send a ping with this number.
    Ping(u64),
    /// Frames arrive anyway: nothing to do.
    Quiet,
    /// The other side is silent: give the link up.
    Dead,
}

/// The probes of one link.
#[derive(Debug)]
pub struct Probe {
    heard: Instant,
    due: Instant,
    /// Pings sent since anything was heard.
    unanswered: u32,
    sent: u64,
    sent_at: Option<(u64, Instant)>,
    rtt: Option<Duration>,
}

impl Probe {
    /// Probes of a link that just came up. The first one is sent at once.
    pub fn new(now: Instant) -> Self {
        Probe {
            heard: now,
            due: now,
            unanswered: 0,
            sent: 0,
            sent_at: None,
            rtt: None,
        }
    }

    /// Any frame is a sign of life.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.unanswered = 0;
    }

    /// The answer to the ping numbered `nonce`.
    pub fn pong(&mut self, nonce: u64, now: Instant) {
        if let Some((_, at)) = self.sent_at.take_if(|(sent, _)| *sent == nonce) {
            let sample = now.saturating_duration_since(at);
            // RFC 6298, section 2: one eighth of each new sample.
            self.rtt = Some(self.rtt.map_or(sample, |rtt| rtt * 7 / 8 + sample / 8));
        }
    }

    /// Smoothed round-trip time.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When [`Probe::poll`] is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The probe timer fired.
    pub fn poll(&mut self, config: &ProbeConfig, health: Health, now: Instant) -> Pulse {
        let patience = config.interval * config.missed * health.multiplier();
        self.due = now + config.interval;
        let silence = now.saturating_duration_since(self.heard);
        if silence >= patience && self.unanswered >= config.missed {
            return Pulse::Dead;
        }
        if silence < config.interval / 2 && self.rtt.is_some() {
            return Pulse::Quiet;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.sent += 1;
        self.sent_at = Some((self.sent, now));
        Pulse::Ping(self.sent)
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
mod tests {
    use super::*;

    fn run(
        probe: &mut Probe,
        health: Health,
        from: Instant,
        answer: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let config = ProbeConfig::default();
        for tick in 0..100 {
            let now = from + config.interval * tick;
            match probe.poll(&config, health, now) {
                Pulse::Dead => return Some(tick),
                Pulse::Ping(nonce) if answer(tick) => {
                    probe.heard(now);
                    probe.pong(nonce, now + Duration::from_millis(20));
                }
                Pulse::Ping(_) | Pulse::Quiet => {}
            }
        }
        None
    }

    #[test]
    fn silence_for_three_intervals_is_death() {
        let start = Instant::now();
        let mut probe = Probe::new(start);
        assert_eq!(
            run(&mut probe, Health::default(), start, |tick| tick < 10),
            Some(13)
        );
        assert_eq!(probe.rtt(), Some(Duration::from_millis(20)));
    }

    #[test]
    fn two_lost_probes_are_forgiven() {
        let start = Instant::now();
        assert_eq!(
            run(
                &mut Probe::new(start),
                Health::default(),
                start,
                |tick| tick % 3 == 2
            ),
            None
        );
    }

    #[test]
    fn an_overloaded_node_waits_longer() {
        let start = Instant::now();
        let interval = ProbeConfig::default().interval;
        let mut health = Health::default();
        health.fired(start, start + interval * 3, interval);
        assert_eq!(health.multiplier(), 4);
        assert_eq!(
            run(&mut Probe::new(start), health, start, |_| false),
            Some(12)
        );
        for tick in 4..10 {
            let now = start + interval * tick;
            health.fired(now, now, interval);
            health.fired(now, now, interval);
        }
        assert_eq!(health.multiplier(), 1);
    }

    #[test]
    fn waking_from_a_long_sleep_kills_nobody() {
        let start = Instant::now();
        let (config, mut probe) = (ProbeConfig::default(), Probe::new(start));
        probe.poll(&config, Health::default(), start);
        probe.heard(start);
        let later = start + Duration::from_secs(3600);
        assert!(matches!(
            probe.poll(&config, Health::default(), later),
            Pulse::Ping(_)
        ));
    }
}
