//! Envelopes that wait here for their addressees. The envelopes themselves are
//! with the [`Crumbs`](super::crumbs::Crumbs): mail is a way without an end yet.

use super::config::{MAIL_PAUSE_MS, MAX_MAIL, MAX_MAIL_BYTES_EACH, MAX_MAIL_EACH};
use super::crumbs::{Key, weight};
use super::frame::Route;
use crate::envelope::RouteTag;

#[derive(Debug)]
struct Mail {
    key: Key,
    to: RouteTag,
    len: usize,
    /// When it is void.
    until: u64,
    /// Not tried before.
    retry: u64,
}

/// What became of an envelope that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It waits.
    New,
    /// It goes on waiting.
    Still,
    /// There is no room for it.
    Full,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Vec<Mail>);

impl Mailbox {
    /// Keeps an envelope until its time is over.
    pub(super) fn keep(&mut self, key: Key, route: &Route, until: u64, now: u64) -> Kept {
        self.expire(now);
        if let Some(mail) = self.0.iter_mut().find(|mail| mail.key == key) {
            mail.retry = now + MAIL_PAUSE_MS;
            return Kept::Still;
        }
        let (to, len) = (route.envelope.to, weight(route));
        let same: Vec<usize> = self
            .0
            .iter()
            .filter(|m| m.to == to)
            .map(|m| m.len)
            .collect();
        let bytes: usize = same.iter().sum();
        let fits = now < until
            && self.0.len() < MAX_MAIL
            && same.len() < MAX_MAIL_EACH
            && bytes + len <= MAX_MAIL_BYTES_EACH;
        if !fits {
            return Kept::Full;
        }
        self.0.push(Mail {
            key,
            to,
            len,
            until,
            retry: now,
        });
        Kept::New
    }

    /// Takes note that an envelope needs no keeping any more.
    pub(super) fn remove(&mut self, key: &Key) {
        self.0.retain(|mail| mail.key != *key);
    }

    /// What waits and may be tried now.
    pub(super) fn due(&self, now: u64) -> impl Iterator<Item = (Key, &RouteTag)> {
        let due = self.0.iter().filter(move |mail| mail.retry <= now);
        due.map(|mail| (mail.key, &mail.to))
    }

    pub(super) fn expire(&mut self, now: u64) {
        self.0.retain(|mail| now < mail.until);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
