//! The transport: roles, fingerprint check and batches around the packaged engine.

mod refusal;
mod takeover;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Dtls, Output, ProtocolVersion};

use super::alert::{self, Alert};
use super::engine::{new_engine, told_by};
use super::farewell::Farewell;
use super::filter::opens_server_flight;
use super::keying::{SrtpKeys, SrtpProfile};
use super::record::{Limits, Records, content};
use super::suite::CipherSuite;
use super::tape::Tape;
use super::{Error, Event, MAX_RECORD, State, Timer, Version};
use crate::certificate::{Certificate, Fingerprint};
use crate::config::{DtlsConfig, DtlsRecords};
use crate::engine::{Batch, Deadline, Transmit};
use crate::error::{EngineFault, Layer, guard};
use crate::id::{DtlsRole, Path};

/// Encrypted bytes waiting for [`Transport::poll_transmit`]. Filled by [`Transport::send`], which
/// refuses more; the layer above sends again what must arrive.
pub const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// Least time between two timeouts. While a piece of the peer's flight is missing, the engine
/// acknowledges what it has and asks to be called again at once, without end.
const TIMEOUT_PAUSE: Duration = Duration::from_millis(20);

/// A DTLS connection over whatever path ICE has selected.
pub struct Transport {
    /// Gone when the connection is over, or our own record layer needs it no more.
    engine: Option<Dtls>,
    role: DtlsRole,
    state: State,
    expected: Vec<Fingerprint>,
    peer_certificate: Option<Bytes>,
    suite: Option<CipherSuite>,
    /// The version of a handshake that is over.
    version: Option<Version>,
    /// For media, until somebody takes them.
    srtp_keys: Option<SrtpKeys>,
    /// The peer is someone else: the engine lives on only to say so, and this remembers how.
    refused: Option<Farewell>,
    sent_alert: Option<Alert>,
    deadline: Option<Instant>,
    /// The time the engine was told last.
    told: Option<Instant>,
    /// When a timeout was last run.
    timed_out: Option<Instant>,
    /// What is overheard of the engine, if our own record layer is to take over from it.
    tape: Option<Tape>,
    /// Our own record layer, once it has.
    records: Option<Records>,
    limits: Limits,
    /// The peer is known to have the last of our handshake: the engine's timers are over.
    settled: bool,
    /// Where the engine writes: with room for a peer's certificate, which it must find. Grows for
    /// records.
    scratch: Vec<u8>,
    batch: Batch,
    ready: VecDeque<(Bytes, usize)>,
    queued: usize,
    events: VecDeque<Event>,
}

impl Transport {
    /// Starts a handshake in `role`. `expected` are the fingerprints of the remote description;
    /// one of them has to match.
    pub fn new(
        config: &DtlsConfig,
        certificate: &Certificate,
        role: DtlsRole,
        expected: Vec<Fingerprint>,
        now: Instant,
    ) -> Result<Self, Error> {
        if expected.is_empty() {
            return Err(Error::NoFingerprint);
        }
        let engine = guard(Layer::Dtls, || new_engine(config, certificate, role, now))??;
        let mut transport = Self {
            engine: Some(engine),
            role,
            state: State::Connecting,
            expected,
            peer_certificate: None,
            suite: None,
            version: None,
            srtp_keys: None,
            refused: None,
            sent_alert: None,
            deadline: None,
            told: None,
            timed_out: None,
            tape: (config.records == DtlsRecords::Native).then(Tape::default),
            records: None,
            limits: Limits {
                records_per_key: config.records_per_key,
                patience: config.flight_rto,
            },
            settled: false,
            scratch: vec![0; MAX_RECORD + 256],
            batch: Batch::default(),
            ready: VecDeque::new(),
            queued: 0,
            events: VecDeque::new(),
        };
        // Before the first packet: a server panics on a ClientHello without this.
        transport.handle_timeout(now);
        match transport.events.pop_front() {
            Some(Event::Failed(error)) => Err(error),
            Some(Event::Connected { .. } | Event::Data(_) | Event::Closed) | None => Ok(transport),
        }
    }

