//! `peerloom up`: a node of a mesh.

use futures::StreamExt;
use peerloom::{Mesh, Room};
use serde_json::json;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::node::{self, LOBBY, NodeArgs};
use super::output::{self, Format};
use super::tell::Teller;

/// A node of a mesh; prints its ticket and runs until Ctrl-C.
///
/// Gossip and peer connections bind all interfaces unless --listen and --bind
/// say otherwise.
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
    let mut teller = Teller::new(room);
    loop {
        tokio::select! {
            () = interrupted.asked() => break,
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
