//! A room of two, within this process.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use matchbox_socket::async_trait::async_trait;
use matchbox_socket::{
    PeerEvent, PeerId, PeerRequest, PeerSignal, SignalingError, Signaller, SignallerBuilder,
};
use rivals_kit::{Via, readdress};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

/// The end of candidates, as matchbox writes it.
const END: &str = "null";

/// A place in the room, for the socket that takes it.
#[derive(Debug)]
pub(crate) struct Seat(Mutex<Option<Link>>);

#[derive(Debug)]
struct Link {
    own: PeerId,
    /// The other one; the few signals of a handshake wait in it.
    to: UnboundedSender<PeerEvent>,
    events: UnboundedReceiver<PeerEvent>,
    /// Where the other one finds this one, when not directly.
    at: Option<SocketAddr>,
}

/// Both seats; the first makes the offer.
pub(crate) fn room(via: Option<Via>) -> (Seat, Seat) {
    let (to_near, near_events) = unbounded_channel();
    let (to_far, far_events) = unbounded_channel();
    let (near, far) = (PeerId(Uuid::from_u128(1)), PeerId(Uuid::from_u128(2)));
    // What the server says first; both receivers are still here.
    let first = [
        to_near.send(PeerEvent::IdAssigned(near)),
        to_far.send(PeerEvent::IdAssigned(far)),
        to_near.send(PeerEvent::NewPeer(far)),
    ];
    debug_assert!(first.iter().all(Result::is_ok));
    let seat = |own, to, events, at| {
        Seat(Mutex::new(Some(Link {
            own,
            to,
            events,
            at,
        })))
    };
    (
        seat(near, to_far, near_events, via.map(|via| via.far)),
        seat(far, to_near, far_events, via.map(|via| via.near)),
    )
}

#[async_trait]
impl SignallerBuilder for Seat {
    async fn new_signaller(
        &self,
        _attempts: Option<u16>,
        _room: String,
    ) -> Result<Box<dyn Signaller>, SignalingError> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match link {
            Some(link) => Ok(Box::new(link)),
            None => Err(SignalingError::StreamExhausted),
        }
    }
}

#[async_trait]
impl Signaller for Link {
    async fn send(&mut self, request: PeerRequest) -> Result<(), SignalingError> {
        let PeerRequest::Signal { data, .. } = request else {
            return Ok(());
        };
        let Some(data) = through(data, self.at) else {
            return Ok(());
        };
        let sender = self.own;
        let sent = self.to.send(PeerEvent::Signal { sender, data });
        sent.map_err(|_| SignalingError::StreamExhausted)
    }

    async fn next_message(&mut self) -> Result<PeerEvent, SignalingError> {
        match self.events.recv().await {
            Some(event) => Ok(event),
            // The other one has gone; that does not concern what is connected.
            None => std::future::pending().await,
        }
    }
}

/// The signal, its candidate behind the relay where there is one, which carries IPv4.
fn through(signal: PeerSignal, to: Option<SocketAddr>) -> Option<PeerSignal> {
    let (PeerSignal::IceCandidate(text), Some(to)) = (&signal, to) else {
        return Some(signal);
    };
    if text == END {
        return Some(signal);
    }
    let mut init: Value = serde_json::from_str(text).ok()?;
    let candidate = init["candidate"].as_str()?;
    let address = candidate.split(' ').nth(4)?;
    if address.contains(':') {
        return None;
    }
    init["candidate"] = readdress(candidate, to).into();
    Some(PeerSignal::IceCandidate(init.to_string()))
}
