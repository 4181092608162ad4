//! Opening the listeners.

use std::error::Error;
use std::net::{IpAddr, SocketAddr, TcpListener};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm};

use super::GossipError;
use super::swarm::Behaviour;

/// Listens on all addresses it can; an error when there is none, or one that
/// does not parse.
pub(super) fn open(swarm: &mut Swarm<Behaviour>, texts: &[String]) -> Result<(), GossipError> {
    let addresses = texts
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    // Before any of them is ours: the two families may share a port.
    let free: Vec<_> = addresses.iter().map(is_free).collect();
    let mut first_error = None;
    let mut listening = addresses.is_empty();
    for ((address, free), text) in addresses.into_iter().zip(free).zip(texts) {
        let opened = free.map_err(|error| chain(&error)).and_then(|()| {
            swarm
                .listen_on(address)
                .map_err(|error| chain(&error))
                .map(drop)
        });
        match opened {
            Ok(()) => listening = true,
            Err(cause) => {
                first_error.get_or_insert(GossipError::Listen {
                    address: text.clone(),
                    cause,
                });
            }
        }
    }
    match first_error {
        // One family missing is no reason to stay away from the other.
        Some(error) if !listening => Err(error),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Result<Multiaddr, GossipError> {
    text.parse()
        .map_err(|error: libp2p::multiaddr::Error| GossipError::Address {
            address: text.to_owned(),
            cause: error.to_string(),
        })
}

/// Whether nobody listens on a TCP port. libp2p's own listeners share ports
/// (`SO_REUSEPORT`, for hole punching), so that two nodes with the same one
/// would each get some of the connections.
fn is_free(address: &Multiaddr) -> std::io::Result<()> {
    match tcp(address) {
        Some(address) if address.port() != 0 => TcpListener::bind(address).map(drop),
        Some(_) | None => Ok(()),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever is not TCP over IP"
)]
fn tcp(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// An error and its sources: libp2p says nothing at the outermost ones.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !text.is_empty() && !said.iter().any(|known| known.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_somebody_listens_on_is_not_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        assert!(is_free(&address).is_err());
        drop(taken);
        assert!(is_free(&address).is_ok());
    }

    #[test]
    fn only_tcp_ports_are_looked_at() {
        let address = |text: &str| text.parse::<Multiaddr>().unwrap();
        assert_eq!(
            tcp(&address("/ip6/::1/tcp/7")),
            Some("[::1]:7".parse().unwrap())
        );
        for text in [
            "/ip4/127.0.0.1/udp/7/quic-v1",
            "/memory/7",
            "/dns/a.example/tcp/7",
        ] {
            assert_eq!(tcp(&address(text)), None, "{text}");
        }
    }

    #[test]
    fn errors_that_say_nothing_are_left_out() {
        let silent = libp2p::TransportError::Other(std::io::Error::other("the port is taken"));
        assert_eq!(chain(&silent), "the port is taken");
    }
}
