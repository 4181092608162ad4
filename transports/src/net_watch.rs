//! Notices when the machine's addresses change.

use std::io;

use futures::StreamExt as _;
use if_watch::tokio::IfWatcher;

use crate::udp::Endpoint;

/// Tells `endpoint` of every address that comes or goes ([`Endpoint::announce_change`]), until
/// the system has no more to say. Addresses that were there at the beginning are told as well:
/// whoever listens compares.
pub async fn watch(endpoint: Endpoint) -> io::Result<()> {
    let mut watcher = IfWatcher::new()?;
    while let Some(event) = watcher.next().await {
        let event = event?;
        tracing::debug!(?event, "an address of this machine changed");
        endpoint.announce_change();
    }
    Ok(())
}
