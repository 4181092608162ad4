//! Reading a description line by line.

use super::attribute::number;
use super::{Attribute, Line, MAX_LINE_LEN, MAX_LINES, MAX_MEDIA, MAX_SDP_LEN, Media, Origin, Sdp};

/// Where and why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct Error {
    /// The first line is 1.
    pub line: usize,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong with a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// It is not UTF-8 (RFC 8866 5).
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// Longer than [`MAX_SDP_LEN`], [`MAX_LINE_LEN`], [`MAX_LINES`] or [`MAX_MEDIA`] allow.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// Not of the form `x=...`.
    #[error("not of the form x=value")]
    NotALine,
    /// A NUL or a carriage return inside a line.
    #[error("a control character that may not stand in a line")]
    ControlCharacter,
    /// Another line has to stand here (RFC 8866 5 fixes the order).
    #[error("{0}= is missing or out of place")]
    Expected(char),
    /// A line that may not stand here.
    #[error("{0}= may not stand here")]
    Unexpected(char),
    /// The part named here is malformed.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

impl Sdp {
    /// Reads a description. Lines may end with CRLF or LF.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_SDP_LEN {
            return Err(Error {
                line: 1,
                kind: ErrorKind::TooLarge("description"),
            });
        }
        let mut lines = Lines::new(text);
        lines.required('v', |value| (value == "0").then_some(()).ok_or("version"))?;
        let origin = lines.required('o', |value| parse_origin(value).ok_or("origin"))?;
        let name = lines.required('s', |value| Ok(value.to_owned()))?;
        let session = lines.body(SESSION_ORDER)?;
        if !session.iter().any(|line| line.kind == 't') {
            return Err(lines.error(ErrorKind::Expected('t')));
        }
        let attributes = lines.attributes()?;
        let mut media = Vec::new();
        while lines.peek()?.is_some() {
            if media.len() == MAX_MEDIA {
                return Err(lines.error(ErrorKind::TooLarge("number of media sections")));
            }
            media.push(lines.media()?);
        }
        Ok(Self {
            origin,
            name,
            lines: session,
            attributes,
            media,
        })
    }

    /// Reads a description from bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = 1 + before.iter().filter(|b| **b == b'\n').count();
                Err(Error {
                    line,
                    kind: ErrorKind::NotUtf8,
                })
            }
        }
    }
}

impl std::str::FromStr for Sdp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// The order of RFC 8866 5 after `s=`; `t` and `r` take turns, so they rank equal.
const SESSION_ORDER: &[(char, u8)] = &[
    ('i', 0),
    ('u', 1),
    ('e', 2),
    ('p', 3),
    ('c', 4),
    ('b', 5),
    ('t', 6),
    ('r', 6),
    ('z', 7),
    ('k', 8),
];

/// The order of RFC 8866 5 after `m=`.
const MEDIA_ORDER: &[(char, u8)] = &[('i', 0), ('c', 1), ('b', 2), ('k', 3)];

struct Lines<'a> {
    rest: &'a str,
    /// The number of the line that comes next.
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            number: 1,
        }
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error {
            line: self.number,
            kind,
        }
    }

    /// The letter and value of the next line, without taking it.
    fn peek(&self) -> Result<Option<(char, &'a str)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.number > MAX_LINES {
            return Err(self.error(ErrorKind::TooLarge("number of lines")));
        }
        let line = self.rest.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.len() > MAX_LINE_LEN {
            return Err(self.error(ErrorKind::TooLarge("line")));
        }
        if line.bytes().any(|b| b == b'\r' || b == 0) {
            return Err(self.error(ErrorKind::ControlCharacter));
        }
        let mut chars = line.chars();
        match (chars.next(), chars.next()) {
            (Some(kind), Some('=')) if kind.is_ascii_lowercase() => {
                Ok(Some((kind, chars.as_str())))
            }
            _ => Err(self.error(ErrorKind::NotALine)),
        }
    }

    /// Takes the line that `peek` showed.
    fn advance(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        self.number += 1;
    }

    fn required<T>(
        &mut self,
        kind: char,
        parse: impl FnOnce(&'a str) -> Result<T, &'static str>,
    ) -> Result<T, Error> {
        match self.peek()? {
            Some((found, value)) if found == kind => {
                let parsed = parse(value).map_err(|part| self.error(ErrorKind::Malformed(part)))?;
                self.advance();
                Ok(parsed)
            }
            _ => Err(self.error(ErrorKind::Expected(kind))),
        }
    }

    /// The lines before the attributes, in the order given.
    fn body(&mut self, order: &[(char, u8)]) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        let mut reached = 0;
        while let Some((kind, value)) = self.peek()? {
            if kind == 'a' || kind == 'm' {
                break;
            }
            match order.iter().find(|(known, _)| *known == kind) {
                Some((_, rank)) if *rank >= reached => reached = *rank,
                _ => return Err(self.error(ErrorKind::Unexpected(kind))),
            }
            lines.push(Line::new(kind, value));
            self.advance();
        }
        Ok(lines)
    }

    fn attributes(&mut self) -> Result<Vec<Attribute>, Error> {
        let mut attributes = Vec::new();
        while let Some((kind, value)) = self.peek()? {
            match kind {
                'a' => {
                    let parsed = Attribute::parse(value);
                    attributes.push(parsed.map_err(|part| self.error(ErrorKind::Malformed(part)))?);
                }
                'm' => break,
                _ => return Err(self.error(ErrorKind::Unexpected(kind))),
            }
            self.advance();
        }
        Ok(attributes)
    }

    fn media(&mut self) -> Result<Media, Error> {
        let mut media = self.required('m', |value| parse_media(value).ok_or("media line"))?;
        media.lines = self.body(MEDIA_ORDER)?;
        media.attributes = self.attributes()?;
        Ok(media)
    }
}

fn parse_origin(value: &str) -> Option<Origin> {
    let mut words = value.splitn(4, ' ');
    let username = words.next().filter(|word| !word.is_empty())?.to_owned();
    let session_id = number(words.next()?)?;
    let version = number(words.next()?)?;
    let address = words.next()?.to_owned();
    (address.split(' ').count() == 3).then_some(Origin {
        username,
        session_id,
        version,
        address,
    })
}

fn parse_media(value: &str) -> Option<Media> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next()?.to_owned();
    let port = words.next()?;
    let (port, port_count) = match port.split_once('/') {
        Some((port, count)) => (number(port)?, Some(number(count)?)),
        None => (number(port)?, None),
    };
    let protocol = words.next()?.to_owned();
    let formats: Vec<String> = words.map(str::to_owned).collect();
    if formats.is_empty() {
        return None;
    }
    let (lines, attributes) = (Vec::new(), Vec::new());
    Some(Media {
        kind,
        port,
        port_count,
        protocol,
        formats,
        lines,
        attributes,
    })
}
