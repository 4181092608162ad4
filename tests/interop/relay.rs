//! The TURN server of one run: coturn on loopback, over UDP, TCP and TLS.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cases::Way;

const SERVER: &str = "turnserver";
const USER: (&str, &str) = ("ada", "secret");
/// How long the server may take to come up.
const START_LIMIT: Duration = Duration::from_secs(20);
const START_POLL: Duration = Duration::from_millis(20);
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Ends when dropped.
pub(crate) struct Relay {
    process: Child,
    port: u16,
    tls_port: u16,
    files: TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Whether there is no such server here.
pub(crate) fn missing() -> bool {
    let mut command = Command::new(SERVER);
    command.arg("--version").stdout(Stdio::null());
    command.stderr(Stdio::null()).status().is_err()
}

impl Relay {
    pub(crate) fn start() -> Result<Self, String> {
        let text = |error: std::io::Error| format!("{SERVER}: {error}");
        let files = tempfile::tempdir().map_err(text)?;
        let names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        let write = |name, text| std::fs::write(files.path().join(name), text);
        write(CERTIFICATE, made.cert.pem()).map_err(text)?;
        write(KEY, made.signing_key.serialize_pem()).map_err(text)?;
        let (port, tls_port) = (free_port().map_err(text)?, free_port().map_err(text)?);
        let process = command(&files, port, tls_port).spawn().map_err(text)?;
        let mut relay = Self {
            process,
            port,
            tls_port,
            files,
        };
        relay.wait_until_up()?;
        Ok(relay)
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let end = Instant::now() + START_LIMIT;
        let open = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while !(open(self.port) && open(self.tls_port)) {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("{SERVER} ended by itself: {status}"));
            }
            if Instant::now() > end {
                return Err(format!("{SERVER} does not answer"));
            }
            std::thread::sleep(START_POLL);
        }
        Ok(())
    }

    /// What both peers are made with on this way.
    pub(crate) fn config(&self, way: Way) -> Value {
        let (port, tls_port) = (self.port, self.tls_port);
        let url = match way {
            Way::Direct | Way::Mdns | Way::Tcp => return json!({}),
            Way::TurnUdp => format!("turn:127.0.0.1:{port}?transport=udp"),
            Way::TurnTcp => format!("turn:127.0.0.1:{port}?transport=tcp"),
            // Firefox speaks TLS to names only.
            Way::TurnTls => format!("turns:localhost:{tls_port}?transport=tcp"),
        };
        let (username, credential) = USER;
        json!({
            "iceServers": [{"urls": [url], "username": username, "credential": credential}],
            "iceTransportPolicy": "relay",
        })
    }

    /// The certificate that its clients are to trust, PEM.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.files.path().join(CERTIFICATE)
    }
}

fn command(files: &TempDir, port: u16, tls_port: u16) -> Command {
    let file = |name| files.path().join(name).display().to_string();
    let mut command = Command::new(SERVER);
    command
        .args(["-n", "--no-cli", "--no-dtls", "--lt-cred-mech"])
        .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
        .args(["--allow-loopback-peers", "--realm=example.org"])
        .args(["--log-file=stdout", "--simple-log"])
        .arg(format!("--user={}:{}", USER.0, USER.1))
        .arg(format!("--listening-port={port}"))
        .arg(format!("--tls-listening-port={tls_port}"))
        .arg(format!("--cert={}", file(CERTIFICATE)))
        .arg(format!("--pkey={}", file(KEY)))
        .arg(format!("--pidfile={}", file("pid")))
        .arg(format!("--userdb={}", file("db")))
        .current_dir(files.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A port that nobody has just now.
fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
