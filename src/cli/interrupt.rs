//! Ctrl-C, and the polite way to end a process from outside.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

/// Resolves once somebody asks the process to end: Ctrl-C, or SIGTERM
/// or SIGHUP (the terminal is gone) on Unix.
/// Listening starts with [`Interrupt::listen`], so nothing said later is
/// missed; once resolved it stays so.
pub(crate) struct Interrupt {
    task: JoinHandle<()>,
    resolved: bool,
}

impl Interrupt {
    /// Starts to listen.
    pub(crate) fn listen() -> Self {
        Self {
            task: tokio::spawn(asked_to_end()),
            resolved: false,
        }
    }
}

impl Future for Interrupt {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.resolved {
            // A task that died can wait for nothing any more: end as well.
            let Poll::Ready(Ok(()) | Err(_)) = Pin::new(&mut self.task).poll(context) else {
                return Poll::Pending;
            };
            self.resolved = true;
        }
        Poll::Ready(())
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Never resolves where no handler can be installed: then the system's own
/// one ends the process.
async fn asked_to_end() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = ctrl_c => {}
        () = terminated() => {}
        () = hung_up() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    signalled(tokio::signal::unix::SignalKind::terminate()).await;
}

#[cfg(unix)]
async fn hung_up() {
    signalled(tokio::signal::unix::SignalKind::hangup()).await;
}

#[cfg(unix)]
async fn signalled(kind: tokio::signal::unix::SignalKind) {
    match tokio::signal::unix::signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

#[cfg(not(unix))]
async fn hung_up() {
    std::future::pending().await
}
