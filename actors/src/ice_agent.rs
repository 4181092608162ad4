//! The ICE agent's actor: one ICE engine, its share of the sockets, its routes.
//!
//! A 5-tuple belongs to one connection, from its first packet on. When the shared
//! port is taken towards a peer by another connection of this endpoint, the agent
//! binds one ephemeral socket beside it and offers that as a further candidate.

mod gathering;
mod messages;
mod network;
mod pool;
mod slack;
mod sockets;
mod tcp;

use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext as _, Context, Handler, Recipient, StreamHandler};
use peerloom_transports::proto::candidate::{
    Candidate, CandidateKind, Credentials, Protocol, priority,
};
use peerloom_transports::proto::config::IceConfig;
use peerloom_transports::proto::ice::{self, Agent, Event, State, Timer};
use peerloom_transports::proto::id::{IceRole, Path};
use peerloom_transports::proto::jsep::StartIce;
use peerloom_transports::udp::{self, Claim, Registration};

use crate::dtls_transport::PathSelected;
use crate::outlet::Outlet;
use crate::peer_connection::messages::IceReport;
use crate::shell::{self, Alarm, Drained, Shell, turns};
use crate::supervisor::supervised;
pub(crate) use gathering::Sources;
use gathering::{Gathering, Notice};
pub(crate) use messages::{Checks, GetIceStats, IceCommand, IceStats};
use pool::Stage;
use sockets::{Sockets, log_refusal};
use tcp::Streams;

/// Messages in the agent's mailbox: STUN batches from the sockets (dropped when full)
/// and commands from the connection.
pub(crate) const MAILBOX: usize = 64;

/// Packets sent per turn: a whole round of checks on every pair.
const PACKETS_PER_TURN: usize = 64;

/// The shell around an ICE engine.
pub(crate) struct IceAgentActor {
    config: IceConfig,
    gathering: Gathering,
    stage: Stage,
    agent: Option<Agent>,
    sockets: Sockets,
    streams: Streams,
    selected: Option<Path>,
    connection: Outlet<IceReport>,
    dtls: Outlet<PathSelected>,
    quic: Option<Outlet<PathSelected>>,
    alarm: Alarm,
}

impl IceAgentActor {
    pub(crate) fn new(
        config: IceConfig,
        udp: udp::Endpoint,
        sources: Sources,
        registration: Registration,
        connection: Recipient<IceReport>,
        dtls: Recipient<PathSelected>,
    ) -> Self {
        let gathering = Gathering::new(sources);
        let mut sockets = Sockets::new(udp, registration);
        sockets.set_token(gathering.token());
        IceAgentActor {
            config,
            gathering,
            stage: Stage::Idle,
            agent: None,
            sockets,
            streams: Streams::new(),
            selected: None,
            connection: Outlet::keeping(connection),
            dtls: Outlet::keeping(dtls),
            quic: None,
            alarm: Alarm::default(),
        }
    }

    fn command(&mut self, command: IceCommand, now: Instant) {
        match command {
            IceCommand::Gather {
                credentials,
                restart,
            } => self.gather(credentials, restart, now),
            IceCommand::Configure(sources) => self.configure(sources, now),
            IceCommand::Start(start) => self.start(start, now),
            IceCommand::Restart(start) => {
                let restarted = self
                    .agent
                    .as_mut()
                    .map(|agent| agent.restart(start.local.clone(), now));
                log_refusal("restart", restarted);
                self.forget_names();
                self.start(start, now);
            }
            IceCommand::AddRemote(candidate) => self.add_remote(candidate, now),
            IceCommand::AlsoTell(quic) => {
                self.quic = Some(Outlet::keeping(quic));
                if let Some(path) = self.selected {
                    self.tell_path(path);
                }
            }
            IceCommand::RemoteComplete => {
                if let Some(agent) = &mut self.agent {
                    agent.end_of_remote_candidates();
                }
            }
        }
    }

