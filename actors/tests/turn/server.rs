//! A TURN server of our own for one test.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How long the server may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `turnserver` process on loopback; killed when dropped.
pub(crate) struct Coturn {
    process: Child,
    /// STUN and TURN over UDP and TCP.
    pub(crate) port: u16,
    /// TURN over TLS.
    pub(crate) tls_port: u16,
    /// What it shows over TLS, DER.
    pub(crate) certificate: Bytes,
    files: tempfile::TempDir,
}

impl Drop for Coturn {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Coturn {
    /// `None`, with a word about it, where there is no `turnserver`.
    pub(crate) async fn start(more: &[&str]) -> Option<Coturn> {
        let ipv4 = ["--relay-ip=127.0.0.1"];
        Self::start_at(&[&ipv4, more].concat())
    }

    /// The same without an address to relay at, which `more` has to name.
    pub(crate) fn start_at(more: &[&str]) -> Option<Coturn> {
        if !installed() {
            return None;
        }
        let files = tempfile::tempdir().expect("a directory");
        let name = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(name).expect("a certificate");
        let write = |name: &str, text: String| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let certificate = write("certificate.pem", made.cert.pem());
        let key = write("key.pem", made.signing_key.serialize_pem());
        let [port, tls_port] = free_ports();
        let process = command(port, tls_port, &certificate, &key, files.path())
            .args(more)
            .spawn()
            .expect("turnserver can be started");
        let mut server = Coturn {
            process,
            port,
            tls_port,
            certificate: made.cert.der().to_vec().into(),
            files,
        };
        server.wait_until_up();
        Some(server)
    }

    /// Ends it, and starts another one at the same ports, which knows nothing of the first one's
    /// relays.
    pub(crate) fn restart(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a process");
        let files = self.files.path();
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| files.join(name));
        self.process = command(self.port, self.tls_port, &certificate, &key, files)
            .arg("--relay-ip=127.0.0.1")
            .spawn()
            .expect("turnserver can be started");
        self.wait_until_up();
    }

    /// How many allocations it has at the moment.
    pub(crate) fn allocations(&self) -> usize {
        let log = std::fs::read_to_string(self.files.path().join("log")).expect("its log");
        let count = |what| log.lines().filter(|line| line.contains(what)).count();
        count(": new, realm=") - count(": delete: realm=<example.org>, username=<ada>")
    }

    fn wait_until_up(&mut self) {
        let end = Instant::now() + PATIENCE;
        let open = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        while !(open(self.port) && open(self.tls_port)) {
            let ended = self.process.try_wait().expect("a process");
            assert!(ended.is_none(), "turnserver ended: {ended:?}");
            assert!(Instant::now() < end, "turnserver does not come up");
            std::thread::yield_now();
        }
    }
}

fn command(port: u16, tls_port: u16, certificate: &Path, key: &Path, dir: &Path) -> Command {
    let mut command = Command::new("turnserver");
    let both = TcpListener::bind("[::1]:0").is_ok();
    let ipv6: &[&str] = if both { &["--listening-ip=::1"] } else { &[] };
    command
        .args(ipv6)
        .args(["-n", "--no-cli", "--no-dtls", "--lt-cred-mech"])
        .arg("--listening-ip=127.0.0.1")
        .args([
            "--allow-loopback-peers",
            "--realm=example.org",
            "--user=ada:secret",
        ])
        .args(["--verbose", "--simple-log"])
        .arg(format!("--log-file={}", dir.join("log").display()))
        .arg(format!("--listening-port={port}"))
        .arg(format!("--tls-listening-port={tls_port}"))
        .arg(format!("--cert={}", certificate.display()))
        .arg(format!("--pkey={}", key.display()))
        .arg(format!("--pidfile={}", dir.join("pid").display()))
        .arg(format!("--userdb={}", dir.join("db").display()))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Ports that nobody has just now.
fn free_ports() -> [u16; 2] {
    [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .map(|listener| listener.local_addr().expect("an address").port())
}

#[allow(clippy::print_stderr, reason = "a skipped test has to say so")]
fn installed() -> bool {
    let found = Command::new("turnserver")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("SKIPPED: turnserver is not installed; apt-get install coturn");
        assert!(std::env::var_os("CI").is_none(), "turnserver is missing");
    }
    found
}
