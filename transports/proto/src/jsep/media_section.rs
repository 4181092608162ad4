//! Writing audio and video sections (RFC 9429 5.2.1, 5.3.1).

use crate::candidate::Credentials;
use crate::sdp::{
    Attribute, Codec, Direction, Fmtp, Line, Media, Msid, Rid, RidDirection, RtcpFb, RtpMap, Sdp,
    Setup, Simulcast, SimulcastStream,
};

use super::codecs::Formats;
use super::create::{Common, NO_ADDRESS, NO_PORT};
use super::transceiver::{Encoding, Transceiver};

/// What an audio or video section says, apart from its transport.
pub(super) struct Content<'a> {
    pub(super) mid: Option<&'a str>,
    pub(super) protocol: &'a str,
    pub(super) direction: Direction,
    pub(super) transceiver: &'a Transceiver,
    pub(super) formats: &'a Formats,
    /// Encodings that are sent, and those that are received.
    pub(super) send: Vec<Encoding>,
    pub(super) receive: Vec<Encoding>,
}

/// The profile of our offers (RFC 8827 6.5, RFC 9429 5.1.2).
pub(super) const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

impl Common<'_> {
    /// The section.
    pub(super) fn media_section(
        &self,
        content: &Content<'_>,
        (credentials, setup): (&Credentials, Setup),
    ) -> Media {
        let Content { formats, .. } = content;
        let mut attributes = Vec::new();
        attributes.extend(content.mid.map(|mid| Attribute::Mid(mid.to_owned())));
        self.push_transport(&mut attributes, credentials, setup);
        attributes.push(Attribute::Direction(content.direction));
        attributes.extend(msids(content.transceiver).map(Attribute::Msid));
        let rtcp = ["rtcp-mux-only", "rtcp-rsize"].map(Attribute::flag);
        attributes.push(Attribute::RtcpMux);
        attributes.extend(rtcp);
        let extensions = formats.extensions.iter().cloned();
        attributes.extend(extensions.map(Attribute::ExtMap));
        for codec in &formats.codecs {
            push_codec(&mut attributes, codec);
        }
        push_simulcast(&mut attributes, content);
        let numbers = formats.codecs.iter().map(|c| c.payload_type.to_string());
        Media {
            kind: content.transceiver.kind.name().to_owned(),
            port: NO_PORT,
            port_count: None,
            protocol: content.protocol.to_owned(),
            formats: numbers.collect(),
            lines: vec![Line::new('c', NO_ADDRESS)],
            attributes,
        }
    }
}

/// By what the application wants, not by what was negotiated, or `negotiationneeded` would never
/// rest (RFC 9429 5.2.1, 5.3.1; webrtc-pc 4.7.3).
pub(super) fn msids(transceiver: &Transceiver) -> impl Iterator<Item = Msid> {
    let none = [Msid::NO_STREAM.to_owned()];
    let streams = match transceiver.streams.as_slice() {
        [] => none.to_vec(),
        streams => streams.to_vec(),
    };
    let track = transceiver.track.clone();
    let sends = transceiver.direction.sends();
    streams
        .into_iter()
        .filter(move |_| sends)
        .map(move |stream| Msid {
            stream,
            track: Some(track.clone()),
        })
}

fn push_codec(attributes: &mut Vec<Attribute>, codec: &Codec) {
    let payload_type = codec.payload_type;
    attributes.push(Attribute::RtpMap(RtpMap {
        payload_type,
        encoding: codec.name.clone(),
        clock_rate: codec.clock_rate,
        channels: codec.channels,
    }));
    let feedback = codec.feedback.iter().map(|value| RtcpFb {
        payload_type: Some(payload_type),
        value: value.clone(),
    });
    attributes.extend(feedback.map(Attribute::RtcpFb));
    let parameters = codec.parameters.iter().map(|parameters| Fmtp {
        payload_type,
        parameters: parameters.clone(),
    });
    attributes.extend(parameters.map(Attribute::Fmtp));
}

fn push_simulcast(attributes: &mut Vec<Attribute>, content: &Content<'_>) {
    let both = [
        (RidDirection::Send, &content.send),
        (RidDirection::Recv, &content.receive),
    ];
    let mut lists = Vec::new();
    for (direction, encodings) in both {
        let named = |e: &Encoding| Some((e.rid.clone()?, !e.active));
        let named: Vec<_> = encodings.iter().filter_map(named).collect();
        if named.is_empty() {
            continue;
        }
        attributes.extend(named.iter().map(|(id, _)| {
            Attribute::Rid(Rid {
                id: id.clone(),
                direction,
                parameters: None,
            })
        }));
        let stream = |(rid, paused)| SimulcastStream::of(rid, paused);
        lists.push((direction, named.into_iter().map(stream).collect()));
    }
    if !lists.is_empty() {
        attributes.push(Attribute::Simulcast(Simulcast { lists }));
    }
}

/// The encodings in one direction of a section's simulcast that have an `a=rid` line, of each
/// stream the preferred one.
pub(super) fn simulcast(section: &Media, direction: RidDirection) -> Vec<Encoding> {
    let described = |rid: &str| {
        section
            .rids()
            .any(|r| r.id == rid && r.direction == direction)
    };
    let list = section.simulcast().and_then(|s| s.list(direction));
    let preferred = |stream: &SimulcastStream| {
        let mut known = stream.alternatives.iter().filter(|(rid, _)| described(rid));
        known.next().map(|(rid, paused)| Encoding {
            rid: Some(rid.clone()),
            active: !paused,
        })
    };
    let streams = list.unwrap_or_default().iter();
    streams
        .take(super::transceiver::MAX_ENCODINGS)
        .filter_map(preferred)
        .collect()
}

/// What to answer to the simulcast of an offered section: what we send, and what we receive.
pub(super) fn answered_simulcast(
    offered: &Media,
    transceiver: &Transceiver,
    direction: Direction,
    receive_simulcast: bool,
) -> (Vec<Encoding>, Vec<Encoding>) {
    let wanted = simulcast(offered, RidDirection::Recv);
    let ours = transceiver.now.encodings.iter();
    let both = |e: &&Encoding| e.rid.is_some() && wanted.iter().any(|w| w.rid == e.rid);
    let send = ours.filter(both).filter(|_| direction.sends());
    let receive = simulcast(offered, RidDirection::Send);
    let take = receive_simulcast && direction.receives();
    (
        send.cloned().collect(),
        receive.into_iter().filter(|_| take).collect(),
    )
}

/// Whether the section may lie on a transport of ours: its media is of a kind that is enabled, and
/// RTCP shares the transport (RFC 9429 5.3.1).
pub(super) fn may_be_accepted(sdp: &Sdp, section: &Media) -> bool {
    sdp.is_active(section) && section.media_kind().is_some() && section.rtcp_mux()
}
