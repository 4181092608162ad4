//! Transceivers (W3C webrtc-pc 5.4, RFC 9429 3.4.1): what an audio or video section is for.

use rand::Rng as _;

use crate::sdp::{Direction, MediaKind, Msid};

use super::effect::{Effect, NegotiatedMedia};
use super::error::{invalid_state, operation, type_error};
use super::session::Session;
use super::{Error, SignalingState};

/// Most transceivers that the application may make; as many sections as are read.
pub const MAX_TRANSCEIVERS: usize = crate::sdp::MAX_MEDIA;
/// Most encodings of one sender; browsers stop at three. Later ones are left out, as webrtc-pc
/// 5.1 says.
pub const MAX_ENCODINGS: usize = 8;
/// Most streams that a sender's track may be in; a guess above any use.
pub const MAX_STREAMS: usize = 16;

/// Names a transceiver of a session; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(pub(super) u64);

/// One encoding that a sender sends (W3C `RTCRtpEncodingParameters`, as far as it is negotiated).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Its name (RFC 8851); `None` when it is the only one.
    pub rid: Option<String>,
    /// Not active: negotiated as paused.
    pub active: bool,
}

impl Encoding {
    /// An active encoding of that name.
    pub fn named(rid: impl Into<String>) -> Self {
        Self {
            rid: Some(rid.into()),
            active: true,
        }
    }

    pub(super) fn only() -> Self {
        Self {
            rid: None,
            active: true,
        }
    }
}

/// W3C webrtc-pc 5.1 `RTCRtpTransceiverInit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransceiverInit {
    /// What to do.
    pub direction: Direction,
    /// The ids of the streams that the sender's track is in.
    pub streams: Vec<String>,
    /// The encodings to send, for simulcast with names. Empty: one.
    pub send_encodings: Vec<Encoding>,
}

impl Default for TransceiverInit {
    fn default() -> Self {
        Self {
            direction: Direction::SendRecv,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        }
    }
}

/// How far the end of a transceiver is (`[[Stopping]]` and `[[Stopped]]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Active,
    /// The application stopped it; the peer has to be told.
    Stopping,
    /// Over.
    Stopped,
}

/// The section that a transceiver is associated with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) mid: Option<String>,
}

/// What a rollback takes back to what it was when the state was last `stable`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Negotiable {
    pub(super) place: Option<Place>,
    pub(super) encodings: Vec<Encoding>,
    /// What the peer sends is in these streams; `None` when it sends nothing.
    pub(super) receiving: Option<Vec<Msid>>,
}

/// One transceiver, as seen by [`Session::transceivers`].
#[derive(Debug, Clone)]
pub struct Transceiver {
    pub(super) id: TransceiverId,
    pub(super) kind: MediaKind,
    pub(super) direction: Direction,
    pub(super) current_direction: Option<Direction>,
    pub(super) life: Life,
    pub(super) streams: Vec<String>,
    pub(super) track: String,
    /// The sender has a track.
    pub(super) has_track: bool,
    /// Made by `add_track`, so that a remote offer may take it (RFC 9429 5.10).
    pub(super) by_track: bool,
    /// Some description had it send: `add_track` makes another one.
    pub(super) has_sent: bool,
    /// Made by the remote offer that is pending: a rollback removes it.
    pub(super) by_pending_offer: bool,
    pub(super) now: Negotiable,
    pub(super) stable: Negotiable,
    pub(super) negotiated: Option<NegotiatedMedia>,
}

impl Transceiver {
    /// Its name in this session.
    pub fn id(&self) -> TransceiverId {
        self.id
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// W3C `mid`: the section it is associated with, `None` before there is one.
    pub fn mid(&self) -> Option<&str> {
        self.now.place.as_ref()?.mid.as_deref()
    }

    /// The index of that section.
    pub fn mline_index(&self) -> Option<usize> {
        self.now.place.as_ref().map(|place| place.index)
    }

    /// W3C `direction`: what the application wants; `None` stands for `stopped`.
    pub fn direction(&self) -> Option<Direction> {
        (self.life == Life::Active).then_some(self.direction)
    }

    /// W3C `currentDirection`: what was negotiated last, `None` when nothing was or it is
    /// stopped.
    pub fn current_direction(&self) -> Option<Direction> {
        self.current_direction
    }

    /// Whether it has ended: the peer knows, or never knew of it.
    pub fn is_stopped(&self) -> bool {
        self.life == Life::Stopped
    }

    /// The ids of the streams that the sender's track is in.
    pub fn streams(&self) -> &[String] {
        &self.streams
    }

    /// The id of the sender's track, as the peer is told it.
    pub fn track_id(&self) -> &str {
        &self.track
    }

    /// The encodings that the sender sends; at least one.
    pub fn encodings(&self) -> &[Encoding] {
        &self.now.encodings
    }

    /// The streams that the peer's track is in; `None` while the peer sends nothing.
    pub fn remote_streams(&self) -> Option<&[Msid]> {
        self.now.receiving.as_deref()
    }

    /// What both ends agreed on last.
    pub fn negotiated(&self) -> Option<&NegotiatedMedia> {
        self.negotiated.as_ref()
    }

    pub(super) fn is_at(&self, index: usize) -> bool {
        self.now.place.as_ref().is_some_and(|p| p.index == index)
    }
}

impl Session {
    /// The transceivers that are not stopped, in the order in which they were made (W3C
    /// `getTransceivers`).
    pub fn transceivers(&self) -> impl Iterator<Item = &Transceiver> {
        self.transceivers.iter()
    }

