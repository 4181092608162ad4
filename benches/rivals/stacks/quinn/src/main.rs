//! quinn, by itself: a client endpoint (near) and a server endpoint (far), a stream
//! per direction, datagrams for W2.
//!
//! Configured as `quinn::TransportConfig` advises for throughput: windows of at least
//! the bandwidth-delay product (16 MiB here), and socket buffers of 2 MiB as in
//! quinn's own `perf`. ring, CUBIC, path MTU discovery up to 1,452 bytes: its defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack};

const WINDOW: u32 = 16 << 20;
const SOCKET_BUFFER: usize = 2 << 20;
/// More than any message under test.
const CHUNK: usize = 1 << 20;

fn main() -> ExitCode {
    rivals_kit::main::<Quinn>()
}

struct Quinn {
    near: Endpoint,
    far: Endpoint,
    at: SocketAddr,
}

fn socket() -> Result<std::net::UdpSocket, Failure> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The kernel may give less.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

fn endpoint(server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    Ok(Endpoint::new(config, server, socket()?, runtime)?)
}

fn configs() -> Result<(ClientConfig, ServerConfig), Failure> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into());
    let transport = Arc::new(transport);
    let mut server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    server.transport_config(transport.clone());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
    client.transport_config(transport);
    Ok((client, server))
}

impl Stack for Quinn {
    type Ends = ();
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        let (client, server) = configs()?;
        let mut near = endpoint(None)?;
        near.set_default_client_config(client);
        let far = endpoint(Some(server))?;
        let at = far.local_addr()?;
        if let Some(via) = &options.via {
            via.far_is_at(at)?;
        }
        let at = options.via.map_or(at, |via| via.near);
        Ok(Self { near, far, at })
    }

    async fn ends(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn connect(&self, _ends: (), kind: Kind) -> Result<Link<Self>, Failure> {
        let near = self.near.connect(self.at, "localhost")?;
        // Of several that connect at once, any may get any far end: all do the same.
        let far = async {
            let incoming = self.far.accept().await.ok_or("the endpoint is closed")?;
            Ok::<_, Failure>(incoming.await?)
        };
        let (near, far) = tokio::try_join!(async { Ok(near.await?) }, far)?;
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
                let chunk = stream.read_chunk(CHUNK, true).await?;
                Ok(chunk.ok_or("the stream ended")?.bytes.len())
            }
            Self::Expected(connection) | Self::Datagrams(connection) => {
                Ok(connection.read_datagram().await?.len())
            }
        }
    }
}
