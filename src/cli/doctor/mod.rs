//! `peerloom doctor`: why can't I connect?

mod credential;
mod gather;
mod report;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use peerloom::webrtc::{
    Endpoint, EndpointConfig, IceServer, Runtime, RuntimeConfig, ServerKind, ServerTransport,
    ServerUrl,
};
use peerloom::{Event, PeerId};

use super::failure::Failure;
use super::node::{self, LOBBY};
use super::output::{self, Format};
use gather::{gather, through};
use report::{PeerFinding, Report, ServerFinding};

/// How long a peer may take to be reached. Guess: twice an attempt of a mesh link.
const PEER_PATIENCE: Duration = Duration::from_secs(40);

/// Why can't I connect? Looks at addresses, NAT and relays, and says so in words.
///
/// Without --server only what needs no server is examined. Two STUN servers tell
/// what kind of NAT is in the way.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ticket of a peer to try to reach.
    #[arg(value_name = "PEER")]
    peer: Option<String>,
    /// STUN or TURN server to test: stun:host, turn:host, turns:host
    /// (repeatable). A turn: URL without ?transport= is tried over UDP and TCP.
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
    /// User of the TURN servers.
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// File whose first line is the password of the TURN servers. Without it the
    /// variable PEERLOOM_TURN_CREDENTIAL counts.
    #[arg(long, value_name = "PATH", requires = "username")]
    credential_file: Option<PathBuf>,
    /// The password itself, for all users of this machine to see.
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "username",
        conflicts_with = "credential_file"
    )]
    credential: Option<String>,
    /// Local address to bind, instead of all interfaces (repeatable).
    #[arg(long = "bind", value_name = "ADDR")]
    bind: Vec<SocketAddr>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Examines and reports. Findings, good or bad, are no failure of the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let servers = servers(&args)?;
    let ticket = args.peer.as_deref().map(node::ticket).transpose()?;
    let runtime = Runtime::start(RuntimeConfig::default())
        .map_err(|error| Failure::new("cannot start the runtime").because(&error))?;
    let config = EndpointConfig {
        bind: args.bind.clone(),
    };
    let endpoint = Endpoint::bind(&runtime, config)
        .await
        .map_err(|error| Failure::new("cannot open a socket").because(&error))?;
    let mut report = Report::default();
    let examined = examine(&endpoint, servers, &mut report);
    output::with_progress("asking servers", examined).await?;
    if let Some(ticket) = ticket {
        let peer = ticket.peer();
        let reached = reach(peer, ticket, args.bind);
        let finding = output::with_progress("reaching the peer", reached).await?;
        report.peer = Some(finding);
    }
    let text = report.text();
    output::told(Format::new(args.json), text.trim_end(), &report.json())
}

/// The servers to test, one URL each.
fn servers(args: &Args) -> Result<Vec<(ServerUrl, IceServer)>, Failure> {
    let credential = credential::credential(args)?;
    let mut all = Vec::new();
    for text in &args.servers {
        let bad =
            |why: String| Failure::usage(format!("cannot use --server {text}")).because_of(why);
        let url: ServerUrl = text.parse().map_err(|error| bad(format!("{error}")))?;
        if url.kind == ServerKind::Turn && (args.username.is_none() || credential.is_none()) {
            let hint = "--username and --credential-file go with turn servers";
            return Err(bad("it needs credentials".into()).hint(hint));
        }
        let mut urls = vec![url.clone()];
        let open = url.kind == ServerKind::Turn && url.transport == ServerTransport::Udp;
        if open && !text.contains('?') {
            let transport = ServerTransport::Tcp;
            urls.push(ServerUrl { transport, ..url });
        }
        for url in urls {
            let server = IceServer {
                urls: vec![url.to_string()],
                username: args.username.clone(),
                credential: credential.clone(),
            };
            all.push((url, server));
        }
    }
    Ok(all)
}

async fn examine(
    endpoint: &Endpoint,
    servers: Vec<(ServerUrl, IceServer)>,
    report: &mut Report,
) -> Result<(), Failure> {
    report.hosts = gather(endpoint, None).await?.hosts;
    for (url, server) in servers {
        let found = gather(endpoint, Some(server.clone())).await?;
        let relays = url.kind == ServerKind::Turn && !found.relayed.is_empty();
        let carries = if relays {
            Some(through(endpoint, server).await?)
        } else {
            None
        };
        report.servers.push(ServerFinding {
            url,
            mapped: found.mapped,
            relayed: found.relayed,
            error: found.error,
            carries,
        });
    }
    Ok(())
}

/// Joins the peer's mesh as a guest and waits for a link to it.
async fn reach(
    peer: PeerId,
    ticket: peerloom::Ticket,
    bind: Vec<SocketAddr>,
) -> Result<PeerFinding, Failure> {
    let mut config = peerloom::Config::new(ticket.mesh());
    config.data = peerloom::Data::Memory;
    config.udp_bind = bind;
    config.tickets = vec![ticket];
    let mesh = node::open(config).await?;
    let mut events = mesh.events();
    let mut finding = PeerFinding::new(peer.to_string());
    let waiting = async {
        let _room = node::enter(&mesh, LOBBY).await?;
        while let Some(event) = events.next().await {
            if let Event::LinkFailed { peer: other, cause } = &event
                && *other == peer
            {
                finding.causes.push(cause.clone());
            }
            finding.linked |= matches!(&event, Event::LinkUp { peer: other, .. } if *other == peer);
            if finding.linked {
                break;
            }
        }
        Ok(())
    };
    // What was found out until then is what there is to say.
    let waited: Result<Result<(), Failure>, _> = tokio::time::timeout(PEER_PATIENCE, waiting).await;
    if let Ok(outcome) = waited {
        outcome?;
    }
    mesh.close().await;
    Ok(finding)
}
