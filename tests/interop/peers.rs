//! The peers that can be put against each other: how each is started, and what
//! it takes to have it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::Case;

/// An implementation of WebRTC that speaks the JSON-lines peer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Peerloom,
    Chromium,
    /// Chromium as it is in a page without camera permission: its host
    /// candidates are mDNS names.
    ChromiumMdns,
    Aiortc,
    WebrtcRs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peerloom => "peerloom",
            Self::Chromium => "chromium",
            Self::ChromiumMdns => "chromium-mdns",
            Self::Aiortc => "aiortc",
            Self::WebrtcRs => "webrtc-rs",
        })
    }
}

const CHROMIUM_PLACES: [&str; 2] = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];

impl Kind {
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Peerloom => {
                let mut command = Command::new(peerloom());
                command.arg("peer");
                command
            }
            Self::Chromium | Self::ChromiumMdns => {
                let mut command = Command::new("node");
                command.arg(foreign("chromium/peer.mjs"));
                command.env(
                    "CHROMIUM",
                    chromium().unwrap_or_else(|| CHROMIUM_PLACES[0].into()),
                );
                if self == Self::ChromiumMdns {
                    command.env("PEER_MDNS", "1");
                }
                command
            }
            Self::Aiortc => {
                let mut command = Command::new(venv_python());
                command.arg(foreign("aiortc/peer.py"));
                command
            }
            Self::WebrtcRs => Command::new(webrtc_rs().unwrap_or_else(|| "webrtc-rs-peer".into())),
        }
    }

    /// What is missing for this peer, and how to install it.
    fn missing(self) -> Option<String> {
        match self {
            Self::Peerloom => None,
            Self::Chromium | Self::ChromiumMdns => {
                let node = runs(Command::new("node").arg("--version"));
                (chromium().is_none() || !node).then(|| "no Chromium or no Node; install with: apt-get install chromium nodejs".to_owned())
            }
            Self::Aiortc => {
                let there = runs(Command::new(venv_python()).args(["-c", "import aiortc"]));
                (!there).then(|| {
                    "no aiortc; install with: python3 -m venv target/interop/venv && \
                     target/interop/venv/bin/pip install -r tests/interop/foreign/aiortc/requirements.txt"
                        .to_owned()
                })
            }
            Self::WebrtcRs => webrtc_rs().is_none().then(|| {
                "no webrtc 0.17 peer; install with: cargo build --manifest-path benches/rivals/Cargo.toml".to_owned()
            }),
        }
    }
}

/// What is missing for each kind of peer, looked up once.
#[derive(Default)]
pub(crate) struct Missing(BTreeMap<Kind, Option<String>>);

impl Missing {
    /// Why `case` cannot run here, if it cannot.
    pub(crate) fn of(&mut self, case: &Case) -> Option<String> {
        [case.driver, case.responder]
            .into_iter()
            .find_map(|kind| self.0.entry(kind).or_insert_with(|| kind.missing()).clone())
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

fn venv_python() -> PathBuf {
    root().join("target/interop/venv/bin/python")
}

fn chromium() -> Option<PathBuf> {
    CHROMIUM_PLACES
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
}

/// The release build first, where there is one.
fn webrtc_rs() -> Option<PathBuf> {
    let target = root().join("benches/rivals/target");
    ["release", "debug"]
        .map(|profile| target.join(profile).join("webrtc-rs-peer"))
        .into_iter()
        .find(|path| path.exists())
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