    fn gather(&mut self, credentials: Credentials, restart: bool, now: Instant) {
        self.stage = Stage::Described;
        if !self.sockets.add_ufrag(&credentials.ufrag) {
            tracing::error!("a username fragment is in use already");
        }
        let ufrag = credentials.ufrag.clone();
        if let Some(agent) = self.agent.as_ref().filter(|_| restart) {
            // The running generation goes on until `Restart`; the sockets are the same.
            let again: Vec<_> = agent.local_candidates().cloned().collect();
            let all = self.gathering.hosts();
            let may_be_told =
                |candidate: &Candidate| all || candidate.kind == CandidateKind::Relayed;
            for candidate in again.into_iter().filter(may_be_told) {
                let Some(candidate) = self.veiled(candidate) else {
                    continue;
                };
                self.report(IceReport::Candidate {
                    ufrag: ufrag.clone(),
                    candidate: candidate.with_ufrag(&ufrag),
                });
            }
        } else if let Err(error) = self.open_agent(credentials, now) {
            tracing::error!(%error, "no ICE agent");
            self.report(IceReport::State(State::Failed));
        }
        self.drain_events();
        self.ask_servers(Some(ufrag), now);
    }

    /// A first generation: after the pool, or in place of one whose offer was rolled back or replaced,
    /// the candidates that servers gave go over to it, since nothing will bring them again.
    fn open_agent(&mut self, credentials: Credentials, now: Instant) -> Result<(), ice::Error> {
        let gathered = self.gathered();
        let mut config = self.config.clone();
        if !self.gathering.hosts() {
            config.relay_patience = Duration::ZERO; // there is nothing better to wait for
        }
        // The role is settled by `Start`.
        let mut agent = Agent::new(config, credentials, IceRole::Controlling, now)?;
        if self.gathering.hosts() {
            let own = [self.sockets.hosts(), self.sockets.extra_hosts()].concat();
            for addr in own {
                log_refusal("host candidate", Some(agent.add_host(addr, now)));
            }
        }
        self.agent = Some(agent);
        self.selected = None;
        if self.gathering.hosts() {
            let hosts = self.sockets.hosts();
            self.add_tcp_hosts(&hosts, now);
        }
        self.take_over(gathered, now);
        Ok(())
    }

    fn start(&mut self, start: StartIce, now: Instant) {
        let started = self
            .agent
            .as_mut()
            .map(|agent| agent.start(start.remote, start.role, now));
        log_refusal("start", started);
    }

    fn take_checks(&mut self, checks: Checks, now: Instant) {
        for run in checks.0.runs() {
            if self.take_answers(&run, now) {
                continue;
            }
            // A username fragment is no secret: strangers must not take 5-tuples with it.
            let agent = self.agent.as_ref();
            let authentic =
                || agent.is_some_and(|agent| run.datagrams().any(|d| agent.is_authentic(d)));
            if !self.sockets.owns(run.path()) && !authentic() {
                continue;
            }
            if !self.may_use(run.path(), now) {
                self.note_peer(run.path(), now);
                continue;
            }
            let Some(agent) = &mut self.agent else { return };
            for datagram in run.datagrams() {
                if let Err(error) = agent.handle_packet(run.path(), datagram, now) {
                    tracing::trace!(%error, "STUN packet dropped");
                }
            }
        }
    }

    /// A check of the peer came on a 5-tuple that another connection has: it is not answered there,
    /// but tells where the peer is (RFC 8445 section 7.3.1.3), so that the extra socket has whom to
    /// check even if the peer's candidates were lost on their way.
    fn note_peer(&mut self, path: Path, now: Instant) {
        let Some(agent) = self
            .agent
            .as_mut()
            .filter(|_| path.protocol == Protocol::Udp)
        else {
            return;
        };
        let priority = priority(CandidateKind::PeerReflexive, u16::MAX, 1);
        let seen = Candidate::peer_reflexive(path.protocol, path.remote, priority);
        log_refusal(
            "peer-reflexive candidate",
            Some(agent.add_remote_candidate(&seen, now)),
        );
    }

    /// Whether this connection may use the 5-tuple. When another has it, an extra socket is
    /// offered to the peer instead, as long as nothing is selected.
    fn may_use(&mut self, path: Path, now: Instant) -> bool {
        let claim = self.sockets.claim(path);
        if claim == Claim::Taken && self.selected.is_none() {
            let socket = self.sockets.open_extra(path.local);
            if let (Some(socket), Some(agent)) = (socket, &mut self.agent) {
                for addr in self.sockets.hosts_of(&socket) {
                    log_refusal("host candidate", Some(agent.add_host(addr, now)));
                }
            }
        }
        claim == Claim::Granted
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.agent.as_mut().and_then(Agent::poll_event) {
            match event {
                Event::StateChange(state) => self.report(IceReport::State(state)),
                Event::SelectedPath(path) => self.select(path),
                Event::LocalCandidate(candidate) => {
                    let ufrag = self
                        .agent
                        .as_ref()
                        .map(|a| a.local_credentials().ufrag.clone());
                    let ufrag = ufrag.unwrap_or_default();
                    self.announce(ufrag, candidate);
                }
                Event::Connect(path) => self.connect_tcp(path),
                Event::Disconnect(path) => self.disconnect_tcp(path),
                Event::RoleChange(role) => self.report(IceReport::Role(role)),
                Event::PathAnswered { path, round_trip } => {
                    tracing::debug!(%path, ?round_trip, "path answered");
                }
            }
        }
    }

