//! The provider's metadata and keys: asked for once at a time, kept for a while, and not asked for
//! again and again while nobody answers.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openidconnect::core::CoreProviderMetadata;
use peerloom_actors::IdentityError;

/// How long keys count. Guess: providers change theirs every few weeks, and a key that one has
/// withdrawn counts here for so long.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// The pause after the first failure; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest: anybody can send tokens with unknown keys, each of which asks.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of the provider.
#[derive(Default)]
pub(super) struct Discovery {
    /// Held for a look or a change, never while anything is waited for.
    known: Mutex<Known>,
    /// Held by who asks the provider; the others wait for what it says.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    found: Option<(Arc<CoreProviderMetadata>, Instant)>,
    failed: Option<Failed>,
}

struct Failed {
    /// Not asked again before.
    until: Instant,
    pause: Duration,
    why: IdentityError,
}

type Outcome = Result<Arc<CoreProviderMetadata>, IdentityError>;

impl Discovery {
    /// What is at hand if it is not older than `age`, or what `ask` brings. `clock` is read before
    /// and after waiting.
    pub(super) async fn get(
        &self,
        age: Duration,
        ask: impl Future<Output = Result<CoreProviderMetadata, IdentityError>>,
        clock: impl Fn() -> Instant,
    ) -> Outcome {
        if let Some(metadata) = self.known().young(age, clock()) {
            return Ok(metadata);
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(outcome) = self.known().at_hand(age, clock()) {
            return outcome;
        }
        self.known().begin(clock());
        let found = ask.await;
        self.known().settle(found, clock())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn young(&self, age: Duration, now: Instant) -> Option<Arc<CoreProviderMetadata>> {
        let (metadata, at) = self.found.as_ref()?;
        let young = now.saturating_duration_since(*at) < age.min(MAX_AGE);
        young.then(|| Arc::clone(metadata))
    }

    /// What can be said without asking the provider, if anything. While it is being asked that is
    /// a failure already.
    fn at_hand(&self, age: Duration, now: Instant) -> Option<Outcome> {
        if let Some(metadata) = self.young(age, now) {
            return Some(Ok(metadata));
        }
        let failed = self.failed.as_ref().filter(|failed| now < failed.until)?;
        Some(Err(failed.why.clone()))
    }

    /// Counts as failed until it has succeeded: who asks may give up waiting.
    fn begin(&mut self, now: Instant) {
        let longer = |failed: &Failed| (failed.pause * 2).min(LAST_PAUSE);
        let pause = self.failed.as_ref().map_or(FIRST_PAUSE, longer);
        self.failed = Some(Failed {
            until: now + pause,
            pause,
            why: IdentityError::TimedOut,
        });
    }

    fn settle(
        &mut self,
        found: Result<CoreProviderMetadata, IdentityError>,
        now: Instant,
    ) -> Outcome {
        let metadata = match found {
            Ok(metadata) => Arc::new(metadata),
            Err(why) => {
                if let Some(failed) = &mut self.failed {
                    failed.until = now + failed.pause;
                    failed.why.clone_from(&why);
                }
                return Err(why);
            }
        };
        self.failed = None;
        self.found = Some((Arc::clone(&metadata), now));
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn metadata() -> CoreProviderMetadata {
        let page = "https://accounts.example.com/a";
        serde_json::from_value(serde_json::json!({
            "issuer": "https://accounts.example.com", "authorization_endpoint": page,
            "jwks_uri": page, "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
        }))
        .unwrap()
    }

    /// A provider that counts how often it is asked, and its clock.
    struct World {
        discovery: Discovery,
        asked: AtomicU32,
        start: Instant,
    }

    impl World {
        fn new() -> Self {
            Self {
                discovery: Discovery::default(),
                asked: AtomicU32::new(0),
                start: crate::clock::time().now,
            }
        }

        async fn get(&self, age: Duration, at_s: u64, works: bool) -> bool {
            let ask = async {
                self.asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                works.then(metadata).ok_or(IdentityError::TimedOut)
            };
            let now = self.start + Duration::from_secs(at_s);
            self.discovery.get(age, ask, || now).await.is_ok()
        }

        fn asked(&self) -> u32 {
            self.asked.swap(0, Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn many_ask_the_provider_once() {
        let world = World::new();
        let all = (0..20).map(|_| world.get(MAX_AGE, 0, true));
        let outcomes = futures::future::join_all(all).await;
        assert!(outcomes.into_iter().all(|found| found));
        assert_eq!(world.asked(), 1);
    }

    #[tokio::test]
    async fn what_is_known_counts_for_a_day() {
        let world = World::new();
        let day = MAX_AGE.as_secs();
        for (at, asked) in [(0, 1), (day - 1, 0), (day, 1), (day + 1, 0)] {
            assert!(world.get(Duration::MAX, at, true).await);
            assert_eq!(world.asked(), asked, "after {at} s");
        }
        assert!(!world.get(Duration::MAX, 3 * day, false).await, "too old");
        assert!(world.get(Duration::from_secs(60), 4 * day, true).await);
    }

    #[tokio::test]
    async fn a_provider_that_fails_is_left_alone_for_longer_and_longer() {
        let world = World::new();
        for (at, asked) in [(0, 1), (0, 0), (1, 1), (2, 0), (3, 1), (6, 0), (7, 1)] {
            assert!(!world.get(MAX_AGE, at, false).await);
            assert_eq!(world.asked(), asked, "after {at} s");
        }
        assert!(world.get(MAX_AGE, 100, true).await);
        assert!(world.get(MAX_AGE, 101, false).await, "it is known");
        // A key that nobody knows: asked once, and what is known counts on.
        assert!(!world.get(Duration::from_secs(60), 200, false).await);
        assert!(!world.get(Duration::from_secs(60), 200, false).await);
        assert_eq!(world.asked(), 2);
        assert!(world.get(MAX_AGE, 200, false).await);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_counts_as_a_failure() {
        let world = World::new();
        let now = world.start;
        let never = world.discovery.get(MAX_AGE, std::future::pending(), || now);
        assert!(futures::FutureExt::now_or_never(never).is_none());
        assert!(!world.get(MAX_AGE, 0, true).await);
        assert_eq!(world.asked(), 0);
        assert!(world.get(MAX_AGE, 1, true).await);
    }
}
