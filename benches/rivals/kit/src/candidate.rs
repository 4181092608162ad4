//! ICE candidates, with another address written into them.

use std::net::SocketAddr;

/// `candidate:...` with this address instead of its own.
pub fn readdress(candidate: &str, to: SocketAddr) -> String {
    let mut fields: Vec<_> = candidate.split(' ').map(str::to_owned).collect();
    // Foundation, component, transport, priority, address, port.
    if let [_, _, _, _, address, port, ..] = &mut fields[..] {
        *address = to.ip().to_string();
        *port = to.port().to_string();
    }
    fields.join(" ")
}

/// A description whose candidates all have this address.
pub fn readdress_sdp(sdp: &str, to: SocketAddr) -> String {
    let line = |line: &str| match line.starts_with("a=candidate:") {
        true => readdress(line, to),
        false => line.to_owned(),
    };
    let lines: Vec<_> = sdp.lines().map(line).collect();
    lines.join("\r\n") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_address_and_port_change() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let sdp = "v=0\r\na=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n";
        let wanted = "v=0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n";
        assert_eq!(readdress_sdp(sdp, to), wanted);
        assert_eq!(readdress("", to), "");
    }
}
