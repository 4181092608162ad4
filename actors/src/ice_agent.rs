//! The ICE agent's actor: one ICE engine, its share of the sockets, its routes.
//!
//! A 5-tuple belongs to one connection, from its first packet on. When the shared
//! port is taken towards a peer by another connection of this endpoint, the agent
//! binds one ephemeral socket beside it and offers that as a further candidate.

use std::net::SocketAddr;
use std::time::Instant;

use actix::{Actor, Context, Handler, Message, Recipient};
use peerloom_transports::proto::candidate::{Candidate, Credentials};
use peerloom_transports::proto::config::IceConfig;
use peerloom_transports::proto::engine::Transmit;
use peerloom_transports::proto::ice::{Agent, Event, State, Stats};
use peerloom_transports::proto::id::{IceRole, Path};
use peerloom_transports::proto::jsep::StartIce;
use tokio::task::JoinSet;

use peerloom_transports::udp::{self, Claim, Datagrams, Registration, Sender, Sent, Socket};

use crate::dtls_transport::PathSelected;
use crate::outlet::Outlet;
use crate::peer_connection::messages::IceReport;
use crate::shell::{self, Alarm, Drained, Shell};
use crate::supervisor::supervised;

/// Messages in the agent's mailbox: STUN batches from the sockets (dropped when full)
/// and commands from the connection.
pub(crate) const MAILBOX: usize = 64;

/// Packets sent per turn: a whole round of checks on every pair.
const PACKETS_PER_TURN: usize = 64;

/// Ephemeral sockets a connection may add, one per address family.
const MAX_EXTRA_SOCKETS: usize = 2;

/// From the connection to its ICE agent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum IceCommand {
    /// Announce candidates under these credentials.
    Gather { credentials: Credentials, restart: bool },
    /// Both ends' credentials are known.
    Start(StartIce),
    /// The same for a further generation.
    Restart(StartIce),
    /// A candidate of the peer.
    AddRemote(Candidate),
    /// The peer has no more.
    RemoteComplete,
}

/// STUN packets for this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Checks(pub(crate) Datagrams);

/// What `getStats` asks of the agent.
#[derive(Debug, Message)]
#[rtype(result = "IceStats")]
pub(crate) struct GetIceStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct IceStats {
    pub(crate) path: Option<Path>,
    pub(crate) role: Option<IceRole>,
    pub(crate) engine: Stats,
    pub(crate) inlet_overflow: u64,
}

/// The shell around an ICE engine.
pub(crate) struct IceAgentActor {
    config: IceConfig,
    udp: udp::Endpoint,
    gather_hosts: bool,
    agent: Option<Agent>,
    sender: Sender,
    registration: Registration,
    extra: Vec<Socket>,
    /// Of the extra sockets; aborted with the actor.
    receive_loops: JoinSet<()>,
    selected: Option<Path>,
    connection: Outlet<IceReport>,
    dtls: Outlet<PathSelected>,
    alarm: Alarm,
}

impl IceAgentActor {
    pub(crate) fn new(
        config: IceConfig,
        udp: udp::Endpoint,
        gather_hosts: bool,
        registration: Registration,
        connection: Recipient<IceReport>,
        dtls: Recipient<PathSelected>,
    ) -> Self {
        IceAgentActor {
            config,
            sender: Sender::new(udp.sockets().to_vec()),
            udp,
            gather_hosts,
            agent: None,
            registration,
            extra: Vec::new(),
            receive_loops: JoinSet::new(),
            selected: None,
            connection: Outlet::keeping(connection),
            dtls: Outlet::keeping(dtls),
            alarm: Alarm::default(),
        }
    }

    fn command(&mut self, command: IceCommand, now: Instant) {
        match command {
            IceCommand::Gather { credentials, restart } => self.gather(credentials, restart, now),
            IceCommand::Start(start) => self.start(start, now),
            IceCommand::Restart(start) => {
                let restarted = self.agent.as_mut().map(|agent| agent.restart(start.local.clone(), now));
                log_refusal("restart", restarted);
                if let Some(agent) = &mut self.agent {
                    agent.end_of_local_candidates();
                }
                self.start(start, now);
            }
            IceCommand::AddRemote(candidate) => {
                let added = self.agent.as_mut().map(|agent| agent.add_remote_candidate(&candidate, now));
                log_refusal("remote candidate", added);
            }
            IceCommand::RemoteComplete => {
                if let Some(agent) = &mut self.agent {
                    agent.end_of_remote_candidates();
                }
            }
        }
    }

    fn gather(&mut self, credentials: Credentials, restart: bool, now: Instant) {
        if !self.registration.add_ufrag(&credentials.ufrag) {
            tracing::error!("a username fragment is in use already");
        }
        let ufrag = credentials.ufrag.clone();
        if let Some(agent) = self.agent.as_ref().filter(|_| restart) {
            // The running generation goes on until `Restart`; the sockets are the same.
            let again: Vec<_> = agent.local_candidates().to_vec();
            for candidate in again {
                self.report(IceReport::Candidate { ufrag: ufrag.clone(), candidate: candidate.with_ufrag(&ufrag) });
            }
        } else if let Err(error) = self.open_agent(credentials, now) {
            tracing::error!(%error, "no ICE agent");
            self.report(IceReport::State(State::Failed));
        }
        self.drain_events();
        self.report(IceReport::GatheringComplete { ufrag });
    }

    fn open_agent(
        &mut self,
        credentials: Credentials,
        now: Instant,
    ) -> Result<(), peerloom_transports::proto::ice::Error> {
        // The role is settled by `Start`.
        let mut agent = Agent::new(self.config.clone(), credentials, IceRole::Controlling, now)?;
        if self.gather_hosts {
            for socket in self.udp.sockets() {
                add_hosts(&mut agent, socket, now);
            }
        }
        agent.end_of_local_candidates();
        self.agent = Some(agent);
        Ok(())
    }

