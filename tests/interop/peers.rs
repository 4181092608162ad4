//! The peers that can be put against each other: how each is started, and what
//! it takes to have it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::{Case, Way};
use crate::relay::{self, Relay};

/// An implementation of WebRTC that speaks the JSON-lines peer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Peerloom,
    Chromium,
    Firefox,
    Aiortc,
    Werift,
    Wrtc,
    Pion,
    Str0m,
    WebrtcRs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Peerloom => "peerloom",
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Aiortc => "aiortc",
            Self::Werift => "werift",
            Self::Wrtc => "wrtc",
            Self::Pion => "pion",
            Self::Str0m => "str0m",
            Self::WebrtcRs => "webrtc-rs",
        })
    }
}

const CHROMIUM_PLACES: [&str; 2] = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
const FIREFOX_PLACES: [&str; 2] = ["/usr/bin/firefox-esr", "/usr/bin/firefox"];
/// Installs every foreign part.
const INSTALL: &str = "bash .ci/foreign";

impl Kind {
    /// The peers of others, in the order of the matrix.
    pub(crate) const FOREIGN: [Self; 8] = [
        Self::Chromium,
        Self::Firefox,
        Self::Aiortc,
        Self::Werift,
        Self::Wrtc,
        Self::Pion,
        Self::Str0m,
        Self::WebrtcRs,
    ];

    /// The command that starts it.
    pub(crate) fn command(self, way: Way, relay: Option<&Relay>) -> Command {
        let mut command = match self {
            Self::Peerloom => {
                let mut command = Command::new(peerloom());
                command.arg("peer");
                command
            }
            Self::Chromium => {
                let mut command = node("chromium/peer.mjs");
                let browser = first(&CHROMIUM_PLACES);
                command.env("CHROMIUM", browser.unwrap_or(CHROMIUM_PLACES[0].into()));
                command
            }
            Self::Firefox => {
                let mut command = node("firefox/peer.mjs");
                let browser = first(&FIREFOX_PLACES);
                command.env("FIREFOX", browser.unwrap_or(FIREFOX_PLACES[0].into()));
                command
            }
            Self::Werift | Self::Wrtc => {
                let mut command = node("node/peer.mjs");
                command.arg(self.to_string());
                command
            }
            Self::Aiortc => {
                let mut command = Command::new(venv("python"));
                command.arg(foreign("aiortc/peer.py"));
                command
            }
            Self::Pion => Command::new(pion()),
            Self::Str0m => Command::new(rival("str0m-peer")),
            Self::WebrtcRs => Command::new(rival("webrtc-rs-peer")),
        };
        match way {
            Way::Direct => {}
            Way::TurnUdp | Way::TurnTcp => drop(command.env("PEER_LOOPBACK", "1")),
            Way::Mdns => drop(command.env("PEER_MDNS", "1")),
            Way::Tcp if self == Self::Peerloom => {
                command.args(["--listen-tcp", "0.0.0.0:0"]);
            }
            Way::Tcp => drop(command.env("PEER_TCP", "1")),
            Way::TurnTls => {
                // Most go by the system's certificates, browsers by their own.
                let certificate = relay.map(Relay::certificate).unwrap_or_default();
                command.env("SSL_CERT_FILE", &certificate);
                command.env("NODE_EXTRA_CA_CERTS", certificate);
                command.env("PEER_LOOPBACK", "1").env("PEER_INSECURE", "1");
            }
        }
        command
    }

    /// What is missing for this peer, and how to install it.
    fn missing(self) -> Option<String> {
        let there = match self {
            Self::Peerloom => true,
            Self::Chromium => first(&CHROMIUM_PLACES).is_some() && has_node(),
            Self::Firefox => {
                first(&FIREFOX_PLACES).is_some() && has_node() && has_module("puppeteer-core")
            }
            Self::Werift => has_node() && has_module("werift"),
            Self::Wrtc => has_node() && has_module("@roamhq/wrtc"),
            Self::Aiortc => runs(Command::new(venv("python")).args(["-c", "import aiortc"])),
            Self::Pion => pion().exists(),
            Self::Str0m => rival("str0m-peer").exists(),
            Self::WebrtcRs => rival("webrtc-rs-peer").exists(),
        };
        (!there).then(|| format!("{self} is not installed; install with: {INSTALL}"))
    }
}

/// What is missing for each kind of peer, looked up once.
#[derive(Default)]
pub(crate) struct Missing {
    kinds: BTreeMap<Kind, Option<String>>,
    relay: Option<bool>,
}

impl Missing {
    /// Why `case` cannot run here, if it cannot.
    pub(crate) fn of(&mut self, case: &Case) -> Option<String> {
        [case.driver, case.responder]
            .into_iter()
            .find_map(|kind| {
                let known = self.kinds.entry(kind).or_insert_with(|| kind.missing());
                known.clone()
            })
            .or_else(|| {
                let relay = case.way.is_relayed() && *self.relay.get_or_insert_with(relay::missing);
                relay.then(|| format!("coturn is not installed; install with: {INSTALL}"))
            })
    }
}

/// The `peerloom` built with these tests, unless `PEERLOOM_INTEROP_BIN` names
/// another (a release build, say).
fn peerloom() -> PathBuf {
    let other = std::env::var_os("PEERLOOM_INTEROP_BIN");
    other.map_or_else(|| env!("CARGO_BIN_EXE_peerloom").into(), PathBuf::from)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn foreign(path: &str) -> PathBuf {
    root().join("tests/interop/foreign").join(path)
}

/// A program of the virtual environment that `.ci/foreign` makes.
fn venv(program: &str) -> PathBuf {
    root().join("target/interop/venv/bin").join(program)
}

/// Where `.ci/foreign` installs packages of npm.
fn modules() -> PathBuf {
    root().join("target/interop/node")
}

/// A program for Node.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new(venv("node"));
    command.arg(foreign(script));
    command.env("PEER_MODULES", modules());
    command
}

fn has_node() -> bool {
    runs(Command::new(venv("node")).arg("--version"))
}

fn has_module(name: &str) -> bool {
    modules().join("node_modules").join(name).exists()
}

fn pion() -> PathBuf {
    root().join("target/interop/pion-peer")
}

fn first(places: &[&str]) -> Option<PathBuf> {
    let mut places = places.iter().map(PathBuf::from);
    places.find(|path| path.exists())
}

/// A peer of `benches/rivals`: the release build first, where there is one.
fn rival(name: &str) -> PathBuf {
    let target = root().join("benches/rivals/target");
    let [release, debug] = ["release", "debug"].map(|profile| target.join(profile).join(name));
    if release.exists() { release } else { debug }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
