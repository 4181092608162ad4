//! One session: commands in, signals and results out, in order.

use std::net::SocketAddr;

use peerloom::webrtc::{
    self, ConnectionState, DataChannelInit, IceCandidateInit, SessionDescription, SignalingState,
};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::channels::log;
use super::checks;
use super::live::{Live, States, is_up, next_event};
use super::stats::stats;
use super::wire::{BadLine, Command, CreateConfig, Event, parse};
use crate::cli::failure::Failure;

/// What this peer says it can do.
pub(crate) const FEATURES: &[&str] = &[
    "data",
    "trickle",
    "offer",
    "iceRestart",
    "renegotiate",
    "identity",
    "stats",
    "dtls1.3",
    "ipv6",
];

/// A peer process: nothing yet, or one peer connection.
pub(crate) struct Session {
    bind: Vec<SocketAddr>,
    listen_tcp: Vec<SocketAddr>,
    out: mpsc::Sender<Event>,
    live: Option<Live>,
}

impl Session {
    /// A session that binds these addresses, over UDP and TCP, and reports there.
    pub(crate) fn new(
        bind: Vec<SocketAddr>,
        listen_tcp: Vec<SocketAddr>,
        out: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            bind,
            listen_tcp,
            out,
            live: None,
        }
    }

    /// Serves commands until they end or say `exit`.
    pub(crate) async fn run(
        mut self,
        mut lines: mpsc::Receiver<Result<String, String>>,
    ) -> Result<(), Failure> {
        self.emit(Event::Ready {
            features: FEATURES.to_vec(),
            checks: checks::NAMES.to_vec(),
        })
        .await;
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    None => break,
                    Some(Err(why)) => log(&self.out, why).await,
                    Some(Ok(line)) if line.trim().is_empty() => {}
                    Some(Ok(line)) => {
                        if !self.take(&line).await {
                            break;
                        }
                    }
                },
                event = next_event(&mut self.live) => self.report(event).await,
            }
        }
        self.close().await;
        Ok(())
    }

    /// Does what one line asks; false when it asks to end.
    async fn take(&mut self, line: &str) -> bool {
        match parse(line) {
            Ok(Command::Exit) => return false,
            Ok(command) => self.carry_out(command).await,
            Err(BadLine { id: None, why }) => log(&self.out, why).await,
            Err(BadLine { id, why }) => self.answer(id, Err(json!({"error": why}))).await,
        }
        true
    }

    async fn carry_out(&mut self, command: Command) {
        match command {
            Command::Create { id, config, media } => {
                let outcome = self.create(config, &media).await;
                self.answer(id, done(outcome)).await;
            }
            Command::Offer { id, ice_restart } => {
                let outcome = self.offer(ice_restart).await;
                self.answer(id, done(outcome)).await;
            }
            Command::Signal {
                id,
                description,
                candidate,
            } => {
                let outcome = self.signal(description, candidate).await;
                self.signal_answer(id, outcome).await;
            }
            Command::Check { id, name, args } => self.check(id, name, args).await,
            Command::Stats { id } => {
                let outcome = self.stats().await;
                self.answer(id, outcome).await;
            }
            Command::AddMedia { id, .. } => {
                let refusal = "this peer has no media; leave it out";
                self.answer(id, Err(json!({"error": refusal}))).await;
            }
            Command::Close { id } => {
                self.close().await;
                self.answer(id, Ok(json!({}))).await;
            }
            Command::Exit => {}
        }
    }

    async fn create(&mut self, config: CreateConfig, media: &[String]) -> Result<(), String> {
        if self.live.is_some() {
            return Err("there is a connection already; one process is one peer".into());
        }
        if !media.is_empty() {
            return Err(format!("no media in this peer: {}", media.join(", ")));
        }
        self.live = Some(Live::create([&self.bind, &self.listen_tcp], config, &self.out).await?);
        self.report_states().await;
        Ok(())
    }

    async fn offer(&mut self, ice_restart: bool) -> Result<(), String> {
        let live = self.live()?;
        if live.connection.local_description().is_none()
            && live.connection.remote_description().is_none()
        {
            live.channels
                .open("boot", DataChannelInit::default())
                .await?;
        }
        live.channels.offer(ice_restart).await
    }

    async fn signal(
        &mut self,
        description: Option<SessionDescription>,
        candidate: Option<Option<IceCandidateInit>>,
    ) -> Result<(), String> {
        let answer = {
            let live = self.live()?;
            let answer = match description {
                Some(description) => live.describe(description).await?,
                None => None,
            };
            if let Some(candidate) = candidate {
                live.candidate(candidate).await?;
            }
            answer
        };
        if let Some(answer) = answer {
            self.emit(Event::Description(answer)).await;
        }
        Ok(())
    }

    /// `signal` lines carry no id in the protocol: what goes wrong is logged.
    async fn signal_answer(&self, id: Option<Value>, outcome: Result<(), String>) {
        match (&id, &outcome) {
            (None, Err(why)) => log(&self.out, format!("signal refused: {why}")).await,
            (None, Ok(())) => {}
            (Some(_), _) => self.answer(id, done(outcome)).await,
        }
    }

    /// Starts a check; its result comes when it is done.
    async fn check(&mut self, id: Option<Value>, name: String, args: Map<String, Value>) {
        match self.live() {
            Err(why) => self.answer(id, Err(json!({"error": why}))).await,
            Ok(live) => {
                let driver = live.driver.clone();
                let out = self.out.clone();
                tokio::spawn(async move {
                    let outcome = checks::run(driver, &name, args).await;
                    if let Some(id) = id {
                        drop(out.send(Event::Result { id, outcome }).await);
                    }
                });
            }
        }
    }

    async fn stats(&mut self) -> Result<Value, Value> {
        let refuse = |why: String| json!({"error": why});
        let live = self.live().map_err(refuse)?;
        let stats = stats(&live.connection).await.map_err(refuse)?;
        Ok(json!({"stats": stats}))
    }

    async fn close(&mut self) {
        if let Some(live) = self.live.take() {
            live.connection.close().await;
            live.endpoint.close().await;
        }
    }

    fn live(&mut self) -> Result<&mut Live, String> {
        self.live
            .as_mut()
            .ok_or_else(|| "no connection; send create first".to_owned())
    }

    /// Passes on what the connection reports.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what has no line of its own is logged"
    )]
    async fn report(&mut self, event: webrtc::Event) {
        match event {
            // The end of a generation: `null` follows, and says the same to the other side.
            webrtc::Event::IceCandidate(Some(candidate)) if candidate.is_end_of_candidates() => {}
            webrtc::Event::IceCandidate(candidate) => {
                let candidate = candidate.map(Into::into);
                if let Some(live) = &self.live {
                    live.channels.candidate(candidate).await;
                }
            }
            webrtc::Event::DataChannel(channel) => {
                if let Some(live) = &self.live {
                    live.channels.accept(channel);
                }
            }
            webrtc::Event::ConnectionStateChange { state, cause } => {
                let cause = cause.map(|cause| cause.to_string());
                self.change(|states| {
                    states.connection = state;
                    states.ever_connected |= state == ConnectionState::Connected;
                    states.cause = cause.or(states.cause.take());
                })
                .await;
            }
            webrtc::Event::SignalingStateChange(state) => {
                self.change(|states| {
                    states.signaling = state;
                    states.negotiations += u64::from(state == SignalingState::Stable);
                })
                .await;
            }
            webrtc::Event::IceConnectionStateChange(state) => {
                self.change(|states| {
                    states.ice_ups += u64::from(is_up(state) && !is_up(states.ice));
                    states.ice = state;
                })
                .await;
            }
            webrtc::Event::IceGatheringStateChange(state) => {
                self.change(|states| states.gathering = state).await;
            }
            other => log(&self.out, format!("{other:?}")).await,
        }
    }

    /// Changes the states as an event says, not as they are by now: nothing a
    /// connection went through is left out.
    async fn change(&self, change: impl FnOnce(&mut States)) {
        let Some(live) = &self.live else { return };
        live.states.send_modify(change);
        self.report_states().await;
    }

    async fn report_states(&self) {
        let Some(live) = &self.live else { return };
        let states = live.states.borrow().clone();
        self.emit(Event::State {
            connection: states.connection.to_string(),
            ice: states.ice.to_string(),
            gathering: states.gathering.to_string(),
            signaling: states.signaling.to_string(),
        })
        .await;
    }

    async fn answer(&self, id: Option<Value>, outcome: Result<Value, Value>) {
        match (id, outcome) {
            (Some(id), outcome) => self.emit(Event::Result { id, outcome }).await,
            (None, Err(why)) => log(&self.out, why.to_string()).await,
            (None, Ok(_)) => {}
        }
    }

    /// The writer outlives the session, unless stdout is gone: then nobody is
    /// left to tell.
    async fn emit(&self, event: Event) {
        drop(self.out.send(event).await);
    }
}

fn done(outcome: Result<(), String>) -> Result<Value, Value> {
    match outcome {
        Ok(()) => Ok(json!({})),
        Err(why) => Err(json!({"error": why})),
    }
}
