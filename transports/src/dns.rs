//! Names of servers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use peerloom_transports_proto::ice_server::Host;

/// How long the system's resolver may take. Guess: its own limits go up to half a minute.
const PATIENCE: Duration = Duration::from_secs(5);

/// Addresses used of one name: more would multiply what is asked.
const MAX_ADDRESSES: usize = 4;

/// The addresses of a server, as the system's resolver gives them; each of an address family
/// before the second of any.
pub async fn resolve(host: &Host, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = match host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Name(name) => name,
    };
    let lookup = tokio::net::lookup_host((name.as_str(), port));
    let found = match tokio::time::timeout(PATIENCE, lookup).await {
        Ok(found) => found?,
        Err(_) => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the resolver is silent",
            ));
        }
    };
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = found.partition(SocketAddr::is_ipv4);
    let mut all: Vec<SocketAddr> = Vec::new();
    for index in 0..v4.len().max(v6.len()) {
        all.extend(v4.get(index));
        all.extend(v6.get(index));
    }
    all.dedup();
    all.truncate(MAX_ADDRESSES);
    if all.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(all)
}
