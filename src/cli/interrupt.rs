//! Ctrl-C, and the polite ways to end a process from outside.

/// Hears when somebody asks the process to end: Ctrl-C, and on Unix SIGTERM
/// or SIGHUP (the terminal is gone).
///
/// From [`Interrupt::listen`] on, such a signal no longer ends the process by
/// itself; it is kept until it is asked for. A process started to outlive its
/// terminal (`nohup`) goes on ignoring SIGHUP.
pub(crate) struct Interrupt {
    signals: platform::Signals,
}

impl Interrupt {
    /// Starts to listen. Where no handler can be installed, the system's own
    /// one ends the process.
    pub(crate) fn listen() -> Self {
        Self {
            signals: platform::Signals::listen(),
        }
    }

    /// Resolves once for each time somebody asks, also if that was before.
    /// Nothing is lost when this is dropped unresolved.
    pub(crate) async fn asked(&mut self) {
        self.signals.next().await;
    }
}

#[cfg(unix)]
mod platform {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// The signals that ask a process to end.
    pub(super) struct Signals(Vec<Signal>);

    impl Signals {
        pub(super) fn listen() -> Self {
            let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
            if !is_ignored(SignalKind::hangup()) {
                kinds.push(SignalKind::hangup());
            }
            Self(
                kinds
                    .into_iter()
                    .filter_map(|kind| signal(kind).ok())
                    .collect(),
            )
        }

        pub(super) async fn next(&mut self) {
            poll_fn(|context| {
                let mut signals = self.0.iter_mut();
                if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
        }
    }

    /// Whether whoever started this process wants it to ignore a signal, where
    /// the system tells (Linux: proc_pid_status(5), `SigIgn`).
    fn is_ignored(kind: SignalKind) -> bool {
        let status = std::fs::read_to_string("/proc/self/status");
        status.is_ok_and(|status| ignores(&status, kind))
    }

    fn ignores(status: &str, kind: SignalKind) -> bool {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << (kind.as_raw_value() - 1) != 0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ignored_signals_are_read_from_the_mask() {
            let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
            assert!(ignores(status, SignalKind::hangup()));
            assert!(!ignores(status, SignalKind::interrupt()));
            assert!(!ignores("", SignalKind::hangup()));
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use tokio::signal::windows::{CtrlC, ctrl_c};

    /// Ctrl-C.
    pub(super) struct Signals(Option<CtrlC>);

    impl Signals {
        pub(super) fn listen() -> Self {
            Self(ctrl_c().ok())
        }

        pub(super) async fn next(&mut self) {
            let heard = match &mut self.0 {
                Some(ctrl_c) => ctrl_c.recv().await,
                None => None,
            };
            if heard.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }
}
