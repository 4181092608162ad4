//! Packets a client must not show to the engine before the server has answered.
//!
//! An engine that still offers both versions picks one by the first packet it sees, and takes
//! anything but a ServerHello or HelloVerifyRequest for a fatal error. A network may deliver
//! later parts of the server's flight first; the server repeats them.

const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 13;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// Whether `packet` starts with a whole ServerHello or HelloVerifyRequest.
pub(super) fn opens_server_flight(packet: &[u8]) -> bool {
    let Some(header) = packet.get(..RECORD_HEADER) else {
        return false;
    };
    let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
    let Some(body) = packet.get(RECORD_HEADER..RECORD_HEADER + len) else {
        return false;
    };
    let Some(head) = body.get(..12) else {
        return false;
    };
    let whole = head[1..4] == head[9..12] && head[6..9] == [0; 3];
    header[0] == HANDSHAKE && whole && matches!(head[0], SERVER_HELLO | HELLO_VERIFY_REQUEST)
}
