//! `peerloom join`: a chat-like session in a room, on stdin and stdout.

mod input;

use std::io::IsTerminal;
use std::time::Duration;

use futures::StreamExt;
use peerloom::{Channel, ChannelSender, Mesh, PeerId, Received, Room};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::failure::{Failure, chain};
use super::interrupt::Interrupt;
use super::node::{self, LOBBY, NodeArgs};
use super::output::{self, Format};
use super::tell::{Teller, members_json, name_of, printable};
use input::Request;

/// The channel of the room that chat goes through.
const CHAT: &str = "chat";

/// Direct messages under way at the same time; reading stdin waits beyond it.
const SENDING: usize = 64;

/// How long a script's first line waits for somebody to be there.
const COMPANY: Duration = Duration::from_secs(60);

/// How long somebody at a terminal is left without a word about being alone (guess).
const ALONE: Duration = Duration::from_secs(5);

/// Join a mesh and talk in a room, on stdin and stdout
///
/// Every line of stdin goes to the room, except for these:
///
///   /msg PEER TEXT  to one member only, by nick, id or the end of its id
///   /who            lists the members
///   /quit           leaves; so do Ctrl-C and the end of stdin
///
/// With --json, stdin takes objects instead: {"say":"…"},
/// {"say":"…","to":"PEER"}, {"who":true}, {"quit":true}.
///
/// If stdin is not a terminal, the first line waits until somebody is there to
/// hear it, and the exit code is 1 if a line could not be carried out.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Ticket of a node of the mesh, as peerloom up prints it.
    ticket: String,
    /// Room to talk in.
    #[arg(long, value_name = "R", default_value = LOBBY)]
    room: String,
    #[command(flatten)]
    node: NodeArgs,
    /// Read and write JSON lines.
    #[arg(long)]
    json: bool,
}

/// What is said in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Say {
    text: String,
}

/// Joins, talks until stdin ends or somebody asks to leave, and leaves.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut interrupted = Interrupt::listen();
    let format = Format::new(args.json);
    let ticket = node::ticket(&args.ticket)?;
    let name = ticket.mesh().to_owned();
    let mesh = node::open(args.node.config(&name, vec![ticket])).await?;
    let session = Session::join(&mesh, &args.room, format).await?;
    let outcome = tokio::select! {
        () = interrupted.asked() => Ok(()),
        outcome = session.run() => outcome,
    };
    output::with_progress("leaving", mesh.close()).await;
    outcome
}

struct Session {
    format: Format,
    mesh: Mesh,
    room: Room,
    channel: Channel<Say>,
    sender: ChannelSender<Say>,
    sending: JoinSet<Result<(), Failure>>,
    /// Lines that could not be carried out.
    failed: usize,
}

impl Session {
    async fn join(mesh: &Mesh, room: &str, format: Format) -> Result<Self, Failure> {
        let room = node::enter(mesh, room).await?;
        let channel = room
            .channel::<Say>(CHAT)
            .await
            .map_err(|error| Failure::new("cannot open the chat").because(&error))?;
        Ok(Self {
            format,
            mesh: mesh.clone(),
            sender: channel.sender(),
            room,
            channel,
            sending: JoinSet::new(),
            failed: 0,
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let mut events = self.mesh.events();
        let mut teller = Teller::new(self.room.clone());
        self.introduce().await?;
        let script = !std::io::stdin().is_terminal();
        if script {
            self.await_company().await?;
        }
        let mut requests = input::read(self.format);
        let mut reading = true;
        let mut alone = std::pin::pin!(tokio::time::sleep(ALONE));
        let mut waited = script;
        while reading || !self.sending.is_empty() {
            tokio::select! {
                request = next_request(&mut requests), if reading && self.sending.len() < SENDING => {
                    reading = match request {
                        Some(Ok(Request::Quit)) | None => false,
                        Some(Ok(request)) => self.carry_out(request).await.map(|()| true)?,
                        Some(Err(why)) => self.fail(&why).map(|()| true)?,
                    };
                }
                Some(sent) = self.sending.join_next() => {
                    if let Ok(Err(failure)) = sent {
                        self.fail(&failure.to_string())?;
                    }
                }
                () = &mut alone, if !waited => {
                    waited = true;
                    self.mention_being_alone()?;
                }
                received = self.channel.recv() => match received {
                    Some(received) => self.show(&received)?,
                    None => break,
                },
                event = events.next() => match event {
                    Some(event) => {
                        if let Some(told) = teller.tell(&event) {
                            output::told(self.format, &format!("* {}", told.text), &told.json)?;
                        }
                    }
                    None => break,
                },
            }
        }
        if script && self.failed > 0 {
            return Err(Failure::new("some lines of stdin were not carried out")
                .because_of(format!("{} failed", self.failed))
                .hint("stdout says why"));
        }
        Ok(())
    }

    async fn introduce(&self) -> Result<(), Failure> {
        let failed =
            |error: peerloom::Error| Failure::new("the node does not listen").because(&error);
        let me = self.mesh.peer_id();
        // With its ticket a node knows where it listens.
        self.mesh.ticket().await.map_err(failed)?;
        let addresses = self.mesh.addresses().await.map_err(failed)?;
        let sockets = node::sockets(&self.mesh);
        let mut text = vec![format!("* you are {me} in room {}", self.room.name())];
        text.extend(
            addresses
                .iter()
                .map(|address| format!("* listens {address}")),
        );
        text.extend(
            sockets
                .iter()
                .map(|socket| format!("* peers   udp {socket}")),
        );
        let json = json!({
            "event": "joined",
            "peer": me.to_string(),
            "mesh": self.mesh.name(),
            "room": self.room.name(),
            "addresses": addresses,
            "sockets": sockets,
        });
        output::told(self.format, &text.join("\n"), &json)
    }

    /// A script's lines wait until somebody can hear them.
    async fn await_company(&self) -> Result<(), Failure> {
        let mut members = self.room.members();
        let company = async {
            while let Some(roster) = members.next().await {
                if roster.iter().any(|member| member.linked && !member.me) {
                    return true;
                }
            }
            false
        };
        let waiting = format!("waiting for somebody in room {}", self.room.name());
        let company = output::with_progress(&waiting, tokio::time::timeout(COMPANY, company));
        match company.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Failure::new("nobody is in the room")
                .because_of(format!("no link came up in {} s", COMPANY.as_secs()))
                .hint("check that the ticket's node runs and can be reached")),
        }
    }

