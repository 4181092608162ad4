//! Which codecs and header extensions a section gets, and under which numbers.
//!
//! In an offer the numbers are ours, except that what was negotiated before keeps its numbers
//! (RFC 3264 8.3.2), and that a number means the same in every section (RFC 9143 9). In an
//! answer they are the offerer's.

use std::collections::{BTreeMap, BTreeSet};

use crate::sdp::{Codec, ExtMap, Media, MediaKind, Sdp};

use super::media::{CodecCapability, KindCapabilities, MediaCapabilities};

/// Payload types for new codecs: the dynamic ones (RFC 3551 3), then those that RTP/RTCP
/// multiplexing leaves free (RFC 5761 4).
const DYNAMIC: [std::ops::RangeInclusive<u8>; 2] = [96..=127, 35..=63];
/// Ids of header extensions in the form of two bytes; 15 is reserved in that of one.
const MAX_EXTENSION_ID: u16 = 255;
const RESERVED_EXTENSION_ID: u16 = 15;

/// The numbers that are in use in a session.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    payload_types: BTreeMap<u8, Codec>,
    extensions: BTreeMap<u16, String>,
}

impl Numbers {
    /// Those of all active sections; where two disagree, the first counts.
    pub(super) fn of<'a>(sdps: impl IntoIterator<Item = &'a Sdp>) -> Self {
        let mut numbers = Self::default();
        for sdp in sdps {
            let media = sdp.media.iter().filter(|m| m.media_kind().is_some());
            for section in media.filter(|m| sdp.is_active(m)) {
                for codec in section.codecs() {
                    let number = codec.payload_type;
                    numbers.payload_types.entry(number).or_insert(codec);
                }
                for map in section.extensions() {
                    let uri = || map.uri.clone();
                    numbers.extensions.entry(map.id).or_insert_with(uri);
                }
            }
        }
        numbers
    }

    fn payload_type(&mut self, codec: &Codec) -> Option<u8> {
        let same = |(_, known): &(&u8, &Codec)| is_same(known, codec);
        if let Some((number, _)) = self.payload_types.iter().find(same) {
            return Some(*number);
        }
        let dynamic = DYNAMIC.into_iter().flatten();
        let number = std::iter::once(codec.payload_type)
            .chain(dynamic)
            .find(|number| !self.payload_types.contains_key(number))?;
        let codec = Codec {
            payload_type: number,
            ..codec.clone()
        };
        self.payload_types.insert(number, codec);
        Some(number)
    }

    fn extension(&mut self, uri: &str) -> Option<u16> {
        let known = self.extensions.iter().find(|(_, known)| *known == uri);
        if let Some((id, _)) = known {
            return Some(*id);
        }
        let free = |id: &u16| *id != RESERVED_EXTENSION_ID && !self.extensions.contains_key(id);
        let id = (1..=MAX_EXTENSION_ID).find(free)?;
        self.extensions.insert(id, uri.to_owned());
        Some(id)
    }
}

/// What a section offers or answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Formats {
    pub(super) codecs: Vec<Codec>,
    pub(super) extensions: Vec<ExtMap>,
}

/// What to offer in audio and in video sections.
pub(super) fn offered(
    capabilities: &MediaCapabilities,
    mut numbers: Numbers,
) -> BTreeMap<MediaKind, Formats> {
    let kinds = [MediaKind::Audio, MediaKind::Video];
    let formats = kinds.map(|kind| (kind, offered_kind(capabilities.of(kind), &mut numbers)));
    formats.into_iter().collect()
}

