//! The layers composed by plain calls: ICE, DTLS, SCTP and data channels of one connection.
//!
//! This is what simulations and tests drive. The actors compose the same layers with messages
//! between them; what is decided here is only the wiring:
//!
//! * a packet goes to ICE, DTLS or SRTP by its first byte (RFC 7983 §7);
//! * the DTLS server listens from [`Stack::start`] on, since the client may have found the path
//!   first; the client starts when a path is selected;
//! * SCTP starts when DTLS is connected, channels open when SCTP is;
//! * SRTP takes its keys from DTLS when that is connected; media that comes sooner is lost;
//! * what arrives is read before anything is sent.

mod media;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::candidate::{Candidate, Credentials};
use crate::certificate::{Certificate, Fingerprint};
use crate::channel::{self, ChannelInit, Channels, Message, OpenError, SendError};
use crate::config::{ChannelConfig, DtlsConfig, IceConfig, SctpConfig};
use crate::dtls;
use crate::engine::{Deadline, Transmit};
use crate::ice;
use crate::id::{ChannelId, DtlsRole, IceRole, Path};
use crate::media::{is_media, srtp};
use crate::sctp;

/// Settings of all layers.
#[derive(Clone, Debug, Default)]
pub struct StackConfig {
    /// Of ICE.
    pub ice: IceConfig,
    /// Of DTLS.
    pub dtls: DtlsConfig,
    /// Of SCTP.
    pub sctp: SctpConfig,
    /// Of the channels.
    pub channel: ChannelConfig,
}

/// What the remote description says.
#[derive(Clone, Debug)]
pub struct Remote {
    /// `a=ice-ufrag` and `a=ice-pwd`.
    pub credentials: Credentials,
    /// `a=fingerprint`.
    pub fingerprints: Vec<Fingerprint>,
    /// Our ICE role.
    pub ice_role: IceRole,
    /// Our DTLS role, from `a=setup`.
    pub dtls_role: DtlsRole,
    /// `a=max-message-size`; `None` for "any".
    pub max_message_size: Option<u32>,
    /// The peer is a Peerloom peer.
    pub peerloom_peer: bool,
}

/// Why [`Stack::poll_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A timer of ICE.
    Ice(ice::Timer),
    /// A timer of DTLS.
    Dtls(dtls::Timer),
    /// A timer of SCTP.
    Sctp(sctp::Timer),
    /// A timer of the channels.
    Channel(channel::Timer),
}

/// What the layers report, less what they tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From ICE.
    Ice(ice::Event),
    /// From DTLS; never [`dtls::Event::Data`].
    Dtls(dtls::Event),
    /// From the channels.
    Channel(channel::Event),
    /// A packet of media, without its protection.
    Media(srtp::Packet),
}

pub use media::{MAX_QUEUED_MEDIA, SendMediaError};