    /// The transceiver of that name, unless it has ended.
    pub fn transceiver(&self, id: TransceiverId) -> Option<&Transceiver> {
        self.transceivers.iter().find(|t| t.id == id)
    }

    /// W3C `addTransceiver` (webrtc-pc 5.1).
    ///
    /// # Errors
    /// `InvalidStateError` when closed, `TypeError` for malformed names of streams or
    /// encodings, `OperationError` when media of this kind is not enabled or there are
    /// [`MAX_TRANSCEIVERS`].
    pub fn add_transceiver(
        &mut self,
        kind: MediaKind,
        init: TransceiverInit,
    ) -> Result<TransceiverId, Error> {
        self.check_open()?;
        check_streams(&init.streams)?;
        let encodings = checked_encodings(kind, init.send_encodings)?;
        self.check_room(kind)?;
        let id = self.make(kind, init.direction);
        if let Some(made) = self.transceivers.last_mut() {
            made.streams = distinct(init.streams);
            made.now.encodings = encodings.clone();
            made.stable.encodings = encodings;
        }
        self.media_changed();
        Ok(id)
    }

    /// W3C `addTrack` (webrtc-pc 5.1): sends on a transceiver of the kind that has never sent,
    /// or on a new one.
    ///
    /// # Errors
    /// As [`add_transceiver`](Self::add_transceiver).
    pub fn add_track(
        &mut self,
        kind: MediaKind,
        streams: Vec<String>,
    ) -> Result<TransceiverId, Error> {
        self.check_open()?;
        check_streams(&streams)?;
        let free = |t: &&mut Transceiver| {
            t.kind == kind && t.life == Life::Active && !t.has_track && !t.has_sent
        };
        let id = match self.transceivers.iter_mut().find(free) {
            Some(found) => {
                found.direction = Direction::of(true, found.direction.receives());
                found.has_track = true;
                found.streams = distinct(streams);
                found.by_pending_offer = false; // it outlives a rollback (RFC 9429 5.7)
                found.by_track = true;
                found.id
            }
            None => {
                self.check_room(kind)?;
                let id = self.make(kind, Direction::SendRecv);
                if let Some(made) = self.transceivers.last_mut() {
                    (made.has_track, made.by_track) = (true, true);
                    made.streams = distinct(streams);
                }
                id
            }
        };
        self.media_changed();
        Ok(id)
    }

    /// W3C `removeTrack` (webrtc-pc 5.1): the sender has no track any more.
    ///
    /// # Errors
    /// `InvalidStateError` when closed, `InvalidAccessError` when there is no such transceiver.
    pub fn remove_track(&mut self, id: TransceiverId) -> Result<(), Error> {
        self.check_open()?;
        let found = self.transceivers.iter_mut().find(|t| t.id == id);
        let found = found.ok_or_else(|| {
            let cause = "the sender is of another peer connection, or has ended";
            super::error::invalid_access(cause, "pass a sender of this connection")
        })?;
        if found.has_track && found.life == Life::Active {
            found.has_track = false;
            found.direction = Direction::of(false, found.direction.receives());
            self.media_changed();
        }
        Ok(())
    }

    /// W3C `RTCRtpTransceiver.direction` (webrtc-pc 5.4).
    ///
    /// # Errors
    /// `InvalidStateError` when closed, or when the transceiver is stopped or stopping.
    pub fn set_direction(&mut self, id: TransceiverId, to: Direction) -> Result<(), Error> {
        self.check_open()?;
        let found = self.active_mut(id)?;
        if found.direction != to {
            found.direction = to;
            self.media_changed();
        }
        Ok(())
    }

    /// W3C `RTCRtpSender.setStreams` (webrtc-pc 5.2).
    ///
    /// # Errors
    /// `InvalidStateError` when closed or stopped, `TypeError` for malformed ids.
    pub fn set_streams(&mut self, id: TransceiverId, streams: Vec<String>) -> Result<(), Error> {
        self.check_open()?;
        check_streams(&streams)?;
        self.active_mut(id)?.streams = distinct(streams);
        self.media_changed();
        Ok(())
    }

