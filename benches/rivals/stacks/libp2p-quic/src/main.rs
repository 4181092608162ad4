//! libp2p-quic: the transport by itself, without a swarm around it, which is the
//! fastest way to use it. A transport that dials (near), one that listens (far), a
//! stream per direction; it has no datagrams. Its defaults: windows of 10 MB a stream
//! and 15 MB a connection, path MTU discovery up to 1,452 bytes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p_core::muxing::StreamMuxerExt as _;
use libp2p_core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p_core::{Endpoint, Multiaddr, Transport as _};
use libp2p_quic::tokio::Transport;
use libp2p_quic::{Config, Connection, Stream};
use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Unsupported};
use tokio::sync::mpsc;

/// What one read may bring.
const READ_BUFFER: usize = 1 << 16;
/// Connections that have come and wait to be taken.
const ACCEPTED: usize = 64;

fn main() -> ExitCode {
    rivals_kit::main::<Quic>()
}

struct Quic {
    near: Arc<Mutex<Transport>>,
    far: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
    at: Multiaddr,
}

fn transport() -> Transport {
    let key = libp2p_identity::Keypair::generate_ed25519();
    Transport::new(Config::new(&key))
}

async fn event(transport: &Mutex<Transport>) -> Event {
    poll_fn(|context| {
        let mut transport = transport.lock().unwrap_or_else(PoisonError::into_inner);
        std::pin::Pin::new(&mut *transport).poll(context)
    })
    .await
}

type Event = TransportEvent<
    <Transport as libp2p_core::Transport>::ListenerUpgrade,
    <Transport as libp2p_core::Transport>::Error,
>;

fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        libp2p_core::multiaddr::Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

impl Stack for Quic {
    type Ends = ();
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        let mut far = transport();
        let anywhere = "/ip4/127.0.0.1/udp/0/quic-v1".parse()?;
        far.listen_on(ListenerId::next(), anywhere)?;
        let far = Mutex::new(far);
        let mut at = loop {
            if let TransportEvent::NewAddress { listen_addr, .. } = event(&far).await {
                break listen_addr;
            }
        };
        if let Some(via) = &options.via {
            let port = port(&at).ok_or("no port in the listening address")?;
            via.far_is_at(SocketAddr::from(([127, 0, 0, 1], port)))?;
            at = format!("/ip4/{}/udp/{}/quic-v1", via.near.ip(), via.near.port()).parse()?;
        }
        let (accepted, accepting) = mpsc::channel(ACCEPTED);
        tokio::spawn(async move {
            loop {
                if let TransportEvent::Incoming { upgrade, .. } = event(&far).await {
                    let accepted = accepted.clone();
                    tokio::spawn(async move {
                        if let Ok((_, connection)) = upgrade.await {
                            // Whoever waits for it may have given up.
                            let _ = accepted.send(connection).await;
                        }
                    });
                }
            }
        });
        let near = Arc::new(Mutex::new(transport()));
        let driven = near.clone();
        tokio::spawn(async move {
            loop {
                event(&driven).await;
            }
        });
        let far = tokio::sync::Mutex::new(accepting);
        Ok(Self { near, far, at })
    }

    async fn ends(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn connect(&self, _ends: (), kind: Kind) -> Result<Link<Self>, Failure> {
        if kind == Kind::Datagrams {
            return Err(Unsupported("no datagrams").into());
        }
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let dial = {
            let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
            near.dial(self.at.clone(), options)?
        };
        let near = async { Ok(dial.await?.1) };
        // Of several that connect at once, any may get any far end: all do the same.
        let far = async {
            let accepted = self.far.lock().await.recv().await;
            Ok::<_, Failure>(accepted.ok_or("the listener is gone")?)
        };
        let (near, far) = tokio::try_join!(near, far)?;
        Ok(Link {
            near: channel(near).await?,
            far: channel(far).await?,
            keep: Box::new(()),
        })
    }
}

async fn channel(mut connection: Connection) -> Result<(Sender, Receiver), Failure> {
    let stream = poll_fn(|context| connection.poll_outbound_unpin(context)).await?;
    let receiver = Receiver {
        connection,
        stream: None,
        buffer: Vec::new(),
    };
    Ok((Sender(stream), receiver))
}

struct Sender(Stream);

struct Receiver {
    connection: Connection,
    /// Heard of when something is sent on it.
    stream: Option<Stream>,
    buffer: Vec<u8>,
}

impl Send for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        Ok(self.0.write_all(&message).await?)
    }
}

impl Receive for Receiver {
    async fn receive(&mut self) -> Result<usize, Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let connection = &mut self.connection;
                let stream = poll_fn(|context| connection.poll_inbound_unpin(context)).await?;
                self.buffer = vec![0; READ_BUFFER];
                none.insert(stream)
            }
        };
        match stream.read(&mut self.buffer).await? {
            0 => Err("the stream ended".into()),
            bytes => Ok(bytes),
        }
    }
}