/// Why a call had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From ICE.
    #[error(transparent)]
    Ice(#[from] ice::Error),
    /// From DTLS.
    #[error(transparent)]
    Dtls(#[from] dtls::Error),
}

/// One connection.
pub struct Stack {
    config: StackConfig,
    certificate: Certificate,
    ice: ice::Agent,
    remote: Option<Remote>,
    dtls: Option<dtls::Transport>,
    sctp: Option<sctp::Association>,
    channels: Channels,
    media: media::Media,
    /// From the layers upwards. Filled by what one input causes; drained after each.
    events: VecDeque<Event>,
}

impl Stack {
    /// A connection that has not started, on the sockets at `hosts`.
    pub fn new(
        config: StackConfig,
        certificate: Certificate,
        credentials: Credentials,
        hosts: &[SocketAddr],
        now: Instant,
    ) -> Result<Self, Error> {
        let role = IceRole::Controlling;
        let mut ice = ice::Agent::new(config.ice.clone(), credentials, role, now)?;
        for host in hosts {
            ice.add_host(*host, now)?;
        }
        let channels = Channels::new(config.channel.clone());
        let mut stack = Self {
            config,
            certificate,
            ice,
            remote: None,
            dtls: None,
            sctp: None,
            channels,
            media: media::Media::default(),
            events: VecDeque::new(),
        };
        stack.advance(now);
        Ok(stack)
    }

    /// Both descriptions are known. Again after [`Stack::restart`].
    pub fn start(&mut self, remote: Remote, now: Instant) -> Result<(), Error> {
        self.ice
            .start(remote.credentials.clone(), remote.ice_role, now)?;
        self.channels
            .set_remote(remote.max_message_size, remote.peerloom_peer);
        let listens = remote.dtls_role == DtlsRole::Server && self.dtls.is_none();
        self.remote = Some(remote);
        if listens {
            self.start_dtls(now)?;
        }
        self.advance(now);
        Ok(())
    }

    fn start_dtls(&mut self, now: Instant) -> Result<(), dtls::Error> {
        let Some(remote) = &self.remote else {
            return Ok(());
        };
        self.dtls = Some(dtls::Transport::new(
            &self.config.dtls,
            &self.certificate,
            remote.dtls_role,
            remote.fingerprints.clone(),
            now,
        )?);
        Ok(())
    }

    /// Begins a new ICE generation; [`Stack::start`] must follow.
    pub fn restart(&mut self, credentials: Credentials, now: Instant) -> Result<(), Error> {
        self.ice.restart(credentials, now)?;
        self.advance(now);
        Ok(())
    }

    /// Adds a candidate of the peer's.
    pub fn add_remote_candidate(
        &mut self,
        candidate: &Candidate,
        now: Instant,
    ) -> Result<(), Error> {
        self.ice.add_remote_candidate(candidate, now)?;
        self.advance(now);
        Ok(())
    }

    /// Takes a packet. Packets that belong to nobody are dropped.
    pub fn handle_packet(&mut self, path: Path, packet: &[u8], now: Instant) {
        self.handle_batch(path, [packet], now);
    }

    /// Takes packets that arrived together, and answers them together.
    pub fn handle_batch<'a>(
        &mut self,
        path: Path,
        packets: impl IntoIterator<Item = &'a [u8]>,
        now: Instant,
    ) {
        for packet in packets {
            self.route(path, packet, now);
            while let Some(event) = self.dtls.as_mut().and_then(dtls::Transport::poll_event) {
                self.take_dtls_event(event, now);
            }
        }
        self.advance(now);
    }

    fn route(&mut self, path: Path, packet: &[u8], now: Instant) {
        match packet.first() {
            Some(0..=3) => {
                if let Err(error) = self.ice.handle_packet(path, packet, now) {
                    tracing::trace!(%error, "STUN dropped");
                }
            }
            Some(20..=63) if self.ice.accepts(path) => {
                if let Some(dtls) = &mut self.dtls {
                    dtls.handle_packet(packet, now);
                }
            }
            Some(_) if is_media(packet) && self.ice.accepts(path) => self.take_media(packet),
            Some(_) | None => {}
        }
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.ice.poll_timeout().map(|d| d.at)) {
            self.ice.handle_timeout(now);
        }
        if let Some(dtls) = &mut self.dtls
            && due(dtls.poll_timeout().map(|d| d.at))
        {
            dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp
            && due(sctp.poll_timeout().map(|d| d.at))
        {
            sctp.handle_timeout(now);
        }
        self.advance(now);
    }

    /// Makes a channel.
    pub fn open(&mut self, init: ChannelInit, now: Instant) -> Result<ChannelId, OpenError> {
        let id = self.channels.open(init)?;
        self.advance(now);
        Ok(id)
    }

    /// Sends a message.
    pub fn send(&mut self, id: ChannelId, message: Message, now: Instant) -> Result<(), SendError> {
        self.channels.send(id, message)?;
        self.advance(now);
        Ok(())
    }

    /// Closes a channel.
    pub fn close_channel(&mut self, id: ChannelId, now: Instant) {
        self.channels.close(id);
        self.advance(now);
    }

    /// The consumer of a channel has taken messages of this cost.
    pub fn grant(&mut self, id: ChannelId, bytes: usize, now: Instant) {
        self.channels.grant(id, bytes);
        self.advance(now);
    }

    /// Ends the connection: SCTP abort, DTLS close. What is queued for it is still to be sent.
    pub fn close(&mut self, now: Instant) {
        if let Some(sctp) = &mut self.sctp {
            sctp.abort(now);
        }
        self.advance(now);
        self.media = media::Media::default();
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
    }

    /// Lets the layers talk until they have nothing more to say.
    fn advance(&mut self, now: Instant) {
        while let Some(event) = self.ice.poll_event() {
            let selected = matches!(event, ice::Event::SelectedPath(_));
            self.events.push_back(Event::Ice(event));
            if selected
                && self.dtls.is_none()
                && let Err(error) = self.start_dtls(now)
            {
                self.events
                    .push_back(Event::Dtls(dtls::Event::Failed(error)));
            }
        }
        while let Some(event) = self.dtls.as_mut().and_then(dtls::Transport::poll_event) {
            self.take_dtls_event(event, now);
        }
        let Some(sctp) = &mut self.sctp else { return };
        self.channels.pump(sctp, now);
        while let Some(event) = self.channels.poll_event() {
            self.events.push_back(Event::Channel(event));
        }
        self.send_sctp(now);
    }

    fn take_dtls_event(&mut self, event: dtls::Event, now: Instant) {
        match event {
            dtls::Event::Data(data) => {
                if let Some(sctp) = &mut self.sctp {
                    sctp.handle_packet(data, now);
                }
                return;
            }
            dtls::Event::Connected { .. } => {
                let role = self
                    .dtls
                    .as_ref()
                    .map_or(DtlsRole::Client, dtls::Transport::role);
                self.channels.start(role);
                self.start_media();
                self.sctp = sctp::Association::new(self.config.sctp.clone(), role, now).ok();
            }
            dtls::Event::Closed | dtls::Event::Failed(_) => {
                self.media = media::Media::default();
                if let Some(sctp) = &mut self.sctp {
                    sctp.abort(now);
                }
            }
        }
        self.events.push_back(Event::Dtls(event));
    }

    fn send_sctp(&mut self, now: Instant) {
        let (Some(sctp), Some(dtls)) = (&mut self.sctp, &mut self.dtls) else {
            return;
        };
        while dtls.queued() < dtls::MAX_QUEUED_BYTES
            && let Some(packet) = sctp.poll_transmit(now)
        {
            if let Err(error) = dtls.send(&packet, now) {
                tracing::debug!(%error, "SCTP packet not sent");
                return;
            }
        }
    }

    /// The next datagrams to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(transmit) = self.ice.poll_transmit() {
            return Some(transmit);
        }
        let path = self.ice.selected_path()?;
        if let Some(packet) = self.media.poll() {
            return Some(Transmit::single(path, packet));
        }
        self.send_sctp(now);
        self.dtls.as_mut()?.poll_transmit(path)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Stack::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let ice = self.ice.poll_timeout().map(|d| d.map(Timer::Ice));
        let dtls = self.dtls.as_ref().and_then(|d| d.poll_timeout());
        let sctp = self.sctp.as_ref().and_then(|s| s.poll_timeout());
        let channel = self.channels.poll_timeout().map(|d| d.map(Timer::Channel));
        let upper = Deadline::earlier(sctp.map(|d| d.map(Timer::Sctp)), channel);
        Deadline::earlier(
            ice,
            Deadline::earlier(dtls.map(|d| d.map(Timer::Dtls)), upper),
        )
    }

    /// The ICE agent.
    pub fn ice(&self) -> &ice::Agent {
        &self.ice
    }

    /// The DTLS transport, once started.
    pub fn dtls(&self) -> Option<&dtls::Transport> {
        self.dtls.as_ref()
    }

    /// The SCTP association, once started.
    pub fn sctp(&self) -> Option<&sctp::Association> {
        self.sctp.as_ref()
    }

    /// The channels.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// What to tell the peer of us.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.certificate.fingerprint()
    }
}
