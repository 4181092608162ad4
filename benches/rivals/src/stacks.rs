//! Who takes part, and how each one's program comes to be.
//!
//! How a stack is configured is told at the head of its program: `stacks/*/src/main.rs`,
//! `stacks/pion/main.go`, `stacks/aiortc/rival.py`, `stacks/chromium/rival.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// What a stack speaks, for the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Ours.
    Peerloom,
    /// The machine itself.
    Limit,
    WebRtc,
    Quic,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    /// A package of this workspace.
    Cargo(&'static str),
    Pion,
    Aiortc,
    Chromium,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack {
    /// For `--stacks` and the report.
    pub(crate) key: &'static str,
    /// For the table.
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    program: Program,
    variant: Option<&'static str>,
}

const fn of(key: &'static str, name: &'static str, family: Family, program: Program) -> Stack {
    Stack {
        key,
        name,
        family,
        program,
        variant: None,
    }
}

const fn variant(variant: &'static str, stack: Stack) -> Stack {
    Stack {
        variant: Some(variant),
        ..stack
    }
}

use Family::{Limit, Peerloom, Quic, WebRtc};
use Program::{Aiortc, Cargo, Chromium, Pion};

/// All of them, in the order of the table. The first is what others are compared with.
#[rustfmt::skip]
pub(crate) const STACKS: &[Stack] = &[
    of("peerloom", "Peerloom (SCTP)", Peerloom, Cargo("rival-peerloom")),
    variant("quic", of("peerloom-quic", "Peerloom (QUIC)", Peerloom, Cargo("rival-peerloom"))),
    variant("packaged", of("peerloom-packaged", "Peerloom (packaged engines)", Peerloom, Cargo("rival-peerloom"))),
    of("webrtc-0.17", "webrtc 0.17", WebRtc, Cargo("rival-webrtc-0-17")),
    of("webrtc-0.21", "webrtc 0.21", WebRtc, Cargo("rival-webrtc-0-21")),
    of("str0m", "str0m 0.25", WebRtc, Cargo("rival-str0m")),
    of("matchbox", "matchbox 0.15", WebRtc, Cargo("rival-matchbox")),
    of("pion", "Pion 4.2", WebRtc, Pion),
    of("aiortc", "aiortc", WebRtc, Aiortc),
    of("chromium", "Chromium", WebRtc, Chromium),
    of("quinn", "quinn 0.11", Quic, Cargo("rival-quinn")),
    of("libp2p-quic", "libp2p-quic 0.14", Quic, Cargo("rival-libp2p-quic")),
    of("iroh", "iroh 1.4", Quic, Cargo("rival-iroh")),
    of("limit", "UDP, AES-128-GCM", Limit, Cargo("rival-limit")),
    variant("crc", of("limit-crc", "UDP, AES-128-GCM, CRC32C", Limit, Cargo("rival-limit"))),
];

/// The stacks that were asked for, or all.
pub(crate) fn chosen(keys: &[String]) -> Result<Vec<Stack>, String> {
    let known = |key: &&String| STACKS.iter().any(|stack| stack.key == key.as_str());
    if let Some(unknown) = keys.iter().find(|key| !known(key)) {
        return Err(format!("no stack {unknown} (see --list)"));
    }
    let wanted = |stack: &&Stack| keys.is_empty() || keys.iter().any(|key| key == stack.key);
    Ok(STACKS.iter().filter(wanted).copied().collect())
}

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    /// The folder of this workspace.
    rivals: PathBuf,
    /// The repository.
    root: PathBuf,
    /// Where the programs of this workspace are.
    programs: PathBuf,
}

impl Places {
    /// The runner lies beside the programs, and was built where it lies.
    pub(crate) fn find() -> Result<Self, Failure> {
        let programs = std::env::current_exe()?;
        let programs = programs.parent().ok_or("the runner is in no folder")?;
        let rivals = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = rivals.ancestors().nth(2).ok_or("no repository around")?;
        Ok(Self {
            rivals: rivals.to_owned(),
            root: root.to_owned(),
            programs: programs.to_owned(),
        })
    }

