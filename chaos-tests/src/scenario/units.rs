//! Quantities as people write them: `10s`, `50%`, `10ms..50ms`.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in milliseconds: `250ms`, `10s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

/// A part of a whole: `50%`.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Part(pub f64);

/// From one duration to another: `1s..30s`, or just `1s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range(pub Span, pub Span);

/// The longest duration taken: a year.
const LONGEST: u64 = 366 * 24 * 3_600_000;

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let span = number.parse::<u64>().ok()?.checked_mul(unit)?;
        (span <= LONGEST).then_some(Span(span))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms % 1_000 != 0 || ms == 0 => write!(f, "{ms}ms"),
            ms if ms % 60_000 != 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{}m", ms / 60_000),
        }
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
        (0.0..=100.0)
            .contains(&number)
            .then_some(Part(number / 100.0))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let range = Range(Span::parse(from.trim())?, Span::parse(to.trim())?);
        (range.0 <= range.1).then_some(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.0, self.1)
    }
}

macro_rules! as_text {
    ($name:ident, $expected:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let unexpected = de::Unexpected::Str(text);
                        $name::parse(text).ok_or_else(|| E::invalid_value(unexpected, &self))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

as_text!(
    Span,
    "a duration such as \"250ms\", \"10s\", \"5m\" or \"1h\""
);
as_text!(Part, "a percentage such as \"50%\"");
as_text!(Range, "a duration or a range such as \"1s..30s\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("0ms", 0)] {
            let span = Span::parse(text).unwrap();
            assert_eq!(span.0, ms);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!(Span::parse("2h").unwrap().to_string(), "120m");
        assert_eq!(Part::parse("12.5%").unwrap().0, 0.125);
        assert_eq!(Range::parse("1s..30s").unwrap().to_string(), "1s..30s");
        assert_eq!(Range::parse("5s").unwrap(), Range(Span(5_000), Span(5_000)));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1d",
            "1.5s",
            "99999999999999999999s",
            "9000000h",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        for text in ["", "50", "101%", "-1%", "x%", "NaN%"] {
            assert_eq!(Part::parse(text), None, "{text}");
        }
        assert_eq!(Range::parse("2s..1s"), None);
    }
}
