//! The way from the DTLS engine to the socket.

use std::future::Future;

use peerloom_transports::proto::engine::Transmit;
use peerloom_transports::proto::id::Path;
use peerloom_transports::udp::{Sender, Sent};

use super::PathSelected;
use super::traffic::Traffic;

/// The selected path, and what waits for its socket.
#[derive(Default)]
pub(crate) struct WayOut {
    path: Option<Path>,
    sender: Sender,
    /// Somebody waits for the socket already.
    waiting: bool,
}

impl WayOut {
    /// Data goes this way from now on.
    pub(crate) fn select(&mut self, selected: PathSelected) {
        self.path = Some(selected.path);
        // A tunnel may have been built anew for the same path.
        self.sender.remove(selected.path);
        self.sender.add(selected.carrier);
    }

    /// The selected path.
    pub(crate) fn path(&self) -> Option<Path> {
        self.path
    }

    /// Writes a batch to the socket, or keeps it when the socket would block. What is lost is sent
    /// again by SCTP or QUIC.
    pub(crate) fn send(&mut self, batch: Transmit, traffic: &mut Traffic) {
        let path = batch.path;
        match self.sender.send(batch) {
            Sent::Done | Sent::Kept => {}
            Sent::Lost(discarded) => traffic.discarded(path, discarded),
        }
    }

    /// Writes what was kept.
    pub(crate) fn flush(&mut self, traffic: &mut Traffic) {
        self.sender
            .flush(|path, discarded| traffic.discarded(path, discarded));
    }

    /// Whether something is kept: no more should be made.
    pub(crate) fn is_blocked(&self) -> bool {
        self.sender.is_blocked()
    }

    /// Resolves when the socket takes data again; `None` when nothing waits for that, or
    /// somebody does already. Call [`WayOut::woken`] then.
    pub(crate) fn writable(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        if self.waiting {
            return None;
        }
        let carrier = self.sender.blocked_on()?;
        self.waiting = true;
        Some(async move {
            if let Err(error) = carrier.writable().await {
                tracing::debug!(%error, "a socket or tunnel is gone");
            }
        })
    }

    /// The wait is over.
    pub(crate) fn woken(&mut self) {
        self.waiting = false;
    }

    /// Batches lost here.
    pub(crate) fn lost(&self) -> u64 {
        self.sender.lost()
    }
}
