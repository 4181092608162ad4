//! Findings, and what they mean in words.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use peerloom::webrtc::{PathMark, ServerKind, ServerTransport, ServerUrl};
use serde_json::{Value, json};

use super::super::tell::printable;
use super::gather::Carried;

/// What one server said.
#[derive(Debug)]
pub(super) struct ServerFinding {
    pub(super) url: ServerUrl,
    pub(super) mapped: Vec<(SocketAddr, SocketAddr)>,
    pub(super) relayed: Vec<SocketAddr>,
    pub(super) error: Option<(u16, String)>,
    /// Whether a channel passed through it; `None` when that could not be tried.
    pub(super) carries: Option<Carried>,
}

/// Whether a peer was reached.
#[derive(Debug)]
pub(super) struct PeerFinding {
    peer: String,
    pub(super) linked: bool,
    pub(super) causes: Vec<String>,
}

impl PeerFinding {
    pub(super) fn new(peer: String) -> Self {
        Self {
            peer,
            linked: false,
            causes: Vec::new(),
        }
    }
}

/// How an address translator maps our port (RFC 5780 §4.3, as far as two servers can tell).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nat {
    /// Nobody answered.
    Unknown,
    /// Seen from outside as we are.
    None,
    /// There is one; with one server no more can be said.
    Some,
    /// The same port towards every server.
    EndpointIndependent,
    /// Another port towards each server.
    AddressDependent,
}

impl Nat {
    fn name(self) -> &'static str {
        match self {
            Nat::Unknown => "unknown",
            Nat::None => "none",
            Nat::Some => "some",
            Nat::EndpointIndependent => "endpoint-independent",
            Nat::AddressDependent => "address-dependent",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Nat::Unknown => "not known: no STUN server answered, or none was given",
            Nat::None => "none: your addresses are the same from outside",
            Nat::Some => {
                "there is one; a second --server stun:… on another address would tell its kind"
            }
            Nat::EndpointIndependent => {
                "one that keeps a port for everybody: direct paths to most peers work"
            }
            Nat::AddressDependent => {
                "one that takes another port for each peer (symmetric): direct paths to peers behind \
                 similar ones do not work, a TURN server is needed for those"
            }
        }
    }
}

/// Everything that was found out.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) hosts: Vec<SocketAddr>,
    pub(super) servers: Vec<ServerFinding>,
    pub(super) peer: Option<PeerFinding>,
}

impl Report {
    fn nat(&self) -> Nat {
        let stun = self
            .servers
            .iter()
            .filter(|server| server.url.kind == ServerKind::Stun);
        let answered: Vec<&ServerFinding> = stun.filter(|server| server.error.is_none()).collect();
        let mut mapped: Vec<(SocketAddr, SocketAddr)> = Vec::new();
        for server in &answered {
            mapped.extend(&server.mapped);
        }
        let per_base = |base: &SocketAddr| {
            let seen = mapped.iter().filter(|(from, _)| from == base);
            seen.map(|(_, to)| *to).collect::<BTreeSet<_>>().len()
        };
        match (
            answered.len(),
            mapped.iter().map(|(base, _)| per_base(base)).max(),
        ) {
            (0, _) => Nat::Unknown,
            // A server that sees what we see gives no candidate.
            (_, None) => Nat::None,
            (_, Some(2..)) => Nat::AddressDependent,
            (1, Some(_)) => Nat::Some,
            (_, Some(_)) => Nat::EndpointIndependent,
        }
    }

    fn relay_works(&self) -> bool {
        let carries = |server: &ServerFinding| server.carries.as_ref().is_some_and(|c| c.works);
        self.servers.iter().any(carries)
    }

