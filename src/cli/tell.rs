//! How what happens to a node is told, to people and to programs.

use std::collections::{BTreeMap, BTreeSet};

use peerloom::{DataTransportChoice, DataTransportKind, Event, Member, PeerId, Room};
use serde_json::{Value, json};

/// Nicks kept of members, present and gone; one more and all are forgotten but
/// those of who is present.
const NICKS: usize = 1024;

/// Refusals kept in order not to tell one twice: who is refused tries again.
const REFUSALS: usize = 1024;

/// Tells what happens in a room. It knows the names of those who have left.
pub(crate) struct Teller {
    room: Room,
    nicks: BTreeMap<PeerId, String>,
    refusals: BTreeSet<String>,
}

impl Teller {
    /// Somebody who has seen nothing yet.
    pub(crate) fn new(room: Room) -> Self {
        Self {
            room,
            nicks: BTreeMap::new(),
            refusals: BTreeSet::new(),
        }
    }

    /// What an event means, if it is worth telling.
    pub(crate) fn tell(&mut self, event: &Event) -> Option<Told> {
        let told = tell(event, |peer| {
            if let Some(nick) = nick_of(&self.room, peer) {
                if self.nicks.len() >= NICKS {
                    self.nicks.clear();
                }
                self.nicks.insert(peer, nick);
            }
            called(peer, self.nicks.get(&peer).map(String::as_str))
        })?;
        let refusal = matches!(
            event,
            Event::IdentityRefused { .. } | Event::IdentityChanged { .. }
        );
        (!refusal || self.is_news(&told)).then_some(told)
    }

    fn is_news(&mut self, refusal: &Told) -> bool {
        if self.refusals.len() >= REFUSALS {
            self.refusals.clear();
        }
        self.refusals.insert(refusal.text.clone())
    }
}

/// Text of others without control characters, and without those that set the direction of text
/// (Unicode Standard Annex 9): it must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| {
        if c.is_control() || turns(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// A member, as `--json` shows it.
fn member_json(member: &Member) -> Value {
    json!({
        "peer": member.peer.to_string(),
        "nick": member.nick,
        "linked": member.linked,
        "me": member.me,
    })
}

/// Who is in a room, as `--json` shows it.
pub(crate) fn members_json(roster: &[Member]) -> Value {
    let members: Vec<_> = roster.iter().map(member_json).collect();
    json!({"event": "members", "members": members})
}

/// Something that happened, for people and for programs.
pub(crate) struct Told {
    /// A sentence.
    pub(crate) text: String,
    /// An object with an `event` field.
    pub(crate) json: Value,
}

impl Told {
    fn about(event: &str, peer: PeerId, text: String) -> Self {
        let json = json!({"event": event, "peer": peer.to_string()});
        Self { text, json }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.json[name] = value.into();
        self
    }
}

/// Tells of a link, what carries it and why.
fn linked(
    mut about: impl FnMut(&str, &PeerId, &str) -> Told,
    peer: &PeerId,
    transport: Option<&DataTransportChoice>,
) -> Told {
    let Some(transport) = transport else {
        return about("linkUp", peer, "is linked");
    };
    let what = match transport.kind {
        DataTransportKind::Sctp => "is linked",
        DataTransportKind::Quic => "is linked over QUIC",
    };
    about("linkUp", peer, what)
        .with("transport", transport.kind.to_string())
        .with("reason", transport.reason.to_string())
}

/// Tells what an event means, if it is worth telling.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most events are no news to whoever only talks"
)]
fn tell(event: &Event, mut name_of: impl FnMut(PeerId) -> String) -> Option<Told> {
    let mut about = |name: &str, peer: &PeerId, what: &str| {
        let text = format!("{} {what}", name_of(*peer));
        Told::about(name, *peer, text)
    };
    match event {
        Event::MemberJoined { peer, .. } => Some(about("memberJoined", peer, "is here")),
        Event::MemberLeft { peer, .. } => Some(about("memberLeft", peer, "left")),
        Event::MemberDied { peer, .. } => Some(about("memberDied", peer, "is gone")),
        Event::LinkUp {
            peer, transport, ..
        } => Some(linked(about, peer, transport.as_ref())),
        Event::LinkDown { peer, cause, .. } => {
            let what = format!("lost its link: {cause}");
            Some(about("linkDown", peer, &what).with("cause", cause.to_string()))
        }
        Event::IdentityRefused { peer, cause } => {
            let what = format!("was refused: {cause}");
            Some(about("identityRefused", peer, &what).with("cause", cause.to_string()))
        }
        Event::IdentityChanged {
            known,
            offered,
            accepted,
        } => {
            let name = &known.name;
            let what = if *accepted {
                format!("has the name {name:?} and a new key")
            } else {
                format!(
                    "claims the name {name:?} of another key; to let it in, end this node and run \
                     peerloom id forget {}",
                    printable(name)
                )
            };
            let told = about("identityChanged", offered, &what);
            Some(
                told.with("name", known.name.clone())
                    .with("accepted", *accepted),
            )
        }
        Event::StoreRebuilt { moved_to, cause } => Some(Told {
            text: format!(
                "the database was damaged ({cause}) and rebuilt; the old one is {}",
                moved_to.display()
            ),
            json: json!({"event": "storeRebuilt", "cause": cause, "movedTo": moved_to}),
        }),
        Event::RecordDropped { cause } => Some(Told {
            text: format!("a damaged record was dropped from the database: {cause}"),
            json: json!({"event": "recordDropped", "cause": cause}),
        }),
        _ => None,
    }
}

/// What people call a member: its nick and the end of its id, or its id.
pub(crate) fn name_of(room: &Room, peer: PeerId) -> String {
    called(peer, nick_of(room, peer).as_deref())
}

fn nick_of(room: &Room, peer: PeerId) -> Option<String> {
    let roster = room.roster();
    let member = roster.iter().find(|member| member.peer == peer);
    member.and_then(|member| member.nick.clone())
}

fn called(peer: PeerId, nick: Option<&str>) -> String {
    match nick {
        Some(nick) => format!("{} ({})", printable(nick), peer.short()),
        None => peer.short(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_not_steer_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\r\nc"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c"
        );
        assert_eq!(printable("żółć 🧶"), "żółć 🧶");
    }

    #[test]
    fn members_are_called_by_nick_and_the_end_of_their_id() {
        let peer = PeerId::from_bytes([7; 32]);
        let short = peer.short();
        assert_eq!(called(peer, None), short);
        assert_eq!(called(peer, Some("a\nb")), format!("a\u{fffd}b ({short})"));
    }

    #[test]
    fn an_event_is_a_sentence_and_an_object() {
        let peer = PeerId::from_bytes([7; 32]);
        let left = Event::MemberLeft {
            room: "lobby".into(),
            peer,
        };
        let told = tell(&left, |_| "bob".to_owned()).expect("news");
        assert_eq!(told.text, "bob left");
        assert_eq!(told.json["event"], "memberLeft");
        assert_eq!(told.json["peer"], peer.to_string());
        assert!(tell(&Event::Missed(3), |_| String::new()).is_none());
    }
}