    /// Where the report goes unless told otherwise.
    pub(crate) fn report(&self) -> PathBuf {
        self.programs.join("report")
    }

    /// What `.ci/foreign` installs.
    fn foreign(&self, name: &str) -> PathBuf {
        self.root.join("target/interop").join(name)
    }
}

/// A command line, without the workload.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    environment: Vec<(&'static str, PathBuf)>,
    variant: Option<&'static str>,
}

impl Ready {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        if let Some(variant) = self.variant {
            command.args(["--variant", variant]);
        }
        command
    }
}

const FOREIGN: &str = "install it with `.ci/foreign`";

/// Builds a stack's program, or finds it; what to do where it is not there.
pub(crate) fn prepare(stack: &Stack, places: &Places, build: bool) -> Result<Ready, String> {
    let ready = |program: PathBuf, arguments: Vec<PathBuf>, environment| {
        let all = std::iter::once(&program).chain(&arguments);
        match all.into_iter().find(|path| !path.exists()) {
            None => Ok(Ready {
                program,
                arguments,
                environment,
                variant: stack.variant,
            }),
            Some(path) => Err(format!(
                "{} is not there; {}",
                short(path, places),
                hint(stack)
            )),
        }
    };
    match stack.program {
        Cargo(package) => {
            if build {
                cargo(package, places)?;
            }
            ready(places.programs.join(package), Vec::new(), Vec::new())
        }
        Pion => {
            if build {
                go(places)?;
            }
            ready(places.programs.join("rival-pion"), Vec::new(), Vec::new())
        }
        Aiortc => {
            let script = places.rivals.join("stacks/aiortc/rival.py");
            ready(places.foreign("venv/bin/python"), vec![script], Vec::new())
        }
        Chromium => {
            let script = places.rivals.join("stacks/chromium/rival.mjs");
            let node = [places.foreign("venv/bin/node"), "/usr/bin/node".into()];
            let node = node.into_iter().find(|node| node.exists());
            let modules = places.foreign("node");
            let browser =
                std::env::var_os("CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
            if !modules.join("node_modules/puppeteer-core").exists() || !browser.exists() {
                return Err(format!("no Chromium or puppeteer-core; {FOREIGN}"));
            }
            let environment = vec![("PEER_MODULES", modules), ("CHROMIUM", browser)];
            ready(node.unwrap_or_default(), vec![script], environment)
        }
    }
}

/// Without the part that is this machine's.
fn short(path: &Path, places: &Places) -> String {
    let path = path.strip_prefix(&places.root).unwrap_or(path);
    path.display().to_string()
}

fn hint(stack: &Stack) -> String {
    match stack.program {
        Cargo(package) => format!(
            "build it with `cargo build --release --manifest-path benches/rivals/Cargo.toml -p {package}`"
        ),
        Pion => "install Go 1.24 or later, or run `.ci/foreign`".to_owned(),
        Aiortc | Chromium => FOREIGN.to_owned(),
    }
}

fn cargo(package: &str, places: &Places) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--quiet", "--package", package]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.arg("--manifest-path");
    command.arg(places.rivals.join("Cargo.toml"));
    done(command, &format!("{package} does not build"))
}

/// With the machine's Go, or the one that `.ci/foreign` installs.
fn go(places: &Places) -> Result<(), String> {
    let candidates = [
        "go".into(),
        "/usr/local/go/bin/go".into(),
        places.foreign("venv/bin/go"),
    ];
    let works = |go: &PathBuf| {
        let version = Command::new(go).arg("version").output();
        version.is_ok_and(|version| version.status.success())
    };
    let go = candidates.into_iter().find(works);
    let go = go.ok_or("no Go here; install Go 1.24 or later, or run `.ci/foreign`")?;
    let mut command = Command::new(go);
    command
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-buildvcs=false")
        .args(["build", "-o"])
        .arg(places.programs.join("rival-pion"))
        .arg(".")
        .current_dir(places.rivals.join("stacks/pion"));
    done(command, "Pion's program does not build")
}

fn done(mut command: Command, otherwise: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{otherwise} ({status})")),
        Err(error) => Err(format!("{otherwise} ({error})")),
    }
}
