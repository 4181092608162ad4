//! A node's UDP sockets on the arbiter pool.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerloom_transports::{net_watch, tcp, udp};
use tokio::task::{AbortHandle, JoinSet};

use crate::runtime::{Runtime, RuntimeError};

/// Pause before a receive loop that has ended begins anew. Guess: keeps a socket that
/// fails at once from taking a core.
const RESTART_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Settings of an [`Endpoint`].
#[derive(Debug, Clone, Default)]
pub struct EndpointConfig {
    /// What to bind. When empty: all interfaces on ephemeral ports, IPv4 and, where the
    /// machine has it, IPv6.
    pub bind: Vec<SocketAddr>,
}

/// The sockets could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// An address could not be bound.
    #[error("{0} (is the port in use, or the address not of this machine?)")]
    Bind(#[from] udp::BindError),
    /// The actors' threads are gone.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// One UDP port per address family that carries all peer connections of a node.
/// Cloning is cheap; the sockets close with the last clone and connection, or by
/// [`Endpoint::close`].
#[derive(Debug, Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    udp: udp::Endpoint,
    loops: Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_loops();
    }
}

impl Inner {
    fn loops(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_loops(&self) {
        for receive_loop in self.loops().drain(..) {
            receive_loop.abort();
        }
    }
}

impl Endpoint {
    /// Binds the sockets and starts their receive loops on one of the arbiters.
    pub async fn bind(
        runtime: &Runtime,
        config: EndpointConfig,
    ) -> Result<Endpoint, EndpointError> {
        let start = move || -> Result<_, udp::BindError> {
            let udp = bind_all(&config.bind)?;
            let sockets = udp.sockets().iter();
            let mut loops: Vec<_> = sockets.map(|socket| start_loop(socket, &udp)).collect();
            loops.push(start_watch(&udp));
            Ok((udp, loops))
        };
        let (udp, loops) = runtime.run_on(runtime.pick(), start).await??;
        let inner = Inner {
            runtime: runtime.clone(),
            udp,
            loops: Mutex::new(loops),
        };
        Ok(Endpoint {
            inner: Arc::new(inner),
        })
    }

    /// The bound addresses; a wildcard stays a wildcard.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.inner
            .udp
            .sockets()
            .iter()
            .map(udp::Socket::local_addr)
            .collect()
    }

    /// Accepts TCP connections for the peer connections of this endpoint (RFC 6544): those that gather
    /// from now on have passive TCP candidates there, one listener serving them all. Browsers never
    /// do; do it where peers may be whose UDP is blocked. Returns the bound address: port 0 asks
    /// for any, a wildcard address stays one. It ends with the endpoint.
    ///
    /// Connections are *opened* to other peers' passive candidates without this, see
    /// [`IceConfig::tcp_active`](peerloom_transports::proto::config::IceConfig::tcp_active).
    ///
    /// # Errors
    ///
    /// [`EndpointError::Bind`]: the address cannot be had.
    pub async fn listen_tcp(&self, addr: SocketAddr) -> Result<SocketAddr, EndpointError> {
        let udp = self.inner.udp.clone();
        let listen = move || -> Result<_, udp::BindError> {
            let listener = tcp::Listener::bind(addr)?;
            let local = listener.local_addr();
            let accepting = udp.clone();
            let accept = move || listener.clone().accept(accepting.clone());
            let accepting = tokio::task::spawn_local(again_and_again(local, accept));
            udp.accepts_at(local);
            Ok((local, accepting.abort_handle()))
        };
        let runtime = &self.inner.runtime;
        let (local, accepting) = runtime.run_on(runtime.pick(), listen).await??;
        self.inner.loops().push(accepting);
        Ok(local)
    }

    /// The kernel buffers granted to each socket.
    pub fn buffers(&self) -> Vec<udp::BufferSizes> {
        self.inner
            .udp
            .sockets()
            .iter()
            .map(udp::Socket::buffers)
            .collect()
    }

