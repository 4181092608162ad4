//! What `up` and `join` share: the settings of a node, and how what happens to
//! it is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use peerloom::{Config, Data, Event, GossipError, JoinError, Member, Mesh, PeerId, Room, Ticket};
use serde_json::{Value, json};

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
    /// Do not look for peers on the local network.
    #[arg(long)]
    no_mdns: bool,
    /// What others see you called.
    #[arg(long, value_name = "N")]
    nick: Option<String>,
}

impl NodeArgs {
    /// The settings of a node of `mesh` that knows these tickets.
    pub(crate) fn config(self, mesh: &str, tickets: Vec<Ticket>) -> Config {
        let mut config = Config::new(mesh).with_data(data(self.data, self.guest));
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        config.udp_bind = self.bind;
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

/// What people call a member: its nick and the end of its id, or its id.
pub(crate) fn name_of(room: &Room, peer: PeerId) -> String {
    let roster = room.roster();
    let member = roster.iter().find(|member| member.peer == peer);
    match member.and_then(|member| member.nick.as_deref()) {
        Some(nick) => format!("{} ({})", printable(nick), peer.short()),
        None => peer.short(),
    }
}

/// Text of others without control characters: it must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// A member, as `--json` shows it.
pub(crate) fn member_json(member: &Member) -> Value {
    json!({
        "peer": member.peer.to_string(),
        "nick": member.nick,
        "linked": member.linked,
        "me": member.me,
    })
}

/// Something that happened, for people and for programs.
pub(crate) struct Told {
    /// A sentence.
    pub(crate) text: String,
    /// An object with an `event` field.
    pub(crate) json: Value,
}

impl Told {
    fn about(event: &str, peer: PeerId, text: String) -> Self {
        let json = json!({"event": event, "peer": peer.to_string()});
        Self { text, json }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.json[name] = value.into();
        self
    }
}

/// Tells what an event means, if it is worth telling.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most events are no news to whoever only talks"
)]
pub(crate) fn tell(event: &Event, room: &Room) -> Option<Told> {
    let about = |name: &str, peer: &PeerId, what: &str| {
        let text = format!("{} {what}", name_of(room, *peer));
        Told::about(name, *peer, text)
    };
    match event {
        Event::MemberJoined { peer, .. } => Some(about("memberJoined", peer, "is here")),
        Event::MemberLeft { peer, .. } => Some(about("memberLeft", peer, "left")),
        Event::MemberDied { peer, .. } => Some(about("memberDied", peer, "is gone")),
        Event::LinkUp { peer, .. } => Some(about("linkUp", peer, "is linked")),
        Event::LinkDown { peer, cause, .. } => {
            let what = format!("lost its link: {cause}");
            Some(about("linkDown", peer, &what).with("cause", cause.to_string()))
        }
        Event::IdentityRefused { peer, cause } => {
            let what = format!("was refused: {cause}");
            Some(about("identityRefused", peer, &what).with("cause", cause.to_string()))
        }
        Event::IdentityChanged {
            known,
            offered,
            accepted,
        } => {
            let what = format!("claims the name {:?} of another key", known.name);
            let told = about("identityChanged", offered, &what);
            Some(
                told.with("name", known.name.clone())
                    .with("accepted", *accepted),
            )
        }
        Event::StoreRebuilt { moved_to, cause } => Some(Told {
            text: format!(
                "the database was damaged ({cause}) and rebuilt; the old one is {}",
                moved_to.display()
            ),
            json: json!({"event": "storeRebuilt", "cause": cause, "movedTo": moved_to}),
        }),
        Event::RecordDropped { cause } => Some(Told {
            text: format!("a damaged record was dropped from the database: {cause}"),
            json: json!({"event": "recordDropped", "cause": cause}),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_not_steer_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\r\nc"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c"
        );
        assert_eq!(printable("żółć 🧶"), "żółć 🧶");
    }

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
