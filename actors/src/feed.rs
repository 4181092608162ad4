//! Events for any number of listeners, each with a bounded backlog of its own.
//!
//! tokio's broadcast channel makes its whole ring when it is made: with the backlogs that
//! connections and channels may need, half a megabyte for each connection that nothing happens to.
//! Here a backlog takes memory only while a listener is behind.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

/// Where events come from. Clones are the same source; listeners hear of the end when the last
/// one is dropped.
#[derive(Debug)]
pub(crate) struct Feed<T> {
    source: Arc<Source<T>>,
}

/// A feed seen from outside: does not keep it from ending.
#[derive(Debug)]
pub(crate) struct WeakFeed<T> {
    source: Weak<Source<T>>,
}

/// What one listener has not heard yet. A stream of events that ends with the feed.
#[derive(Debug)]
pub(crate) struct Listener<T> {
    queue: Arc<Queue<T>>,
}

/// The listener was too slow: so many of the oldest events are lost to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed(pub(crate) u64);

#[derive(Debug)]
struct Source<T> {
    /// Events kept for a listener at most; beyond it the oldest is lost to that listener.
    backlog: usize,
    queues: Mutex<Vec<Weak<Queue<T>>>>,
}

type Queue<T> = Mutex<Heard<T>>;

#[derive(Debug)]
struct Heard<T> {
    events: VecDeque<T>,
    missed: u64,
    over: bool,
    waker: Option<Waker>,
}

impl<T: Clone> Feed<T> {
    /// A feed whose listeners may each be so many events behind.
    pub(crate) fn new(backlog: usize) -> Feed<T> {
        let queues = Mutex::default();
        Feed {
            source: Arc::new(Source { backlog, queues }),
        }
    }

    /// Tells all listeners; whether there is one.
    pub(crate) fn send(&self, event: T) -> bool {
        let mut queues = lock(&self.source.queues);
        queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else {
                return false;
            };
            let mut heard = lock(&queue);
            if heard.events.len() >= self.source.backlog {
                heard.events.pop_front();
                heard.missed += 1;
            }
            heard.events.push_back(event.clone());
            heard.wake();
            true
        });
        !queues.is_empty()
    }

    /// Hears everything from now on.
    pub(crate) fn listen(&self) -> Listener<T> {
        let queue = Arc::new(Mutex::new(Heard {
            events: VecDeque::new(),
            missed: 0,
            over: false,
            waker: None,
        }));
        let mut queues = lock(&self.source.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        Listener { queue }
    }

    /// The feed seen from outside.
    pub(crate) fn downgrade(&self) -> WeakFeed<T> {
        WeakFeed {
            source: Arc::downgrade(&self.source),
        }
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Feed {
            source: self.source.clone(),
        }
    }
}

impl<T> Clone for WeakFeed<T> {
    fn clone(&self) -> Self {
        WeakFeed {
            source: self.source.clone(),
        }
    }
}

impl<T: Clone> WeakFeed<T> {
    /// Hears everything from now on; `None` when the feed is over.
    pub(crate) fn listen(&self) -> Option<Listener<T>> {
        let source = self.source.upgrade()?;
        Some(Feed { source }.listen())
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        for queue in lock(&self.queues).iter().filter_map(Weak::upgrade) {
            let mut heard = lock(&queue);
            heard.over = true;
            heard.wake();
        }
    }
}

impl<T> Heard<T> {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Stream for Listener<T> {
    type Item = Result<T, Missed>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut heard = lock(&self.queue);
        let missed = std::mem::take(&mut heard.missed);
        if missed > 0 {
            return Poll::Ready(Some(Err(Missed(missed))));
        }
        if let Some(event) = heard.events.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if heard.over {
            return Poll::Ready(None);
        }
        // What a listener was behind once need not be held for ever.
        heard.events = VecDeque::new();
        heard.waker = Some(task.waker().clone());
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Queues are changed by whole operations: a poisoned one is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, StreamExt as _};

    #[test]
    fn everybody_hears_what_comes_after_they_began_to_listen() {
        let feed = Feed::new(4);
        assert!(!feed.send(0));
        let mut first = feed.listen();
        assert!(feed.send(1));
        let mut second = feed.downgrade().listen().expect("the feed goes on");
        assert!(feed.clone().send(2));
        assert_eq!(next(&mut first), Some(Some(Ok(1))));
        assert_eq!(next(&mut first), Some(Some(Ok(2))));
        assert_eq!(next(&mut first), None);
        assert_eq!(next(&mut second), Some(Some(Ok(2))));
        drop((first, second));
        assert!(!feed.send(3));
    }

    #[test]
    fn a_slow_listener_misses_the_oldest_and_is_told_how_many() {
        let feed = Feed::new(3);
        let mut listener = feed.listen();
        for event in 0..5 {
            feed.send(event);
        }
        assert_eq!(next(&mut listener), Some(Some(Err(Missed(2)))));
        for event in 2..5 {
            assert_eq!(next(&mut listener), Some(Some(Ok(event))));
        }
        assert_eq!(next(&mut listener), None);
    }

    #[test]
    fn listeners_hear_all_before_the_end() {
        let feed = Feed::new(3);
        let (mut listener, outside) = (feed.listen(), feed.downgrade());
        feed.send(1);
        drop(feed);
        assert_eq!(next(&mut listener), Some(Some(Ok(1))));
        assert_eq!(next(&mut listener), Some(None));
        assert!(outside.listen().is_none());
    }

    #[tokio::test]
    async fn a_waiting_listener_is_woken_by_events_and_by_the_end() {
        let feed = Feed::new(3);
        let mut listener = feed.listen();
        let hearing = tokio::spawn(async move {
            let first = listener.next().await;
            (first, listener.next().await)
        });
        tokio::task::yield_now().await;
        feed.send(1);
        tokio::task::yield_now().await;
        drop(feed);
        assert_eq!(hearing.await.expect("no panic"), (Some(Ok(1)), None));
    }

    #[test]
    fn who_does_not_listen_any_more_leaves_nothing_behind() {
        let feed = Feed::<u32>::new(3);
        for _ in 0..100 {
            drop(feed.listen());
        }
        assert!(lock(&feed.source.queues).len() <= 1);
    }

    fn next<T>(listener: &mut Listener<T>) -> Option<Option<Result<T, Missed>>> {
        listener.next().now_or_never()
    }
}