    /// Stops receiving. Connections on this endpoint go silent; close them first.
    pub async fn close(&self) {
        self.inner.stop_loops();
    }

    /// From this instant drops everything in and out, without a goodbye; or stops doing
    /// so.
    #[cfg(feature = "chaos")]
    pub fn silence(&self, silent: bool) {
        self.inner.udp.silence(silent);
    }

    /// Drops all QUIC packets on their way out from now on, or stops doing so, as a network does that
    /// knows no QUIC.
    #[cfg(feature = "chaos")]
    pub fn block_quic(&self, block: bool) {
        self.inner.udp.block_quic(block);
    }

    /// Loses a seeded share of everything sent from now on.
    #[cfg(feature = "chaos")]
    pub fn impair(&self, impairment: udp::Impairment) {
        self.inner.udp.impair(impairment);
    }

    /// From now on sockets bound to a wildcard have these addresses only, as if the machine had
    /// moved to another network.
    #[cfg(feature = "chaos")]
    pub fn pretend_addresses(&self, addresses: Vec<std::net::IpAddr>) {
        self.inner.udp.pretend_addresses(addresses);
    }

    /// The runtime this endpoint lives on.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    pub(crate) fn udp(&self) -> &udp::Endpoint {
        &self.inner.udp
    }
}

fn start_loop(socket: &udp::Socket, udp: &udp::Endpoint) -> AbortHandle {
    let receiving = receive_always(socket.clone(), udp.clone());
    tokio::task::spawn_local(receiving).abort_handle()
}

/// Without it connections live on, and notice late that an address is gone.
fn start_watch(udp: &udp::Endpoint) -> AbortHandle {
    let watching = net_watch::watch(udp.clone());
    let watching = async move {
        if let Err(error) = watching.await {
            tracing::warn!(%error, "changes of this machine's addresses go unnoticed");
        }
    };
    tokio::task::spawn_local(watching).abort_handle()
}

/// Receives on a socket of the endpoint. Drop or abort it to stop.
pub(crate) async fn receive_always(socket: udp::Socket, udp: udp::Endpoint) {
    let local = socket.local_addr();
    again_and_again(local, || udp::receive(socket.clone(), udp.routes().clone())).await;
}

/// A receive loop holds no state worth keeping: whatever ends it, it begins anew.
async fn again_and_again<F>(local: SocketAddr, mut receive: impl FnMut() -> F)
where
    F: Future<Output = std::io::Result<()>> + 'static,
{
    loop {
        let mut receiving = JoinSet::new();
        receiving.spawn_local(receive());
        let ended = receiving.join_next().await;
        tracing::error!(%local, ?ended, "the loop of a socket ended; starting it again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

fn bind_all(wanted: &[SocketAddr]) -> Result<udp::Endpoint, udp::BindError> {
    if !wanted.is_empty() {
        return udp::Endpoint::bind(wanted);
    }
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    udp::Endpoint::bind(&[v4, v6]).or_else(|error| {
        tracing::debug!(%error, "no IPv6 here");
        udp::Endpoint::bind(&[v4])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn a_receive_loop_begins_anew_after_an_error_and_after_a_panic() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            let begun = Rc::new(Cell::new(0));
            let (third, here) = tokio::sync::oneshot::channel();
            let mut third = Some(third);
            let receive = move || {
                begun.set(begun.get() + 1);
                let (begun, third) = (begun.get(), third.take_if(|_| begun.get() == 3));
                async move {
                    assert_ne!(begun, 1, "the first panics");
                    match third {
                        None => return Err(std::io::ErrorKind::Other.into()),
                        Some(third) => third.send(()).expect("the test waits"),
                    }
                    std::future::pending().await
                }
            };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            tokio::task::spawn_local(again_and_again(address, receive));
            here.await.expect("it begins a third time");
        });
    }
}
