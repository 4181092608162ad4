//! `peerloom up`: a node of a mesh.

use std::io::IsTerminal;

use futures::StreamExt;
use peerloom::{Member, Mesh, Room};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::lines;
use super::node::{self, LOBBY, NodeArgs};
use super::output::{self, Format};
use super::tell::{Teller, members_json};

/// A node of a mesh; prints its ticket and runs until Ctrl-C.
///
/// Gossip and peer connections bind all interfaces unless --listen and --bind
/// say otherwise.
///
/// With --json, stdin takes objects unless it is a terminal: {"who":true} for
/// the members of the room, {"watch":true} for them now and after each change,
/// {"quit":true}. The end of stdin does not end the node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the mesh; nodes of other meshes are strangers.
    #[arg(long, value_name = "M", default_value = "peerloom")]
    mesh: String,
    /// Room to be in.
    #[arg(long, value_name = "R", default_value = LOBBY)]
    room: String,
    /// Ticket of a node to begin with (repeatable).
    #[arg(long = "ticket", value_name = "TICKET")]
    tickets: Vec<String>,
    #[command(flatten)]
    node: NodeArgs,
    /// Report in JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the node until somebody asks it to end.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mut interrupted = Interrupt::listen();
    let format = Format::new(args.json);
    let tickets = args.tickets.iter().map(|text| node::ticket(text));
    let tickets = tickets.collect::<Result<Vec<_>, _>>()?;
    let mesh = node::open(args.node.config(&args.mesh, tickets)).await?;
    let mut events = mesh.events();
    let room = node::enter(&mesh, &args.room).await?;
    introduce(&mesh, &room, format).await?;
    let mut teller = Teller::new(room.clone());
    // A job in the background that reads its terminal is stopped by it.
    let asks = format.is_json() && !std::io::stdin().is_terminal();
    let mut requests = asks.then(|| lines::read(asked));
    let mut watching = futures::stream::pending().left_stream();
    loop {
        tokio::select! {
            () = interrupted.asked() => break,
            request = next_request(&mut requests) => match request {
                Ok(Request::Who) => tell_members(&room.roster())?,
                Ok(Request::Watch) => watching = room.members().right_stream(),
                Ok(Request::Quit) => break,
                Err(why) => output::told(format, &why, &json!({"event": "error", "error": why}))?,
            },
            Some(roster) = watching.next() => tell_members(&roster)?,
            event = events.next() => {
                let Some(event) = event else { break };
                if let Some(told) = teller.tell(&event) {
                    output::told(format, &told.text, &told.json)?;
                }
            }
        }
    }
    output::with_progress("leaving", mesh.close()).await;
    Ok(())
}

/// What a line of stdin asks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// List the members.
    Who,
    /// List them now and after each change.
    Watch,
    /// Leave.
    Quit,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Object {
    who: bool,
    watch: bool,
    quit: bool,
}

fn asked(line: &str) -> Result<Request, String> {
    let object: Object = serde_json::from_str(line)
        .map_err(|error| format!("not a request: {error}; write {{\"who\":true}}"))?;
    match object {
        Object { quit: true, .. } => Ok(Request::Quit),
        Object { watch: true, .. } => Ok(Request::Watch),
        Object { who: true, .. } => Ok(Request::Who),
        Object { .. } => Err("not a request: neither who, watch nor quit".into()),
    }
}

/// The next request; never, where none is read or stdin has ended.
async fn next_request(
    requests: &mut Option<mpsc::Receiver<Result<Request, String>>>,
) -> Result<Request, String> {
    if let Some(received) = requests {
        if let Some(request) = received.recv().await {
            return request;
        }
        *requests = None;
    }
    std::future::pending().await
}

/// Tells a program who is here.
fn tell_members(roster: &[Member]) -> Result<(), Failure> {
    output::told(Format::Json, "", &members_json(roster))
}

/// Says who and where this node is, and how to join it.
async fn introduce(mesh: &Mesh, room: &Room, format: Format) -> Result<(), Failure> {
    let failed = |error: peerloom::Error| Failure::new("cannot make a ticket").because(&error);
    let ticket = mesh.ticket().await.map_err(failed)?.to_string();
    let addresses = mesh.addresses().await.map_err(failed)?;
    let peer = mesh.peer_id().to_string();
    let json = json!({
        "event": "up",
        "peer": peer,
        "mesh": mesh.name(),
        "room": room.name(),
        "addresses": addresses,
        "sockets": node::sockets(mesh),
        "ticket": ticket,
    });
    let mut text = vec![
        format!("peer     {peer}"),
        format!("mesh     {}, room {}", mesh.name(), room.name()),
    ];
    text.extend(
        addresses
            .iter()
            .map(|address| format!("listens  {address}")),
    );
    let sockets = node::sockets(mesh).into_iter();
    text.extend(sockets.map(|socket| format!("peers    udp {socket}")));
    text.push(format!("ticket   {ticket}"));
    text.push("others join with: peerloom join TICKET; Ctrl-C leaves".to_owned());
    output::told(format, &text.join("\n"), &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_objects() {
        assert_eq!(asked(r#"{"who":true}"#), Ok(Request::Who));
        assert_eq!(asked(r#"{"watch":true}"#), Ok(Request::Watch));
        assert_eq!(asked(r#"{"quit":true}"#), Ok(Request::Quit));
        for line in ["who", "{}", r#"{"who":false}"#, r#"{"say":"hi"}"#] {
            assert!(asked(line).is_err(), "{line}");
        }
    }
}
