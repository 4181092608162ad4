//! What the claims of an ID token call a peer. Pure.

use openidconnect::core::CoreGenderClaim;
use openidconnect::{EmptyAdditionalClaims, IdTokenClaims};

/// The claims of an ID token.
pub(super) type Claims = IdTokenClaims<EmptyAdditionalClaims, CoreGenderClaim>;

/// What a peer is called: always `name@domain`, as RFC 8827 section 8.1 demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameClaim {
    /// The subject's id at the issuer's host, as in `24400320@accounts.example.com`. What could be
    /// mistaken in it (`@`, `%`, spaces) is percent-encoded.
    Subject,
    /// The e-mail address, if the provider has verified it; escaped in the same way, with its
    /// domain in lower case.
    Email {
        /// Domains that the provider may speak for, beside its own host.
        domains: Vec<String>,
    },
}

impl NameClaim {
    /// What a provider with this host calls whom `claims` are about; `None` when it may not say.
    pub(super) fn of(&self, claims: &Claims, host: &str) -> Option<String> {
        match self {
            NameClaim::Subject => Some(format!("{}@{host}", escaped(claims.subject().as_str()))),
            NameClaim::Email { domains } => {
                claims.email_verified().filter(|verified| *verified)?;
                let (local, domain) = claims.email()?.as_str().rsplit_once('@')?;
                let mut trusted = domains.iter().map(String::as_str).chain([host]);
                let vouched = trusted.any(|trusted| trusted.eq_ignore_ascii_case(domain));
                let vouched = vouched && !local.is_empty();
                vouched.then(|| format!("{}@{}", escaped(local), domain.to_ascii_lowercase()))
            }
        }
    }
}

/// A name with what could be taken for the end of it, or is not printed, as percent-encoded.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if matches!(c, '@' | '%') || c.is_whitespace() || c.is_control() || is_format(c) {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).bytes();
            text.extend(bytes.map(|byte| format!("%{byte:02X}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// Characters that nobody sees and that change how others are shown: zero-width ones, and those
/// that set the direction of text (Unicode Standard Annex 9).
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