    /// W3C `RTCRtpTransceiver.stop` (webrtc-pc 5.4): sends and receives nothing from now on;
    /// the next offer tells the peer. One that was never described ends at once.
    ///
    /// # Errors
    /// `InvalidStateError` when closed.
    pub fn stop(&mut self, id: TransceiverId) -> Result<(), Error> {
        self.check_open()?;
        let Ok(found) = self.active_mut(id) else {
            return Ok(());
        };
        found.life = Life::Stopping;
        found.direction = Direction::Inactive;
        found.has_track = false;
        let placed = found.now.place.is_some();
        let received = found.now.receiving.take().is_some();
        found.stable.receiving = None;
        if received {
            self.emit(Effect::RemoteTrackEnded { transceiver: id });
        }
        if !placed {
            self.end(id);
            self.transceivers.retain(|t| t.id != id);
        }
        self.media_changed();
        Ok(())
    }

    fn active_mut(&mut self, id: TransceiverId) -> Result<&mut Transceiver, Error> {
        let found = self.transceivers.iter_mut().find(|t| t.id == id);
        found
            .filter(|t| t.life == Life::Active)
            .ok_or_else(|| invalid_state("the transceiver is stopped", "make a new one"))
    }

    fn check_room(&self, kind: MediaKind) -> Result<(), Error> {
        if !self.config.media.has(kind) {
            let cause = format!("{} is not enabled", kind.name());
            return Err(operation(cause, "configure media capabilities"));
        }
        if self.transceivers.len() >= MAX_TRANSCEIVERS {
            let cause = format!("there are {MAX_TRANSCEIVERS} transceivers");
            return Err(operation(cause, "stop some, or use them again"));
        }
        Ok(())
    }

    pub(super) fn make(&mut self, kind: MediaKind, direction: Direction) -> TransceiverId {
        let id = TransceiverId(self.next_transceiver);
        self.next_transceiver += 1;
        let track = format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64());
        let fresh = Negotiable {
            encodings: vec![Encoding::only()],
            ..Negotiable::default()
        };
        self.transceivers.push(Transceiver {
            id,
            kind,
            direction,
            current_direction: None,
            life: Life::Active,
            streams: Vec::new(),
            track,
            has_track: false,
            by_track: false,
            has_sent: false,
            by_pending_offer: false,
            stable: fresh.clone(),
            now: fresh,
            negotiated: None,
        });
        id
    }

    /// Marks it as stopped, for good (webrtc-pc 5.4, "stop the RTCRtpTransceiver").
    pub(super) fn end(&mut self, id: TransceiverId) {
        let Some(found) = self.transceivers.iter_mut().find(|t| t.id == id) else {
            return;
        };
        if found.life == Life::Stopped {
            return;
        }
        found.life = Life::Stopped;
        found.direction = Direction::Inactive;
        found.current_direction = None;
        found.negotiated = None;
        found.by_pending_offer = false;
        let received = found.now.receiving.take().is_some();
        found.stable.receiving = None;
        if received {
            self.emit(Effect::RemoteTrackEnded { transceiver: id });
        }
        self.emit(Effect::TransceiverStopped { transceiver: id });
    }

    /// What the application wants has changed: descriptions made before are out of date.
    fn media_changed(&mut self) {
        self.mark_stale();
        if self.state == SignalingState::Stable {
            self.update_negotiation_needed();
        }
    }
}

fn distinct(streams: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(streams.len());
    for stream in streams {
        if !kept.contains(&stream) {
            kept.push(stream);
        }
    }
    kept
}

/// RFC 8866 9, `token-char`.
fn is_token_char(b: u8) -> bool {
    b.is_ascii_graphic() && !br#""(),/:;<=>?@[\]"#.contains(&b)
}

/// The characters of RFC 8830 2, and not the word for "no stream".
fn check_streams(streams: &[String]) -> Result<(), Error> {
    const HINT: &str = "use short ids of letters, digits and dashes, as browsers do";
    let fits = |id: &String| {
        (1..=64).contains(&id.len()) && *id != Msid::NO_STREAM && id.bytes().all(is_token_char)
    };
    if streams.len() > MAX_STREAMS || !streams.iter().all(fits) {
        return Err(type_error("the ids of streams do not fit SDP", HINT));
    }
    Ok(())
}

/// webrtc-pc 5.1, `addTransceiver`, steps on `sendEncodings`.
fn checked_encodings(kind: MediaKind, mut all: Vec<Encoding>) -> Result<Vec<Encoding>, Error> {
    const HINT: &str = "give each encoding a rid of its own, of letters and digits";
    let fits =
        |rid: &str| (1..=16).contains(&rid.len()) && rid.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut seen = std::collections::BTreeSet::new();
    let named = all.iter().filter_map(|e| e.rid.as_deref());
    let fine = named.fold(true, |fine, rid| fine && fits(rid) && seen.insert(rid));
    if !fine || !seen.is_empty() && seen.len() != all.len() || seen.is_empty() && all.len() > 1 {
        return Err(type_error("the rids of the encodings do not fit", HINT));
    }
    all.truncate(match kind {
        MediaKind::Audio => 1,
        MediaKind::Video => MAX_ENCODINGS,
    });
    match all.as_mut_slice() {
        [] => all.push(Encoding::only()),
        [one] => one.rid = None,
        _ => {}
    }
    Ok(all)
}
