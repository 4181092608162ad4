//! Frames in both directions, at the same time: a side that only wrote while
//! it waits for credit would stop the other side from granting it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use peerloom_actors::DataChannel;
use peerloom_mesh_proto::DownCause;
use tokio::sync::mpsc;

use super::negotiate::Negotiation;
use super::task::End;
use super::{Ends, OWN_BYTES, OWN_FRAMES, Report, Reports};

/// How long the last frames of a link that is being closed may take.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How long what arrived before the other side closed may take to be read.
const REST_LIMIT: Duration = Duration::from_millis(500);

/// Runs an open link to its end.
pub(super) async fn run(
    negotiation: &mut Negotiation,
    channel: DataChannel,
    ends: &mut Ends,
) -> End {
    // What is left of `ends` for the watcher, besides the two frame queues.
    let reports = ends.reports.clone();
    let (_, idle) = mpsc::channel(1);
    let mut writer = Writer {
        channel: channel.clone(),
        control: std::mem::replace(&mut ends.control, idle),
        data: std::mem::replace(&mut ends.data, mpsc::channel(1).1),
        queued: ends.queued.clone(),
        reports: reports.clone(),
    };
    let end = tokio::select! {
        end = writer.run() => end,
        end = read(&channel, &reports) => end,
        end = watch(negotiation, ends) => end,
    };
    if matches!(end, End::Down(DownCause::Closed, _)) {
        // The other side's last words came before its close.
        let rest = read(&channel, &reports);
        if tokio::time::timeout(REST_LIMIT, rest).await.is_err() {
            tracing::debug!("a closed link's channel did not end in time");
        }
    }
    end
}

async fn read(channel: &DataChannel, reports: &Reports) -> End {
    while let Some(message) = channel.recv().await {
        if !reports.send(Report::Frame(message.into_bytes())).await {
            return End::Dropped;
        }
    }
    match channel.cause() {
        Some(cause) => End::from(cause),
        None => End::Down(DownCause::Closed, "the channel was closed".to_owned()),
    }
}

/// Late candidates and the peer connection's fate.
async fn watch(negotiation: &mut Negotiation, ends: &mut Ends) -> End {
    loop {
        let outcome = tokio::select! {
            signal = ends.signals.recv() => match signal {
                Some(signal) => negotiation.signal(signal).await,
                // The node let go: the writer ends the link when it is done.
                None => return std::future::pending().await,
            },
            event = negotiation.next_event() => match event {
                Ok(event) => negotiation.event(event, ends).await,
                Err(end) => Err(end),
            },
        };
        if let Err(end) = outcome {
            return end;
        }
    }
}

struct Writer {
    channel: DataChannel,
    control: mpsc::Receiver<Bytes>,
    data: mpsc::Receiver<Bytes>,
    queued: Arc<AtomicUsize>,
    reports: Reports,
}

impl Writer {
    /// Sends control frames before data, until the node lets go of the link.
    async fn run(&mut self) -> End {
        loop {
            let frame = tokio::select! {
                biased;
                Some(frame) = self.control.recv() => frame,
                Some(frame) = self.data.recv() => frame,
                else => return self.finish().await,
            };
            let len = frame.len();
            if let Err(error) = self.channel.send(frame).await {
                return match self.channel.cause() {
                    Some(cause) => End::from(cause),
                    None => End::Down(DownCause::Failed, error.to_string()),
                };
            }
            if self.sent(len) && !self.reports.send(Report::Writable).await {
                return End::Dropped;
            }
        }
    }

    /// Lets what was sent leave, then closes the stream.
    async fn finish(&self) -> End {
        self.channel.close().await;
        if tokio::time::timeout(FLUSH_LIMIT, self.channel.closed())
            .await
            .is_err()
        {
            tracing::debug!("a link's last frames did not leave in time");
        }
        End::Dropped
    }

    /// Takes a frame off the books; says whether that made room.
    fn sent(&self, len: usize) -> bool {
        let before = self.queued.fetch_sub(len, Ordering::Relaxed);
        let bytes_crossed = before > OWN_BYTES && before - len <= OWN_BYTES;
        bytes_crossed || self.data.len() == OWN_FRAMES
    }
}