    /// Silence at a terminal reads as a fault; this says what it means.
    fn mention_being_alone(&self) -> Result<(), Failure> {
        let company = |member: &peerloom::Member| member.linked && !member.me;
        if self.room.roster().iter().any(company) {
            return Ok(());
        }
        let what =
            "nobody reached yet; still trying: does the ticket's node run, and can it be reached?";
        let json = json!({"event": "alone", "hint": what});
        output::told(self.format, &format!("* {what}"), &json)
    }

    async fn carry_out(&mut self, request: Request) -> Result<(), Failure> {
        match request {
            Request::Say { text, to: None } => self.say(text).await,
            Request::Say { text, to: Some(to) } => match self.find(&to) {
                Ok(peer) => {
                    self.whisper(peer, text);
                    Ok(())
                }
                Err(why) => self.fail(&why),
            },
            Request::Who => self.who(),
            Request::Quit => Ok(()),
        }
    }

    async fn say(&mut self, text: String) -> Result<(), Failure> {
        match self.sender.broadcast(&Say { text }).await {
            Ok(()) => Ok(()),
            Err(error) => self.fail(&format!("not sent: {}", chain(&error))),
        }
    }

    /// Sends to one member; the acknowledgement is told when it comes.
    fn whisper(&mut self, peer: PeerId, text: String) {
        let sender = self.sender.clone();
        let format = self.format;
        self.sending.spawn(async move {
            sender.send(peer, &Say { text }).await.map_err(|error| {
                Failure::new(format!("not delivered to {}", peer.short())).because(&error)
            })?;
            let json = json!({"event": "delivered", "to": peer.to_string()});
            output::told(format, &format!("* delivered to {}", peer.short()), &json)
        });
    }

    /// A member by its id, the end of its id, or its nick.
    fn find(&self, wanted: &str) -> Result<PeerId, String> {
        let roster = self.room.roster();
        let is_wanted = |member: &&peerloom::Member| {
            !wanted.is_empty()
                && !member.me
                && (member.nick.as_deref() == Some(wanted)
                    || member.peer.to_string().ends_with(wanted))
        };
        let mut found = roster.iter().filter(is_wanted);
        match (found.next(), found.next()) {
            (Some(member), None) => Ok(member.peer),
            (None, _) => Err(format!("nobody here is {wanted:?}; /who lists the members")),
            (Some(_), Some(_)) => Err(format!("{wanted:?} is more than one; use the whole id")),
        }
    }

    fn who(&self) -> Result<(), Failure> {
        let roster = self.room.roster();
        let line = |member: &peerloom::Member| {
            let marks = match (member.me, member.linked) {
                (true, _) => "you",
                (false, true) => "linked",
                (false, false) => "known",
            };
            format!("* {:<7} {}", marks, name_of(&self.room, member.peer))
        };
        let text: Vec<String> = roster.iter().map(line).collect();
        output::told(self.format, &text.join("\n"), &members_json(&roster))
    }

    fn show(&self, received: &Received<Say>) -> Result<(), Failure> {
        let from = name_of(&self.room, received.from);
        let mark = if received.direct { " (to you)" } else { "" };
        let text = format!("{from}{mark}: {}", printable(&received.value.text));
        let json = json!({
            "event": "message",
            "from": received.from.to_string(),
            "direct": received.direct,
            "hops": received.hops,
            "text": received.value.text,
        });
        output::told(self.format, &text, &json)
    }

    /// Says why a line could not be carried out.
    fn fail(&mut self, what: &str) -> Result<(), Failure> {
        self.failed += 1;
        self.note(what)
    }

    fn note(&self, what: &str) -> Result<(), Failure> {
        let json = json!({"event": "error", "error": what});
        output::told(self.format, &format!("* {what}"), &json)
    }
}

async fn next_request(
    requests: &mut mpsc::Receiver<Result<Request, String>>,
) -> Option<Result<Request, String>> {
    requests.recv().await
}
