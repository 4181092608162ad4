//! A STUN or TURN server whose answers a script writes.

use std::net::SocketAddr;

use peerloom_transports_proto::stun::{Builder, Class, Message};

use super::script::Reader;

/// Attributes of one answer; the rest is not read.
const MAX_ATTRIBUTES: usize = 16;
/// Requests kept to be answered. Filled by the client under test; more are lost.
const MAX_UNANSWERED: usize = 64;

/// Bits of the byte that an answer begins with.
const ERROR: u8 = 1;
const SIGNED: u8 = 2;
const OTHER_METHOD: u8 = 4;
const KEPT: u8 = 8;

/// Requests that wait for an answer.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: Vec<Vec<u8>>,
}

impl Requests {
    /// Notes a packet of the client's, if it is a request.
    pub(crate) fn note(&mut self, packet: &[u8]) {
        let request = Message::parse(packet).is_some_and(|m| m.class == Class::Request);
        if request && self.waiting.len() < MAX_UNANSWERED {
            self.waiting.push(packet.to_vec());
        }
    }

    /// The oldest request is lost.
    pub(crate) fn lose(&mut self) {
        if !self.waiting.is_empty() {
            self.waiting.remove(0);
        }
    }

    /// An answer as the script writes it: which request, how (an error, signed, of another method,
    /// the request stays to be answered again), attributes. `key` is asked for the request's key.
    pub(crate) fn answer(
        &mut self,
        reader: &mut Reader<'_>,
        key: impl Fn(&Message<'_>) -> Vec<u8>,
    ) -> Option<Vec<u8>> {
        let (which, how) = (reader.byte()?, reader.byte()?);
        let at = usize::from(which) % self.waiting.len().max(1);
        let request = self.waiting.get(at)?.clone();
        if how & KEPT == 0 {
            self.waiting.remove(at);
        }
        let request = Message::parse(&request)?;
        let class = if how & ERROR == 0 {
            Class::Success
        } else {
            Class::Error
        };
        let method = match how & OTHER_METHOD {
            0 => request.method,
            _ => request.method ^ u16::from(how >> 4),
        };
        let answer = attributes(Builder::new(class, method, request.transaction), reader);
        let answer = match how & SIGNED {
            0 => answer.finish(),
            _ => answer.finish_with_integrity(&key(&request)),
        };
        Some(answer.to_vec())
    }
}

/// Attributes: how many, then each with its kind and length, and an address or plain bytes. With
/// the high bit of the length the bytes are an address and are masked.
pub(crate) fn attributes(mut to: Builder, reader: &mut Reader<'_>) -> Builder {
    let count = usize::from(reader.byte().unwrap_or_default()).min(MAX_ATTRIBUTES);
    for _ in 0..count {
        let (Some(kind), Some(len)) = (reader.word(), reader.byte()) else {
            break;
        };
        let kind = u16::try_from(kind).unwrap_or_default();
        let value = reader.bytes(usize::from(len & 0x7f));
        to = match address(value).filter(|_| len & 0x80 != 0) {
            Some(address) => to.xor_address(kind, address),
            None => to.attribute(kind, value),
        };
    }
    to
}

/// Four or sixteen bytes of address, two of port.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_at_checked(bytes.len().checked_sub(2)?)?;
    let port = u16::from_be_bytes(port.try_into().ok()?);
    let v4 = <[u8; 4]>::try_from(ip).map(|ip| (ip, port).into());
    let v6 = <[u8; 16]>::try_from(ip).map(|ip| (ip, port).into());
    v4.or(v6).ok()
}

/// An attribute as [`attributes`] reads it: plain bytes.
pub(crate) fn plain(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).unwrap_or_default() & 0x7f;
    [&kind.to_be_bytes()[..], &[len], value].concat()
}

/// An attribute as [`attributes`] reads it: an address of IPv4.
pub(crate) fn masked(kind: u16, ip: [u8; 4], port: u16) -> Vec<u8> {
    [
        &kind.to_be_bytes()[..],
        &[0x80 | 6],
        &ip,
        &port.to_be_bytes(),
    ]
    .concat()
}

/// How a server answers that means well.
pub(crate) fn good(attributes: &[Vec<u8>]) -> Vec<u8> {
    written(SIGNED, attributes)
}

/// How a server refuses.
pub(crate) fn refusal(attributes: &[Vec<u8>]) -> Vec<u8> {
    written(ERROR, attributes)
}

fn written(how: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(attributes.len()).unwrap_or_default();
    [&[0, how, count][..], &attributes.concat()].concat()
}
