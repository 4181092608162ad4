//! What of a demo is shown: the live view on the way, the report at the end.

use std::time::Duration;

use super::super::report::Report;
use super::super::view::{NodeCell, Snapshot};
use super::{Stage, Stop};
use peerloom_chaos_tests::ledger::{Phase, median};
use peerloom_chaos_tests::shape::{DEGREE_WANTED, NodeView};

impl Stage {
    /// Completes the report with what the books say.
    pub(super) fn fill_report(&mut self) {
        let total = self.ledger.total();
        let healed = self.ledger.tally(Phase::Healed);
        let stats = self.nodes.iter().flatten().map(|node| node.mesh.stats());
        let (mut verified, mut gossip, mut channels) = (0, 0, 0);
        for stats in stats {
            verified += stats.identities_verified;
            gossip += stats.bytes_gossip;
            channels += stats.bytes_channels;
        }
        self.report = Report {
            identities_verified: verified,
            broadcasts_sent: self.ledger.broadcasts,
            directs_sent: self.ledger.directs,
            deliveries_expected: total.expected,
            deliveries: total.delivered,
            duplicates: self.ledger.duplicates,
            hops_max: self.ledger.hops_max,
            bytes_gossip: gossip,
            bytes_channels: channels,
            direct_rtt_us_p50: median(&mut self.rtts).map(micros),
            deliveries_after_heal: healed.delivered,
            deliveries_expected_after_heal: healed.expected,
            errors: self.ledger.errors,
            ..self.report.clone()
        };
    }

    /// The report for people; every line fits a terminal of 80 columns.
    pub(super) fn summary(&self, outcome: &Result<(), Stop>) -> Vec<String> {
        let report = &self.report;
        let mut lines = vec![match report.formed_ms {
            Some(ms) => format!(
                "mesh      {} peers formed in {ms} ms: {}",
                report.peers,
                links(report.links, report.degree_min, report.degree_max)
            ),
            None => format!("mesh      {} peers, not formed", report.peers),
        }];
        lines.push(format!(
            "identity  {} verified",
            counted(report.identities_verified as usize, "assertion")
        ));
        lines.push(format!(
            "messages  {} and {} direct: {} of {} delivered, {} twice",
            counted(report.broadcasts_sent as usize, "broadcast"),
            report.directs_sent,
            report.deliveries,
            report.deliveries_expected,
            report.duplicates
        ));
        if let Some(micros) = report.direct_rtt_us_p50 {
            lines.push(format!(
                "ways      at most {}; a direct message and its answer take {:.1} ms",
                counted(report.hops_max as usize, "hop"),
                micros as f64 / 1e3
            ));
        }
        lines.push(format!(
            "traffic   {} over data channels, {} over gossip",
            bytes(report.bytes_channels),
            bytes(report.bytes_gossip)
        ));
        if report.killed > 0 {
            let healed = report
                .healed_ms
                .map_or("not healed".to_owned(), |ms| format!("healed in {ms} ms"));
            lines.push(format!(
                "healing   {} killed without a word, {healed}, then {} of {} delivered",
                report.killed, report.deliveries_after_heal, report.deliveries_expected_after_heal
            ));
        }
        lines.push(match outcome {
            Ok(()) => "result    everything arrived exactly once".to_owned(),
            Err(Stop::Interrupted) => "result    interrupted".to_owned(),
            Err(Stop::Unread(_) | Stop::Failed(_)) => {
                format!(
                    "result    FAILED: {}",
                    counted(report.errors as usize, "error")
                )
            }
        });
        lines
    }

    /// Redraws the live view, where there is one.
    pub(super) fn draw(&mut self) {
        if !self.show.is_live() {
            return;
        }
        let wanted = DEGREE_WANTED.min(self.living.len().saturating_sub(1));
        let cell = |(index, view): (usize, &NodeView)| NodeCell {
            dead: !self.living.contains(&index),
            well_linked: view.links.len() >= wanted,
            links: view.links.len(),
            roster: view.roster.len() + usize::from(self.nodes[index].is_some()),
            received: self.received[index],
        };
        let total = self.ledger.total();
        let snapshot = Snapshot {
            phase: self.act,
            elapsed: self.began.elapsed(),
            nodes: self.views.iter().enumerate().map(cell).collect(),
            links: self.shape.links,
            missing: self.shape.missing(),
            expected: total.expected,
            delivered: total.delivered,
            history: Vec::new(),
        };
        self.show.draw(snapshot);
    }
}

/// How many links a mesh has, and how they are spread.
pub(super) fn links(count: usize, least: usize, most: usize) -> String {
    let all = counted(count, "link");
    if least == most {
        format!("{all}, {least} a node")
    } else {
        format!("{all}, {least} to {most} a node")
    }
}

/// A number of things.
pub(super) fn counted(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
