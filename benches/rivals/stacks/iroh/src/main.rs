//! iroh: an endpoint that connects (near), one that accepts (far), a stream per
//! direction, datagrams for W2. Directly by address, without relays or discovery.
//!
//! Its defaults, with windows of 1.25 MB a stream. With 16 MiB, as for quinn, packets
//! lost on the loopback or the relay end connections at times ("too many gaps in
//! stream buffer").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use rivals_kit::relay::{Path, Relay};
use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Via};

const ALPN: &[u8] = b"bench";
/// More than any message under test.
const CHUNK: usize = 1 << 20;

fn main() -> ExitCode {
    rivals_kit::main::<Iroh>()
}

struct Iroh {
    near: Endpoint,
    far: Endpoint,
    at: EndpointAddr,
}

async fn endpoint(address: IpAddr) -> Result<Endpoint, Failure> {
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![ALPN.to_vec()])
        .clear_ip_transports()
        .bind_addr(SocketAddr::from((address, 0)))?
        .bind();
    Ok(endpoint.await?)
}

/// Where the near end finds the far one through the relay. Told of each other's
/// addresses, as they are, both would go around it: the near end speaks IPv6 and the
/// far one IPv4, with a bridge to the relay.
fn bridge(via: &Via, far: SocketAddr) -> Result<SocketAddr, Failure> {
    via.far_is_at(far)?;
    let (delay, loss, seed) = (Duration::ZERO, 0.0, 0);
    let bridge = Relay::between(Ipv6Addr::LOCALHOST.into(), Path { delay, loss, seed })?;
    bridge.far_is_at(via.near)?;
    Ok(bridge.near)
}

impl Stack for Iroh {
    type Ends = ();
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        let near = match options.via {
            None => Ipv4Addr::LOCALHOST.into(),
            Some(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let (near, far) = (
            endpoint(near).await?,
            endpoint(Ipv4Addr::LOCALHOST.into()).await?,
        );
        let at = far.bound_sockets();
        let mut at = *at.first().ok_or("no socket")?;
        if let Some(via) = &options.via {
            at = bridge(via, at)?;
        }
        let at = EndpointAddr::new(far.id()).with_ip_addr(at);
        Ok(Self { near, far, at })
    }

    async fn ends(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn connect(&self, _ends: (), kind: Kind) -> Result<Link<Self>, Failure> {
        let near = async { Ok(self.near.connect(self.at.clone(), ALPN).await?) };
        // Of several that connect at once, any may get any far end: all do the same.
        let far = async {
            let incoming = self.far.accept().await.ok_or("the endpoint is closed")?;
            Ok::<_, Failure>(incoming.await?)
        };
        let (near, far) = tokio::try_join!(near, far)?;
        Ok(Link {
            near: channel(&near, kind).await?,
            far: channel(&far, kind).await?,
            keep: Box::new((near, far)),
        })
    }
}

async fn channel(connection: &Connection, kind: Kind) -> Result<(Sender, Receiver), Failure> {
    let connection = connection.clone();
    Ok(match kind {
        Kind::Reliable => (
            Sender::Stream(connection.open_uni().await?),
            Receiver::Expected(connection),
        ),
        Kind::Datagrams => (
            Sender::Datagrams(connection.clone()),
            Receiver::Datagrams(connection),
        ),
    })
}

enum Sender {
    Stream(SendStream),
    Datagrams(Connection),
}

enum Receiver {
    /// A stream is heard of when something is sent on it.
    Expected(Connection),
    Stream(RecvStream),
    Datagrams(Connection),
}

impl Send for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        match self {
            Self::Stream(stream) => stream.write_chunk(message).await?,
            Self::Datagrams(connection) => connection.send_datagram_wait(message).await?,
        }
        Ok(())
    }
}

impl Receive for Receiver {
    async fn receive(&mut self) -> Result<usize, Failure> {
        if let Self::Expected(connection) = self {
            *self = Self::Stream(connection.accept_uni().await?);
        }
        match self {
            Self::Stream(stream) => {
                let chunk = stream.read_chunk(CHUNK).await?;
                Ok(chunk.ok_or("the stream ended")?.len())
            }
            Self::Expected(connection) | Self::Datagrams(connection) => {
                Ok(connection.read_datagram().await?.len())
            }
        }
    }
}
