//! What `up` and `join` share: the settings of a node, and its start.

use std::net::SocketAddr;
use std::path::PathBuf;

use peerloom::{Config, Data, DataTransport, GossipError, JoinError, Mesh, Room, Ticket};

use super::failure::Failure;
use super::output;

/// The room of those who name none.
pub(crate) const LOBBY: &str = "lobby";

/// How a node is set up.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Where identity and memory are kept, instead of the platform's data
    /// directory.
    #[arg(long, value_name = "DIR", conflicts_with = "guest")]
    data: Option<PathBuf>,
    /// Keep nothing: a new identity, forgotten at the end.
    #[arg(long)]
    guest: bool,
    /// Multiaddress that gossip listens on, instead of all interfaces
    /// (repeatable).
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Address of the peer connections' socket, instead of all interfaces
    /// (repeatable).
    #[arg(long, value_name = "ADDR")]
    bind: Vec<SocketAddr>,
    /// What carries links.
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    transport: Transport,
    /// Do not look for peers on the local network.
    #[arg(long)]
    no_mdns: bool,
    /// What others see you called.
    #[arg(long, value_name = "N")]
    nick: Option<String>,
}

/// What carries links.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Transport {
    /// SCTP over DTLS.
    #[default]
    Sctp,
    /// QUIC with members that speak it too, SCTP with others.
    Auto,
    /// QUIC, or no link.
    Quic,
}

impl From<Transport> for DataTransport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Sctp => Self::Sctp,
            Transport::Auto => Self::Auto,
            Transport::Quic => Self::Quic,
        }
    }
}

impl NodeArgs {
    /// The settings of a node of `mesh` that knows these tickets.
    pub(crate) fn config(self, mesh: &str, tickets: Vec<Ticket>) -> Config {
        let mut config = Config::new(mesh).with_data(data(self.data, self.guest));
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        config.udp_bind = self.bind;
        config.transport = self.transport.into();
        config.mdns = !self.no_mdns;
        config.nick = self.nick;
        config.tickets = tickets;
        config
    }
}

/// Where a node keeps its identity and memory.
pub(crate) fn data(dir: Option<PathBuf>, guest: bool) -> Data {
    match dir {
        _ if guest => Data::Memory,
        Some(dir) => Data::Dir(dir),
        None => Data::Default,
    }
}

/// Starts a node.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other errors have to do with addresses"
)]
pub(crate) async fn open(config: Config) -> Result<Mesh, Failure> {
    const WHAT: &str = "cannot start the node";
    let opened = output::with_progress("starting", Mesh::open(config)).await;
    opened.map_err(|error| match &error {
        peerloom::Error::Store(_) => Failure::new(WHAT)
            .because(&error)
            .hint("--data DIR names another directory, --guest keeps nothing"),
        peerloom::Error::Config(why) => Failure::usage(WHAT).because_of(why),
        peerloom::Error::OtherMesh { .. } => Failure::usage(WHAT)
            .because(&error)
            .hint("--mesh names another"),
        peerloom::Error::Gossip(GossipError::Address { .. }) => Failure::usage(WHAT)
            .because(&error)
            .hint("--listen takes addresses such as /ip4/0.0.0.0/udp/4001/quic-v1"),
        _ => Failure::new(WHAT)
            .because(&error)
            .hint("--listen and --bind choose other addresses"),
    })
}

/// Joins a room.
pub(crate) async fn enter(mesh: &Mesh, room: &str) -> Result<Room, Failure> {
    const WHAT: &str = "cannot join the room";
    mesh.join(room).await.map_err(|error| match error {
        JoinError::Name => Failure::usage(WHAT)
            .because(&error)
            .hint("choose another --room"),
        JoinError::TooMany { .. } | JoinError::Closed | _ => Failure::new(WHAT).because(&error),
    })
}

/// Where the peer connections' sockets are bound, as text.
pub(crate) fn sockets(mesh: &Mesh) -> Vec<String> {
    let sockets = mesh.sockets();
    sockets.iter().map(ToString::to_string).collect()
}

/// Reads a ticket from the command line.
pub(crate) fn ticket(text: &str) -> Result<Ticket, Failure> {
    text.parse().map_err(|error: peerloom::TicketError| {
        Failure::usage("cannot read the ticket")
            .because(&error)
            .hint("copy the whole line that peerloom up prints, it begins with peerloom1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_keeps_nothing() {
        assert_eq!(data(None, false), Data::Default);
        assert_eq!(data(None, true), Data::Memory);
        assert_eq!(data(Some("d".into()), false), Data::Dir("d".into()));
    }

    #[test]
    fn something_else_than_a_ticket_is_bad_usage() {
        let failure = ticket("peerloom1").expect_err("no ticket");
        assert!(failure.to_string().contains("copy the whole line"));
    }
}
