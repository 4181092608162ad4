//! `peerloom id`: this machine's identity, and the assertions it remembers.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Subcommand;
use peerloom::webrtc::{Certificate, Fingerprint};
use peerloom::{Keyring, Occasion, PeerId};
use serde_json::json;

use super::failure::Failure;
use super::node::{self, LOBBY};
use super::output::{self, Format};
use super::tell::printable;

/// This machine's identity and the assertions it remembers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where the identity is kept, instead of the platform's data directory.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the peer id; an identity is created when there is none.
    Show,
    /// Make an assertion: this identity, with a fresh certificate, to one peer.
    Assert {
        /// Whom it is addressed to.
        #[arg(long, value_name = "PEER")]
        to: PeerId,
        #[command(flatten)]
        about: About,
    },
    /// Verify an assertion addressed to this identity.
    ///
    /// It can be asked again until the assertion expires; nodes take each
    /// assertion once.
    Verify {
        /// The assertion, as id assert prints it.
        assertion: String,
        /// Fingerprint of the certificate it should be about: sha-256 AB:CD:…
        #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint)]
        fingerprint: Fingerprint,
        /// The only peer it may be from.
        #[arg(long, value_name = "PEER")]
        from: Option<PeerId>,
        #[command(flatten)]
        about: About,
    },
    /// List the identities that were validated and are remembered.
    Peers,
    /// Forget a remembered identity.
    Forget {
        /// Its name, as id peers lists it.
        name: String,
    },
}

/// What an assertion is about.
#[derive(Debug, clap::Args)]
struct About {
    /// The mesh.
    #[arg(long, value_name = "M", default_value = "peerloom")]
    mesh: String,
    /// The room.
    #[arg(long, value_name = "R", default_value = LOBBY)]
    room: String,
    /// The session.
    #[arg(long, value_name = "S", default_value_t = 0)]
    session: u64,
}

impl From<About> for Occasion {
    fn from(about: About) -> Self {
        Self {
            mesh: about.mesh,
            room: about.room,
            session: about.session,
        }
    }
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).map_err(|error| error.to_string())
}

/// Carries out one of the subcommands.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let format = Format::new(args.json);
    let data = node::data(args.data, false);
    if matches!(args.command, Command::Show)
        && let Ok(Some(peer)) = Keyring::peek(&data)
    {
        return show(peer, false, format);
    }
    let keyring = Keyring::open(data).await.map_err(|error| {
        Failure::new("cannot open the identity")
            .because(&error)
            .hint("a node that runs has it open; --data DIR names another directory")
    })?;
    let outcome = carry_out(args.command, &keyring, format).await;
    keyring
        .close()
        .await
        .map_err(|error| Failure::new("cannot close the identity's store").because(&error))?;
    outcome
}

async fn carry_out(command: Command, keyring: &Keyring, format: Format) -> Result<(), Failure> {
    match command {
        Command::Show => show(keyring.peer_id(), keyring.created(), format),
        Command::Assert { to, about } => assert(keyring, format, to, &about.into()),
        Command::Verify {
            assertion,
            fingerprint,
            from,
            about,
        } => {
            let from_whom = verify(keyring, &assertion, &fingerprint, from, &about.into())?;
            let json = json!({"valid": true, "peer": from_whom.to_string()});
            output::told(format, &format!("valid, from {from_whom}"), &json)
        }
        Command::Peers => peers(keyring, format).await,
        Command::Forget { name } => forget(keyring, format, &name).await,
    }
}

fn show(peer: PeerId, created: bool, format: Format) -> Result<(), Failure> {
    let peer = peer.to_string();
    let json = json!({"peer": peer, "created": created});
    output::told(format, &peer, &json)
}

fn assert(
    keyring: &Keyring,
    format: Format,
    to: PeerId,
    occasion: &Occasion,
) -> Result<(), Failure> {
    let failed = || Failure::new("cannot make the assertion");
    let certificate =
        Certificate::generate(SystemTime::now()).map_err(|error| failed().because(&error))?;
    let assertion = keyring
        .assert(occasion, to, &certificate)
        .map_err(|error| failed().because(&error))?;
    let fingerprint = certificate.fingerprint().to_string();
    let json = json!({
        "assertion": assertion,
        "fingerprint": fingerprint,
        "from": keyring.peer_id().to_string(),
        "to": to.to_string(),
        "mesh": occasion.mesh,
        "room": occasion.room,
        "session": occasion.session,
    });
    let text = format!("fingerprint  {fingerprint}\nassertion    {assertion}");
    output::told(format, &text, &json)
}

fn verify(
    keyring: &Keyring,
    assertion: &str,
    fingerprint: &Fingerprint,
    from: Option<PeerId>,
    occasion: &Occasion,
) -> Result<PeerId, Failure> {
    let refused = || {
        Failure::new("the assertion was refused")
            .hint("ask its maker for a fresh one, made for this identity, room and session")
    };
    let peer = keyring
        .verify(assertion, occasion, fingerprint)
        .map_err(|error| refused().because(&error))?;
    match from {
        Some(from) if from != peer => {
            Err(refused().because_of(format!("it is by {peer}, not by {from}")))
        }
        Some(_) | None => Ok(peer),
    }
}

async fn peers(keyring: &Keyring, format: Format) -> Result<(), Failure> {
    let known = keyring
        .identities()
        .await
        .map_err(|error| Failure::new("cannot read the remembered identities").because(&error))?;
    let text: Vec<String> = known
        .iter()
        .map(|one| format!("{}  {}", PeerId::from_bytes(one.peer), printable(&one.name)))
        .collect();
    let list: Vec<_> = known
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "peer": PeerId::from_bytes(one.peer).to_string(),
                "firstSeen": one.first_seen,
                "lastSeen": one.last_seen,
            })
        })
        .collect();
    let json = json!({"identities": list});
    if text.is_empty() {
        return output::told(format, "nobody is remembered yet", &json);
    }
    output::told(format, &text.join("\n"), &json)
}

async fn forget(keyring: &Keyring, format: Format, name: &str) -> Result<(), Failure> {
    let failed = || Failure::new(format!("cannot forget {name:?}"));
    let known = keyring
        .forget(name)
        .await
        .map_err(|error| failed().because(&error))?;
    if !known {
        return Err(failed()
            .because_of("no such identity is remembered")
            .hint("peerloom id peers lists them"));
    }
    let json = json!({"forgotten": name});
    output::told(format, &format!("forgot {name}"), &json)
}