    /// What was not examined, and how it would be.
    fn untested(&self) -> Vec<&'static str> {
        let has = |kind| self.servers.iter().any(|server| server.url.kind == kind);
        let mut untested = Vec::new();
        if !has(ServerKind::Stun) {
            untested.push("NAT: give two STUN servers with --server stun:host");
        }
        if !has(ServerKind::Turn) {
            untested.push(
                "relays: give a TURN server with --server turn:host --username … --credential-file …",
            );
        }
        if self.peer.is_none() {
            untested.push("a peer: give its ticket");
        }
        untested
    }

    /// What to make of it.
    fn verdict(&self) -> Vec<String> {
        let mut verdict = Vec::new();
        let loopback = self.hosts.iter().all(|addr| addr.ip().is_loopback());
        if self.hosts.is_empty() {
            verdict.push("This machine has no address: connect it to a network.".into());
        } else if loopback {
            verdict.push("Only this machine itself can be reached: there is no network.".into());
        }
        let failed = self.servers.iter().filter(|server| server.error.is_some());
        let failed: Vec<_> = failed.collect();
        let udp = |server: &&&ServerFinding| server.url.transport == ServerTransport::Udp;
        let silent = |server: &&&ServerFinding| matches!(server.error, Some((701, _)));
        let all_udp = self
            .servers
            .iter()
            .filter(|s| s.url.transport == ServerTransport::Udp)
            .count();
        if all_udp > 1 && failed.iter().filter(udp).filter(silent).count() == all_udp {
            verdict.push(
                "No server answers over UDP: UDP seems to be blocked here; use turns: servers, or peers that accept ICE over TCP."
                    .into(),
            );
        }
        if failed
            .iter()
            .any(|server| matches!(server.error, Some((401, _))))
        {
            verdict.push(
                "A TURN server refused the credentials: check --username and its password.".into(),
            );
        }
        verdict.extend(self.servers.iter().filter_map(ServerFinding::complaint));
        match self.nat() {
            Nat::AddressDependent if !self.relay_works() => verdict.push(
                "Peers behind a NAT of the same kind cannot be reached without a working TURN server.".into(),
            ),
            Nat::AddressDependent | Nat::Unknown | Nat::None | Nat::Some | Nat::EndpointIndependent => {}
        }
        match &self.peer {
            Some(peer) if peer.linked => verdict.push("The peer was reached.".into()),
            Some(peer) if peer.causes.is_empty() => verdict.push(
                "The peer was not found: it may be down, or its addresses may be out of reach from here.".into(),
            ),
            Some(_) => verdict.push(
                "The peer was found, but no path to it: one of you needs a TURN server, or an open UDP or TCP port.".into(),
            ),
            None => {}
        }
        if verdict.is_empty() {
            verdict.push("Nothing that was tested stands in the way.".into());
        }
        verdict
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|addr| addr.ip().to_string())
            .collect();
        let hosts = if hosts.is_empty() {
            "none".into()
        } else {
            hosts.join(", ")
        };
        let mut line = |what: &str, value: &str| {
            // Reasons and causes are words of servers and peers.
            text.push_str(&format!("{what:<12}{}\n", printable(value)));
        };
        line("addresses", &hosts);
        line("NAT", self.nat().text());
        for server in &self.servers {
            line("server", &format!("{}: {}", server.url, server.outcome()));
            for path in server.failed_paths() {
                line("", &path);
            }
        }
        if let Some(peer) = &self.peer {
            let outcome = if peer.linked {
                "reached"
            } else {
                "not reached"
            };
            line("peer", &format!("{}: {outcome}", peer.peer));
            for cause in &peer.causes {
                line("", cause);
            }
        }
        for untested in self.untested() {
            line("not tested", untested);
        }
        for verdict in self.verdict() {
            line("=>", &verdict);
        }
        text
    }

    /// For a program.
    pub(super) fn json(&self) -> Value {
        let peer = self
            .peer
            .as_ref()
            .map(|peer| json!({ "peer": peer.peer, "linked": peer.linked, "causes": peer.causes }));
        json!({
            "addresses": self.hosts.iter().map(|addr| addr.ip().to_string()).collect::<Vec<_>>(),
            "nat": self.nat().name(),
            "servers": self.servers.iter().map(ServerFinding::json).collect::<Vec<_>>(),
            "peer": peer,
            "untested": self.untested(),
            "verdict": self.verdict(),
        })
    }
}

impl ServerFinding {
    /// What is wrong with it, if anything.
    fn complaint(&self) -> Option<String> {
        let url = &self.url;
        match (&self.error, &self.carries) {
            (Some((code, reason)), _) => Some(format!("{url} is of no use: {reason} ({code}).")),
            (None, Some(carried)) if !carried.works => {
                Some(format!("{url} gives a relay that carries nothing."))
            }
            (None, Some(_) | None) => None,
        }
    }