fn offered_kind(capabilities: &KindCapabilities, numbers: &mut Numbers) -> Formats {
    let mut codecs = Vec::new();
    let mut assigned = BTreeMap::new();
    for CodecCapability { codec, rtx } in &capabilities.codecs {
        let mut codec = codec.clone();
        renumber_red(&mut codec, &assigned);
        let Some(number) = numbers.payload_type(&codec) else {
            continue;
        };
        assigned.insert(codec.payload_type, number);
        codec.payload_type = number;
        let rtx = rtx.map(|preferred| retransmission(preferred, &codec));
        codecs.push(codec);
        if let Some(mut rtx) = rtx
            && let Some(number) = numbers.payload_type(&rtx)
        {
            rtx.payload_type = number;
            codecs.push(rtx);
        }
    }
    let uris = capabilities.extensions.iter();
    let extensions = uris.filter_map(|uri| {
        Some(ExtMap {
            id: numbers.extension(uri)?,
            direction: None,
            uri: uri.clone(),
            parameters: None,
        })
    });
    Formats {
        codecs,
        extensions: extensions.collect(),
    }
}

/// `rtx` for `codec` (RFC 4588 8).
fn retransmission(payload_type: u8, codec: &Codec) -> Codec {
    Codec {
        payload_type,
        name: "rtx".to_owned(),
        clock_rate: codec.clock_rate,
        channels: None,
        parameters: Some(format!("apt={}", codec.payload_type)),
        feedback: Vec::new(),
    }
}

/// The parameters of `red` are payload types (RFC 2198 5).
fn red_types(codec: &Codec) -> Option<Vec<u8>> {
    let text = codec.parameters.as_deref().filter(|_| codec.is("red"))?;
    let numbers = text.split('/').map(|word| word.trim().parse().ok());
    numbers.collect()
}

fn renumber_red(codec: &mut Codec, assigned: &BTreeMap<u8, u8>) {
    if let Some(numbers) = red_types(codec) {
        let number = |n: &u8| assigned.get(n).unwrap_or(n).to_string();
        let numbers: Vec<_> = numbers.iter().map(number).collect();
        codec.parameters = Some(numbers.join("/"));
    }
}

/// What to answer to a section: what both have, in the offerer's order and numbers. `None`
/// when there is nothing that could carry media.
pub(super) fn answered(capabilities: &KindCapabilities, offer: &Media) -> Option<Formats> {
    let offered = offer.codecs();
    let mut kept: BTreeSet<u8> = BTreeSet::new();
    let mut repaired = BTreeSet::new();
    for theirs in offered.iter().filter(|codec| stands_alone(codec)) {
        let Some(ours) = capability(capabilities, theirs) else {
            continue;
        };
        kept.insert(theirs.payload_type);
        if ours.rtx.is_some() {
            repaired.insert(theirs.payload_type);
        }
    }
    let answer = |theirs: &Codec| {
        let depends = red_types(theirs).unwrap_or_default();
        if theirs.is("rtx") {
            let known = theirs.repairs().is_some_and(|apt| repaired.contains(&apt));
            return known.then(|| theirs.clone());
        }
        if !depends.iter().all(|number| kept.contains(number)) {
            return None;
        }
        Some(in_common(&capability(capabilities, theirs)?.codec, theirs))
    };
    let codecs: Vec<Codec> = offered.iter().filter_map(answer).collect();
    if !codecs.iter().any(carries_media) {
        return None;
    }
    Some(Formats {
        codecs,
        extensions: answered_extensions(capabilities, offer),
    })
}

fn answered_extensions(capabilities: &KindCapabilities, offer: &Media) -> Vec<ExtMap> {
    let mut seen = BTreeSet::new();
    let fits = |map: &&ExtMap| {
        map.id <= MAX_EXTENSION_ID
            && map.id != RESERVED_EXTENSION_ID
            && capabilities.extensions.contains(&map.uri)
    };
    let mirrored = |map: &ExtMap| ExtMap {
        direction: map.direction.map(|direction| direction.reversed()),
        ..map.clone()
    };
    let known = offer.extensions().filter(fits);
    known
        .filter(|map| seen.insert(map.uri.clone()))
        .map(mirrored)
        .collect()
}

fn capability<'a>(all: &'a KindCapabilities, codec: &Codec) -> Option<&'a CodecCapability> {
    all.codecs.iter().find(|one| is_same(&one.codec, codec))
}

