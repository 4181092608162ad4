//! What lies between the routers: a switch, and coturn.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::certificate;
use crate::command::{Namespace, exists};

/// The server's address, of a block set aside for tests of networks (RFC 2544).
pub(crate) const SERVER: &str = "198.18.0.1";
/// Where packets to anywhere else go; nobody has this address.
const NOBODY: &str = "198.18.255.254";
pub(crate) const USER: &str = "loom";
pub(crate) const PASSWORD: &str = "shuttle";

/// How often the server is asked whether it is there yet.
const ATTEMPTS: usize = 100;
const BETWEEN: Duration = Duration::from_millis(100);

/// What keeps the lab from running here.
pub(crate) fn missing() -> Option<String> {
    let programs = [
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("turnserver", "coturn"),
        ("python3", "python3"),
    ];
    let lacking: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !exists(program, &["-h"]))
        .map(|(_, package)| *package)
        .collect();
    if !lacking.is_empty() {
        return Some(format!(
            "install with: apt-get install {}",
            lacking.join(" ")
        ));
    }
    let trial = Namespace::new("trial");
    let ruled = trial.and_then(|trial| trial.run(&["nft", "list", "ruleset"], ""));
    ruled
        .err()
        .map(|problem| format!("needs root and network namespaces: {problem}"))
}

pub(crate) struct Internet {
    namespace: Namespace,
    server: Child,
    kept: TempDir,
    sites: AtomicU8,
}

impl Internet {
    pub(crate) fn start() -> Result<Self, String> {
        let namespace = Namespace::new("inet")?;
        // Private addresses of the hosts lead nowhere, without an error: coturn
        // gives up an allocation whose peer it has no route to. The switch has a
        // hardware address of its own: it would take one of those of its ports, and
        // another when that port goes, and be lost to the routers for seconds.
        namespace.ip(&format!(
            "link add name switch address 02:00:00:00:00:02 type bridge\n\
             address add {SERVER}/16 dev switch\n\
             link set switch up\n\
             neighbour add {NOBODY} lladdr 02:00:00:00:00:01 dev switch\n\
             route add default via {NOBODY}\n"
        ))?;
        let kept = TempDir::new().map_err(|error| error.to_string())?;
        certificate::write(kept.path())?;
        let server = coturn(&namespace, kept.path())?;
        Ok(Self {
            namespace,
            server,
            kept,
            sites: AtomicU8::new(0),
        })
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The certificate authority that signed the server's certificate.
    pub(crate) fn authority(&self) -> std::path::PathBuf {
        self.kept.path().join(certificate::AUTHORITY)
    }

    /// A number for a new site; it comes round again after 250 sites.
    pub(crate) fn next_site(&self) -> u8 {
        self.sites.fetch_add(1, Ordering::Relaxed) % 250 + 1
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        if self.server.kill().is_ok() {
            drop(self.server.wait());
        }
    }
}

/// Starts coturn and waits until it answers.
fn coturn(namespace: &Namespace, folder: &Path) -> Result<Child, String> {
    let at = |file: &str| folder.join(file).display().to_string();
    let mut child = namespace
        .command("turnserver")
        .args(["-n", "--no-cli", "--lt-cred-mech"])
        .args(["--realm", "peerloom.test"])
        .args(["--user", &format!("{USER}:{PASSWORD}")])
        .args(["--listening-ip", SERVER, "--relay-ip", SERVER])
        .args(["--cert", &at(certificate::CHAIN)])
        .args(["--pkey", &at(certificate::KEY)])
        .args(["--pidfile", &at("pid"), "--userdb", &at("users")])
        .args(["--log-file", "stdout"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("turnserver does not start: {error}"))?;
    // The client waits for ever for an answer that was lost.
    for _ in 0..ATTEMPTS {
        if namespace
            .run(&["timeout", "1", "turnutils_stunclient", SERVER], "")
            .is_ok()
        {
            return Ok(child);
        }
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Err("turnserver ended by itself".to_owned());
        }
        thread::sleep(BETWEEN);
    }
    drop(child.kill());
    drop(child.wait());
    Err("turnserver does not answer".to_owned())
}