    fn outcome(&self) -> String {
        let transport = self.url.transport.name();
        let list = |all: &[SocketAddr]| {
            all.iter()
                .map(SocketAddr::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mapped: Vec<SocketAddr> = self.mapped.iter().map(|(_, to)| *to).collect();
        match (&self.error, self.url.kind, &self.carries) {
            (Some((code, reason)), ..) => format!("failed over {transport}: {reason} ({code})"),
            (None, ServerKind::Stun, _) if mapped.is_empty() => {
                "answers; sees you as you are".into()
            }
            (None, ServerKind::Stun, _) => format!("answers; sees you as {}", list(&mapped)),
            (None, ServerKind::Turn, Some(carried)) if carried.works => {
                format!("relays over {transport} at {}", list(&self.relayed))
            }
            (None, ServerKind::Turn, Some(_)) => {
                format!(
                    "gives {} over {transport}, but carries nothing",
                    list(&self.relayed)
                )
            }
            (None, ServerKind::Turn, None) => "answers, but gives no address".into(),
        }
    }

    /// Why the paths through a relay that carries nothing failed.
    fn failed_paths(&self) -> Vec<String> {
        let Some(carried) = self.carries.as_ref().filter(|carried| !carried.works) else {
            return Vec::new();
        };
        let told = |path: &peerloom::webrtc::PathHistory| {
            let cause = path
                .cause
                .map_or("still trying".into(), |cause| cause.to_string());
            let asked = path.requests_sent;
            format!(
                "{}: {cause}; {asked} checks sent, {} received",
                path.path, path.requests_received
            )
        };
        carried.paths.iter().map(told).collect()
    }

    fn json(&self) -> Value {
        let paths = self.carries.iter().flat_map(|carried| &carried.paths);
        let paths = paths.map(|path| {
            let begun = path.timeline.first().map(|(at, _)| *at);
            let timeline = path.timeline.iter().map(|(at, mark)| {
                let after = begun.map(|begun| at.duration_since(begun).as_secs_f64());
                json!({ "after": after, "what": mark_name(*mark) })
            });
            json!({
                "local": path.path.local.to_string(),
                "remote": path.path.remote.to_string(),
                "nominated": path.nominated,
                "cause": path.cause.map(|cause| cause.to_string()),
                "timeline": timeline.collect::<Vec<_>>(),
            })
        });
        json!({
            "url": self.url.to_string(),
            "transport": self.url.transport.name(),
            "works": self.error.is_none() && self.carries.as_ref().is_none_or(|c| c.works),
            "mapped": self.mapped.iter().map(|(_, to)| to.to_string()).collect::<Vec<_>>(),
            "relayed": self.relayed.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
            "error": self.error.as_ref().map(|(code, reason)| json!({ "code": code, "reason": reason })),
            "paths": paths.collect::<Vec<_>>(),
        })
    }
}

fn mark_name(mark: PathMark) -> &'static str {
    match mark {
        PathMark::Created => "created",
        PathMark::Connected => "TCP connection opened",
        PathMark::FirstCheck => "first check",
        PathMark::PeerCheck => "checked by the peer",
        PathMark::Answered => "answered",
        PathMark::Selected => "selected",
        PathMark::Silent => "silent",
        PathMark::Heard => "heard again",
        PathMark::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(mapped: &[(&str, &str)], error: Option<(u16, String)>) -> ServerFinding {
        let addr = |text: &str| text.parse().expect("an address");
        ServerFinding {
            url: "stun:example.org".parse().expect("a URL"),
            mapped: mapped
                .iter()
                .map(|(base, to)| (addr(base), addr(to)))
                .collect(),
            relayed: Vec::new(),
            error,
            carries: None,
        }
    }

    fn nat(servers: Vec<ServerFinding>) -> Nat {
        let report = Report {
            servers,
            ..Report::default()
        };
        report.nat()
    }

    #[test]
    fn the_kind_of_nat_follows_from_what_servers_see() {
        let base = "10.0.0.1:5";
        let one = || stun(&[(base, "192.0.2.1:6")], None);
        let other = stun(&[(base, "192.0.2.1:7")], None);
        assert_eq!(nat(vec![]), Nat::Unknown);
        assert_eq!(
            nat(vec![stun(&[], Some((701, "silent".into())))]),
            Nat::Unknown
        );
        assert_eq!(nat(vec![stun(&[], None)]), Nat::None);
        assert_eq!(nat(vec![one()]), Nat::Some);
        assert_eq!(nat(vec![one(), one()]), Nat::EndpointIndependent);
        assert_eq!(nat(vec![one(), other]), Nat::AddressDependent);
    }

    #[test]
    fn blocked_udp_and_wrong_credentials_are_named() {
        let silent = || stun(&[], Some((701, "the server does not answer".into())));
        let mut refused = stun(&[], Some((401, "Unauthorized".into())));
        refused.url = "turn:example.org?transport=tcp".parse().expect("a URL");
        let report = Report {
            hosts: vec!["10.0.0.1:5".parse().expect("an address")],
            servers: vec![silent(), silent(), refused],
            peer: None,
        };
        let text = report.text();
        assert!(text.contains("UDP seems to be blocked"), "{text}");
        assert!(text.contains("refused the credentials"), "{text}");
        assert!(!text.contains("Nothing that was tested"), "{text}");
        assert_eq!(report.json()["nat"], "unknown");
    }

    #[test]
    fn foreign_words_do_not_steer_the_terminal() {
        let mut peer = PeerFinding::new("p".into());
        peer.causes.push("refused\x1b]0;x\x07\nNAT  none".into());
        let report = Report {
            servers: vec![stun(&[], Some((500, "\x1b[2J\u{202e}".into())))],
            peer: Some(peer),
            ..Report::default()
        };
        let text = report.text();
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(bad), "{text:?}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("NAT")).count(),
            1
        );
    }

    #[test]
    fn one_server_that_fails_is_no_all_clear() {
        let report = |servers| Report {
            hosts: vec!["10.0.0.1:5".parse().expect("an address")],
            servers,
            peer: None,
        };
        let well = report(vec![stun(&[], None)]).text();
        assert!(well.contains("Nothing that was tested"), "{well}");
        let text = report(vec![stun(&[], Some((701, "silence".into())))]).text();
        assert!(!text.contains("Nothing that was tested"), "{text}");
        assert!(text.contains("is of no use: silence (701)"), "{text}");
    }
}