/// Our codec under their number, with the feedback both understand.
fn in_common(ours: &Codec, theirs: &Codec) -> Codec {
    let both = |value: &&String| theirs.feedback.contains(value);
    let echoed = red_types(theirs).is_some();
    Codec {
        payload_type: theirs.payload_type,
        name: theirs.name.clone(),
        channels: theirs.channels,
        feedback: ours.feedback.iter().filter(both).cloned().collect(),
        parameters: if echoed {
            theirs.parameters.clone()
        } else {
            ours.parameters.clone()
        },
        clock_rate: theirs.clock_rate,
    }
}

/// What is left of what we said after the peer has answered, or of what it offered after we
/// did: codecs by our numbers and by theirs.
pub(super) fn agreed(ours: &Media, theirs: &Media) -> (Vec<Codec>, Vec<Codec>, Vec<ExtMap>) {
    let (local, remote) = (ours.codecs(), theirs.codecs());
    let in_both = |one: &Codec, others: &[Codec], by: &[Codec]| {
        others
            .iter()
            .any(|other| is_same_in(one, by, other, others))
    };
    let receive = local.iter().filter(|c| in_both(c, &remote, &local));
    let send = remote.iter().filter(|c| in_both(c, &local, &remote));
    let known = |map: &&ExtMap| {
        theirs
            .extensions()
            .any(|t| t.id == map.id && t.uri == map.uri)
    };
    (
        send.cloned().collect(),
        receive.cloned().collect(),
        ours.extensions().filter(known).cloned().collect(),
    )
}

/// Whether a codec encodes something, rather than repairing, wrapping or signalling.
pub(super) fn carries_media(codec: &Codec) -> bool {
    let helpers = [
        "rtx",
        "red",
        "ulpfec",
        "flexfec-03",
        "telephone-event",
        "CN",
    ];
    !helpers.iter().any(|name| codec.is(name))
}

/// Whether a codec means something without another one that it names.
fn stands_alone(codec: &Codec) -> bool {
    !codec.is("rtx") && red_types(codec).is_none()
}

/// As [`is_same`], with `rtx` compared by what it repairs.
fn is_same_in(one: &Codec, ones: &[Codec], other: &Codec, others: &[Codec]) -> bool {
    let repaired = |codec: &Codec, among: &[Codec]| {
        let apt = codec.repairs()?;
        among.iter().find(|c| c.payload_type == apt).cloned()
    };
    if !(one.is("rtx") && other.is("rtx")) {
        return is_same(one, other);
    }
    match (repaired(one, ones), repaired(other, others)) {
        (Some(one), Some(other)) => is_same(&one, &other),
        _ => false,
    }
}

/// Whether two descriptions of a codec mean streams that the other's decoder takes.
pub(super) fn is_same(a: &Codec, b: &Codec) -> bool {
    let same_map = a.is(&b.name)
        && a.clock_rate == b.clock_rate
        && a.channels.unwrap_or(1) == b.channels.unwrap_or(1);
    let same = |name: &str, default: &str| {
        a.parameter(name).unwrap_or(default) == b.parameter(name).unwrap_or(default)
    };
    same_map
        && match a.name.to_ascii_uppercase().as_str() {
            "H264" => same("packetization-mode", "0") && h264_profile(a) == h264_profile(b),
            "VP9" => same("profile-id", "0"),
            "AV1" => same("profile", "0"),
            "RTX" => a.repairs().is_some() && a.repairs() == b.repairs(),
            _ => true,
        }
}

/// The profiles that decoders tell apart (RFC 6184 8.1, table 5).
#[derive(Debug, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Other(u8, u8),
}

/// Baseline where nothing is said (RFC 6184 8.1).
fn h264_profile(codec: &Codec) -> Option<H264Profile> {
    let text = codec.parameter("profile-level-id").unwrap_or("42000a");
    if text.len() != 6 || !text.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let (idc, iop) = (byte(0)?, byte(2)?);
    Some(match idc {
        0x42 if iop & 0x40 != 0 => H264Profile::ConstrainedBaseline,
        0x4d if iop & 0x80 != 0 => H264Profile::ConstrainedBaseline,
        0x42 => H264Profile::Baseline,
        _ => H264Profile::Other(idc, iop & 0x0c),
    })
}