    /// Takes a packet that arrived on the path. Damaged and forged ones are dropped in silence, as
    /// RFC 9147 §4.5.2 asks for; what ends the connection is reported by [`Event::Failed`].
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        if self.records.is_some() {
            self.take_datagram(packet, now);
        } else {
            self.give_engine(packet, now);
        }
    }

    fn give_engine(&mut self, packet: &[u8], now: Instant) {
        let Some(engine) = self.engine.as_mut() else {
            return self.say_again(now);
        };
        let choosing = self.role == DtlsRole::Client && engine.protocol_version().is_none();
        if choosing && !opens_server_flight(packet) {
            // What a server says that wants none of what we offer.
            if let Some(alert) = alert::fatal(packet) {
                self.fail(Error::Alert(alert));
            }
            return;
        }
        if self.suite.is_none() && self.role == DtlsRole::Client {
            self.suite = CipherSuite::of_server_hello(packet);
        }
        let told = self.told.replace(now) == Some(now);
        let result = guard_with(&mut self.tape, || {
            if !told {
                engine.handle_timeout(now)?;
            }
            engine.handle_packet(packet)
        });
        self.after_call(result);
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.told = Some(now);
        self.timed_out = Some(now);
        if let Some(engine) = self.engine.as_mut().filter(|_| !self.settled) {
            let result = guard_with(&mut self.tape, || engine.handle_timeout(now));
            self.after_call(result);
        }
        self.say_messages(now);
    }

    /// Encrypts one record. It will be part of a batch of [`Transport::poll_transmit`].
    pub fn send(&mut self, data: &[u8], now: Instant) -> Result<(), Error> {
        if self.state != State::Connected {
            return Err(Error::NotConnected);
        }
        if self.queued > MAX_QUEUED_BYTES || data.len() > MAX_RECORD {
            return Err(Error::Full);
        }
        if self.records.is_some() {
            let sealed = self.seal(content::DATA, data);
            self.say_messages(now);
            if !sealed {
                self.fail(Error::KeysExhausted);
            }
            return sealed.then_some(()).ok_or(Error::KeysExhausted);
        }
        let engine = self.engine.as_mut().ok_or(Error::NotConnected)?;
        let told = self.told.replace(now) == Some(now);
        let result = guard_with(&mut self.tape, || {
            if !told {
                engine.handle_timeout(now)?;
            }
            engine.send_application_data(data).map(drop)
        });
        self.after_call(result);
        if self.state == State::Failed {
            Err(Error::NotConnected)
        } else {
            Ok(())
        }
    }

    /// Says goodbye (`close_notify`, RFC 8446 §6.1) and stops. The last packet is still to be sent.
    pub fn close(&mut self, now: Instant) {
        if self.records.is_some() {
            self.seal(content::ALERT, &alert::CLOSE_NOTIFY);
        } else if let Some(engine) = self.engine.as_mut() {
            let result = guard_with(&mut self.tape, || {
                engine.handle_timeout(now)?;
                engine.close()
            });
            self.after_call(result);
        }
        self.events.clear();
        self.stop();
        self.refused = None;
        self.state = State::Closed;
    }

    fn after_call(&mut self, result: Result<Result<(), dimpl::Error>, EngineFault>) {
        match result {
            Ok(Ok(())) => {}
            Ok(Err(dimpl::Error::ReceiveQueueFull)) => {
                tracing::debug!("handshake packet dropped: too many out of order");
            }
            Ok(Err(error)) => return self.fail_for(told_by(&error)),
            Err(fault) => return self.fail(Error::Fault(fault)),
        }
        match self.drain_engine() {
            Ok(()) => self.after_drain(),
            Err(error) => self.fail(error),
        }
    }

    /// Takes all that the engine has to say. Ends with its timeout.
    fn drain_engine(&mut self) -> Result<(), Error> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = loop {
            match self.drain_one(&mut scratch) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if self.records.is_none() {
            self.scratch = scratch; // else the engine has nearly nothing to say any more
        }
        result
    }

    fn drain_one(&mut self, scratch: &mut Vec<u8>) -> Result<bool, Error> {
        let Some(engine) = self.engine.as_mut() else {
            return Ok(false);
        };
        let output = guard_with(&mut self.tape, || {
            engine.poll_output(scratch.as_mut_slice())
        })?;
        match output {
            Output::Packet(packet) if self.records.is_some() => {
                let packet = takeover::without_data_epochs(packet);
                if !packet.is_empty() {
                    self.queued += packet.len();
                    push(&mut self.batch, &mut self.ready, &packet);
                }
            }
            Output::Packet(packet) => {
                if self.suite.is_none() && self.role == DtlsRole::Server {
                    self.suite = CipherSuite::of_server_hello(packet);
                }
                self.queued += packet.len();
                push(&mut self.batch, &mut self.ready, packet);
                if let Some(farewell) = &mut self.refused {
                    farewell.note(packet);
                }
            }
            Output::Timeout(_)
                if self.refused.is_some() && (engine.is_closing() || engine.is_closed()) =>
            {
                self.stop();
                return Ok(false);
            }
            Output::BufferTooSmall { needed } if needed > 4 * MAX_RECORD => {
                return Err(Error::Handshake("record larger than any buffer".to_owned()));
            }
            Output::BufferTooSmall { needed } => scratch.resize(needed, 0),
            Output::Timeout(at) => {
                let soonest = self.timed_out.map_or(at, |last| last + TIMEOUT_PAUSE);
                self.deadline = Some(at.max(soonest));
                return Ok(false);
            }
            Output::Connected if self.refused.is_some() => {
                guard_with(&mut self.tape, || engine.close())?.map_err(|error| told_by(&error))?;
            }
            Output::Connected => self.report_connected()?,
            Output::PeerCert(der) => {
                let der = Bytes::copy_from_slice(der);
                self.check_certificate(der);
            }
            Output::ApplicationData(data) if self.state == State::Connected => {
                self.events
                    .push_back(Event::Data(Bytes::copy_from_slice(data)));
            }
            Output::CloseNotify => self.closed_by_peer(),
            Output::KeyingMaterial(material, profile) => {
                let split = |profile| SrtpKeys::split(profile, self.role, &material);
                self.srtp_keys = SrtpProfile::of(profile).and_then(split);
            }
            // Data nobody was verified for.
            Output::ApplicationData(_) | _ => {}
        }
        Ok(true)
    }

    fn check_certificate(&mut self, der: Bytes) {
        let fingerprints = &mut self.expected.iter();
        if fingerprints.any(|fingerprint| fingerprint.matches(&der)) {
            self.peer_certificate = Some(der);
        } else {
            self.refuse();
        }
    }

    fn report_connected(&mut self) -> Result<(), Error> {
        let peer_certificate = self.peer_certificate.clone().ok_or(Error::NoCertificate)?;
        let version = self
            .version()
            .ok_or(Error::Handshake("no version".to_owned()))?;
        self.state = State::Connected;
        self.version = Some(version);
        self.events.push_back(Event::Connected {
            version,
            peer_certificate,
        });
        Ok(())
    }

    fn closed_by_peer(&mut self) {
        if self.state == State::Connected {
            self.state = State::Closed;
            self.events.push_back(Event::Closed);
        }
    }

    fn stop(&mut self) {
        self.engine = None;
        self.records = None;
        self.srtp_keys = None;
        self.deadline = None;
    }

    fn fail(&mut self, error: Error) {
        self.stop();
        self.fail_but_speak(error);
    }

    fn fail_but_speak(&mut self, error: Error) {
        if matches!(self.state, State::Connecting | State::Connected) {
            self.state = State::Failed;
            self.events.push_back(Event::Failed(error));
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next batch of datagrams, addressed to `path`.
    pub fn poll_transmit(&mut self, path: Path) -> Option<Transmit> {
        let (contents, segment_size) = self.ready.pop_front().or_else(|| self.batch.take())?;
        self.queued = self.queued.saturating_sub(contents.len());
        Some(Transmit {
            path,
            contents,
            segment_size,
        })
    }

    /// When to call [`Transport::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let engine = self.deadline.filter(|_| !self.settled);
        let records = self.records.as_ref().and_then(Records::poll_timeout);
        let first = engine.into_iter().chain(records).min()?;
        Some(Deadline::new(first, Timer::Handshake))
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Our role.
    pub fn role(&self) -> DtlsRole {
        self.role
    }

    /// The version, once negotiated.
    pub fn version(&self) -> Option<Version> {
        self.version
            .or_else(|| match self.engine.as_ref()?.protocol_version()? {
                ProtocolVersion::DTLS1_2 => Some(Version::Dtls12),
                ProtocolVersion::DTLS1_3 => Some(Version::Dtls13),
                _ => None,
            })
    }

    /// The cipher suite that the server has chosen.
    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        self.suite
    }

    /// The keys for media, once and only while connected. `None` if the peer knows none of our
    /// profiles, as a peer without media may.
    pub fn take_srtp_keys(&mut self) -> Option<SrtpKeys> {
        let connected = self.state == State::Connected;
        connected.then(|| self.srtp_keys.take()).flatten()
    }

    /// The peer's certificate in DER, once it was seen and found to be the expected one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificate.as_deref()
    }

    /// The fatal alert that we have sent, if that is how it ended.
    pub fn sent_alert(&self) -> Option<Alert> {
        self.sent_alert
    }

    /// Encrypted bytes not yet taken by [`Transport::poll_transmit`].
    pub fn queued(&self) -> usize {
        self.queued
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("role", &self.role)
            .field("state", &self.state)
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}