    fn start(&mut self, start: StartIce, now: Instant) {
        let started = self.agent.as_mut().map(|agent| agent.start(start.remote, start.role, now));
        log_refusal("start", started);
    }

    fn take_checks(&mut self, checks: &Datagrams, now: Instant) {
        for run in checks.runs() {
            if !self.may_use(run.path(), now) {
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

    /// Whether this connection owns the 5-tuple, or could take it.
    fn may_use(&mut self, path: Path, now: Instant) -> bool {
        match self.registration.claim(path) {
            Claim::Granted => true,
            Claim::Taken => {
                self.open_extra(path.local, now);
                false
            }
            Claim::TooMany => false,
        }
    }

    /// Binds an ephemeral socket beside the shared one that another connection uses.
    fn open_extra(&mut self, shared: SocketAddr, now: Instant) {
        let served = |socket: &Socket| socket.local_addr().is_ipv4() == shared.is_ipv4();
        let enough = self.selected.is_some() || self.extra.len() >= MAX_EXTRA_SOCKETS;
        if enough || self.extra.iter().any(served) {
            return;
        }
        let beside = self.udp.sockets().iter().find(|socket| socket.serves(shared)).map(Socket::local_addr);
        let Some(beside) = beside else { return };
        let socket = match self.udp.bind_extra(beside) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "no extra socket for a second connection to the same peer");
                return;
            }
        };
        let receive = udp::receive(socket.clone(), self.udp.routes().clone());
        self.receive_loops.spawn_local(async move {
            if let Err(error) = receive.await {
                tracing::error!(%error, "the receive loop of an extra socket ended");
            }
        });
        self.sender.add_socket(socket.clone());
        if let Some(agent) = &mut self.agent {
            add_hosts(agent, &socket, now);
        }
        self.extra.push(socket);
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.agent.as_mut().and_then(Agent::poll_event) {
            match event {
                Event::StateChange(state) => self.report(IceReport::State(state)),
                Event::SelectedPath(path) => self.select(path),
                Event::LocalCandidate(candidate) => {
                    let ufrag = self.agent.as_ref().map(|a| a.local_credentials().ufrag.clone());
                    let ufrag = ufrag.unwrap_or_default();
                    self.report(IceReport::Candidate { ufrag, candidate });
                }
                Event::RoleChange(role) => tracing::debug!(?role, "ICE role conflict resolved"),
                Event::PathAnswered { path, round_trip } => {
                    tracing::debug!(%path, ?round_trip, "path answered");
                }
            }
        }
    }

    fn select(&mut self, path: Path) {
        self.selected = Some(path);
        self.registration.release_all_but(path);
        if let Some(socket) = self.sender.socket_for(path.local).cloned() {
            self.dtls.post(PathSelected { path, socket });
        }
        self.report(IceReport::Selected(path));
    }

    fn transmit(&mut self, transmit: Transmit, now: Instant) {
        if self.may_use(transmit.path, now) {
            match self.sender.send(transmit) {
                Sent::Done => {}
                Sent::Kept | Sent::Lost => tracing::trace!("a STUN packet waits or is lost"),
            }
        }
    }

    fn report(&mut self, report: IceReport) {
        // A connection that is gone takes this actor with it.
        self.connection.post(report);
    }
}

/// Adds every address at which the peer may reach a socket.
fn add_hosts(agent: &mut Agent, socket: &Socket, now: Instant) {
    let bound = socket.local_addr();
    for ip in udp::host_addresses(bound) {
        log_refusal("host candidate", Some(agent.add_host(SocketAddr::new(ip, bound.port()), now)));
    }
}

fn log_refusal(what: &str, result: Option<Result<(), peerloom_transports::proto::ice::Error>>) {
    if let Some(Err(error)) = result {
        tracing::debug!(%error, "ICE refused: {what}");
    }
}

impl Shell for IceAgentActor {
    fn deadline(&mut self) -> Option<Instant> {
        self.agent.as_ref().and_then(Agent::poll_timeout).map(|deadline| deadline.at)
    }

    fn expire(&mut self, now: Instant) {
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now);
        }
    }

    fn drain(&mut self, _: &mut Context<Self>, now: Instant) -> Drained {
        self.connection.flush();
        self.dtls.flush();
        // STUN is sent again by its own timers: what the socket kept goes first.
        self.sender.flush();
        self.drain_events();
        for _ in 0..PACKETS_PER_TURN {
            let Some(transmit) = self.agent.as_mut().and_then(Agent::poll_transmit) else {
                self.drain_events();
                return Drained::Idle;
            };
            self.transmit(transmit, now);
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
        shell::start(self, ctx);
    }
}

impl Handler<IceCommand> for IceAgentActor {
    type Result = ();

    fn handle(&mut self, command: IceCommand, ctx: &mut Self::Context) {
        shell::turn(self, ctx, |actor, now| actor.command(command, now));
    }
}

impl Handler<Checks> for IceAgentActor {
    type Result = ();

    fn handle(&mut self, checks: Checks, ctx: &mut Self::Context) {
        shell::turn(self, ctx, |actor, now| actor.take_checks(&checks.0, now));
    }
}

impl Handler<GetIceStats> for IceAgentActor {
    type Result = IceStats;

    fn handle(&mut self, _: GetIceStats, _: &mut Self::Context) -> IceStats {
        IceStats {
            path: self.selected,
            role: self.agent.as_ref().map(Agent::role),
            engine: self.agent.as_ref().map(Agent::stats).unwrap_or_default(),
            inlet_overflow: self.registration.stats().overflowed,
        }
    }
}

supervised!(IceAgentActor);