    fn select(&mut self, path: Path) {
        self.selected = Some(path);
        self.tell_path(path);
        self.report(IceReport::Selected(path));
    }

    fn tell_path(&mut self, path: Path) {
        let Some(carrier) = self.sockets.settle_on(path) else {
            return;
        };
        if let Some(quic) = &mut self.quic {
            let carrier = carrier.clone();
            quic.post(PathSelected { path, carrier });
        }
        self.dtls.post(PathSelected { path, carrier });
    }

    fn report(&mut self, report: IceReport) {
        if self.stage != Stage::Described {
            return; // what is gathered ahead is told to nobody
        }
        // A connection that is gone takes this actor with it.
        self.connection.post(report);
    }
}

impl Shell for IceAgentActor {
    fn deadline(&mut self) -> Option<Instant> {
        let agent = self.agent.as_ref().and_then(Agent::poll_timeout);
        let agent = agent.map(|deadline| match deadline.reason {
            Timer::Consent => slack::together(deadline.at, self.config.consent_interval),
            Timer::Check | Timer::Connect => deadline.at,
        });
        agent.into_iter().chain(self.gathering.deadline()).min()
    }

    fn expire(&mut self, now: Instant) {
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now);
        }
        self.expire_gathering(now);
    }

    fn drain(&mut self, _: &mut Context<Self>, now: Instant) -> Drained {
        // STUN is sent again by its own timers: what the socket kept goes first.
        self.sockets.flush();
        self.drain_gathering(now);
        self.drain_events();
        for _ in 0..PACKETS_PER_TURN {
            let Some(transmit) = self.agent.as_mut().and_then(Agent::poll_transmit) else {
                self.drain_events();
                return Drained::Idle;
            };
            if self.may_use(transmit.path, now) {
                self.sockets.send(transmit);
            }
        }
        Drained::More
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl Actor for IceAgentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch_network();
        if let Some(notices) = self.gathering.notices() {
            ctx.add_stream(notices);
        }
        if let Some(news) = self.streams.news() {
            ctx.add_stream(news);
            self.sockets.take_streams(self.streams.inlet());
        }
        shell::start(self, ctx);
        shell::turn(self, ctx, |actor, now| actor.fill_pool(now));
    }
}

impl StreamHandler<Notice> for IceAgentActor {
    fn handle(&mut self, notice: Notice, ctx: &mut Self::Context) {
        shell::turn_aside(self, ctx, |actor, now| actor.notice(notice, now));
    }
}

impl Handler<GetIceStats> for IceAgentActor {
    type Result = IceStats;

    fn handle(&mut self, _: GetIceStats, _: &mut Self::Context) -> IceStats {
        let told = self.agent.iter().filter(|_| self.stage == Stage::Described);
        let local = told.flat_map(Agent::local_candidates);
        let local: Vec<Candidate> = local.cloned().collect();
        IceStats {
            path: self.selected,
            role: self.agent.as_ref().map(Agent::role),
            engine: self.agent.as_ref().map(Agent::stats).unwrap_or_default(),
            pairs: self.agent.as_ref().map(Agent::pairs).unwrap_or_default(),
            former_pairs: self
                .agent
                .as_ref()
                .map(|agent| agent.former_pairs().to_vec())
                .unwrap_or_default(),
            local: local
                .into_iter()
                .filter_map(|candidate| self.veiled(candidate))
                .collect(),
            remote: self
                .agent
                .iter()
                .flat_map(Agent::remote_candidates)
                .cloned()
                .collect(),
            inlet_overflow: self.sockets.overflowed(),
        }
    }
}

turns!(IceAgentActor {
    IceCommand => command,
    Checks => take_checks,
});
supervised!(IceAgentActor, |actor| Some(actor.alarm.done()));