/// A call into the engine: panics become values, and what it does with keys is overheard.
fn guard_with<T>(tape: &mut Option<Tape>, call: impl FnOnce() -> T) -> Result<T, EngineFault> {
    Tape::during(tape, || guard(Layer::Dtls, call))
}

fn push(batch: &mut Batch, ready: &mut VecDeque<(Bytes, usize)>, packet: &[u8]) {
    if batch.push(packet) {
        return;
    }
    if let Some(full) = batch.take() {
        ready.push_back(full);
    }
    let fits = batch.push(packet);
    debug_assert!(fits, "an empty batch takes any datagram");
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test has to begin at some instant"
    )]

    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_panic_of_the_engine_ends_the_connection_with_its_reason() {
        let now = Instant::now();
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let certificate = Certificate::generate(made).expect("certificate");
        let expected = vec![certificate.fingerprint().clone()];
        let config = DtlsConfig::default();
        let mut transport = Transport::new(&config, &certificate, DtlsRole::Server, expected, now)
            .expect("transport");
        let fault = EngineFault { layer: Layer::Dtls };
        transport.after_call(Err(fault));
        assert_eq!(
            transport.poll_event(),
            Some(Event::Failed(Error::Fault(fault)))
        );
        assert_eq!(transport.state(), State::Failed);
        transport.handle_packet(&[22; 40], now);
        transport.handle_timeout(now);
        assert_eq!(transport.send(b"x", now), Err(Error::NotConnected));
        assert_eq!(transport.poll_event(), None);
    }
}
