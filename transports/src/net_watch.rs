//! Notices when the machine's addresses change.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Weak};

use futures::StreamExt as _;
use if_watch::tokio::IfWatcher;
use tokio::sync::watch;

use crate::udp::Endpoint;

/// Counts changes.
type Changes = watch::Sender<u64>;

thread_local! {
    /// All endpoints of a thread share a watcher, which has a socket and buffers of its own.
    static SHARED: RefCell<Weak<Changes>> = const { RefCell::new(Weak::new()) };
}

/// Tells `endpoint` of every address that comes or goes ([`Endpoint::announce_change`]), until
/// the system has no more to say. It is told once at the beginning as well: whoever listens compares.
/// To be called where `spawn_local` works.
pub async fn watch(endpoint: Endpoint) -> io::Result<()> {
    let mut changes = changes()?;
    endpoint.announce_change();
    while changes.changed().await.is_ok() {
        endpoint.announce_change();
    }
    Ok(())
}

fn changes() -> io::Result<watch::Receiver<u64>> {
    if let Some(shared) = SHARED.with_borrow(Weak::upgrade) {
        return Ok(shared.subscribe());
    }
    let (changes, receiver) = watch::channel(0);
    let changes = Arc::new(changes);
    SHARED.set(Arc::downgrade(&changes));
    let watching = count(IfWatcher::new()?, changes);
    // Ends by itself with the last receiver, or with the thread.
    drop(tokio::task::spawn_local(watching));
    Ok(receiver)
}

/// Counts what the system says as long as somebody wants to know.
async fn count(mut watcher: IfWatcher, changes: Arc<Changes>) {
    loop {
        let event = tokio::select! {
            event = watcher.next() => event,
            () = changes.closed() => return,
        };
        match event {
            Some(Ok(event)) => {
                tracing::debug!(?event, "an address of this machine changed");
                changes.send_modify(|count| *count += 1);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "changes of this machine's addresses go unnoticed");
                return;
            }
            None => return,
        }
    }
}
