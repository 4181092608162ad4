//! The workloads, each over any stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::meter::{Mark, percentile, resident};
use crate::options::{Options, Workload};
use crate::stack::{Failure, Kind, Link, Receive, Send, Stack};

/// Before bytes count: slow start, and what the scheduler needs to settle.
const WARM_UP: Duration = Duration::from_millis(500);
/// ... with a round trip of 40 ms and losses.
const WARM_UP_LOSSY: Duration = Duration::from_millis(1500);
/// After the last message has been sent, for those on the way.
const DRAIN: Duration = Duration::from_millis(300);
/// Between the last set-up and the first look at the memory.
const SETTLE: Duration = Duration::from_secs(2);
/// Set-ups at once.
const CONCURRENT: usize = 16;
/// Bytes of a first message.
const HELLO: usize = 64;
/// Round trips before they count.
const WARM_UP_ECHOES: u32 = 200;

pub(crate) async fn run<S: Stack>(options: Options) -> Result<Value, Failure> {
    match options.workload {
        Workload::W1 => bulk::<S>(&options, WARM_UP).await,
        Workload::W2 => messages::<S>(&options).await,
        Workload::W3 => echo::<S>(&options).await,
        Workload::W4 => setup::<S>(&options).await,
        Workload::W5 => idle::<S>(&options).await,
        Workload::W6 => star::<S>(&options).await,
        Workload::W7 => {
            options.via.as_ref().ok_or("W7 needs --via")?;
            bulk::<S>(&options, WARM_UP_LOSSY).await
        }
    }
}

async fn link<S: Stack>(stack: &S, kind: Kind) -> Result<Link<S>, Failure> {
    let ends = stack.ends().await?;
    stack.connect(ends, kind).await
}

/// Messages of one length, one after the other, until told to stop.
async fn fill(
    mut to: impl Send,
    size: usize,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let message = Bytes::from(vec![7; size]);
    while !stop.load(Ordering::Relaxed) {
        to.send(message.clone()).await?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    // Whoever drops a stream may end it.
    std::future::pending().await
}

async fn count(mut from: impl Receive, received: Arc<AtomicU64>) -> Result<(), Failure> {
    loop {
        let bytes = from.receive().await?;
        received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Waits until `over`; a task that ends before it is a failure.
async fn meanwhile(
    over: impl Future<Output = ()>,
    tasks: &mut tokio::task::JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        () = over => Ok(()),
        Some(ended) = tasks.join_next() => {
            ended??;
            Err("a channel ended early".into())
        }
    }
}

async fn bulk<S: Stack>(options: &Options, warm_up: Duration) -> Result<Value, Failure> {
    let stack = S::create(options).await?;
    let link = link(&stack, Kind::Reliable).await?;
    let (received, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(count(link.far.1, received.clone()));
    tasks.spawn(fill(link.near.0, options.size, Arc::default(), stop));
    meanwhile(sleep(warm_up), &mut tasks).await?;
    let (mark, before) = (Mark::now(), received.load(Ordering::Relaxed));
    meanwhile(sleep(options.duration()), &mut tasks).await?;
    let bytes = received.load(Ordering::Relaxed) - before;
    let (seconds, cpu) = mark.elapsed();
    Ok(json!({ "bytes": bytes, "seconds": seconds, "cpu": cpu }))
}

async fn messages<S: Stack>(options: &Options) -> Result<Value, Failure> {
    let stack = S::create(options).await?;
    let link = link(&stack, Kind::Datagrams).await?;
    let (sent, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let stop = Arc::<AtomicBool>::default();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(count(link.far.1, received.clone()));
    let fill = fill(link.near.0, options.size, sent.clone(), stop.clone());
    tasks.spawn(fill);
    meanwhile(sleep(WARM_UP), &mut tasks).await?;
    let (mark, before) = (Mark::now(), received.load(Ordering::Relaxed));
    meanwhile(sleep(options.duration()), &mut tasks).await?;
    let after = received.load(Ordering::Relaxed);
    let (seconds, cpu) = mark.elapsed();
    stop.store(true, Ordering::Relaxed);
    // The share that is lost is one of all that were sent, once none is on its way.
    let mut arrived = after;
    loop {
        meanwhile(sleep(DRAIN), &mut tasks).await?;
        let now = received.load(Ordering::Relaxed);
        if now == arrived {
            break;
        }
        arrived = now;
    }
    let (sent, size) = (sent.load(Ordering::Relaxed), options.size as u64);
    let lost = 1.0 - (arrived / size) as f64 / sent.max(1) as f64;
    Ok(json!({
        "received": (after - before) / size,
        "lost": lost.max(0.0),
        "seconds": seconds,
        "cpu": cpu,
    }))
}

async fn echo<S: Stack>(options: &Options) -> Result<Value, Failure> {
    let stack = S::create(options).await?;
    let link = link(&stack, Kind::Reliable).await?;
    let ((mut send, mut receive), (far_send, far_receive)) = (link.near, link.far);
    let size = options.size;
    let _answers = tokio::spawn(answer(far_send, far_receive, size));
    let message = Bytes::from(vec![7; size]);
    let mut took = Vec::new();
    let mut left = WARM_UP_ECHOES;
    let mut until = None;
    while until.is_none_or(|until| Instant::now() < until) {
        let from = Instant::now();
        send.send(message.clone()).await?;
        let mut arrived = 0;
        while arrived < size {
            arrived += receive.receive().await?;
        }
        match left {
            0 => took.push(from.elapsed().as_secs_f64() * 1e6),
            1 => until = Some(Instant::now() + options.duration()),
            _ => {}
        }
        left = left.saturating_sub(1);
    }
    Ok(json!({
        "p50": percentile(&mut took, 0.5),
        "p99": percentile(&mut took, 0.99),
        "count": took.len(),
    }))
}

/// Sends back as much as arrives, in messages of the same length.
async fn answer(
    mut send: impl Send,
    mut receive: impl Receive,
    size: usize,
) -> Result<(), Failure> {
    let message = Bytes::from(vec![7; size]);
    let mut arrived = 0;
    loop {
        arrived += receive.receive().await?;
        while arrived >= size {
            send.send(message.clone()).await?;
            arrived -= size;
        }
    }
}

/// A message from the near end that the far end has received.
async fn hello<S: Stack>(link: &mut Link<S>) -> Result<(), Failure> {
    link.near.0.send(Bytes::from(vec![7; HELLO])).await?;
    let mut arrived = 0;
    while arrived < HELLO {
        arrived += link.far.1.receive().await?;
    }
    Ok(())
}

async fn setup<S: Stack>(options: &Options) -> Result<Value, Failure> {
    let until = Instant::now() + options.duration();
    let mut took = Vec::new();
    // The first pays for pages that are touched for the first time.
    for round in 0..=options.count {
        let stack = S::create(options).await?;
        let ends = stack.ends().await?;
        let from = Instant::now();
        let mut link = stack.connect(ends, Kind::Reliable).await?;
        hello(&mut link).await?;
        if round > 0 {
            took.push(from.elapsed().as_secs_f64() * 1e3);
            if Instant::now() > until {
                break;
            }
        }
    }
    Ok(json!({
        "p50": percentile(&mut took, 0.5),
        "p99": percentile(&mut took, 0.99),
        "count": took.len(),
    }))
}

/// Connections of one stack, each of which has carried a message.
async fn links<S: Stack>(stack: &S, count: usize) -> Result<Vec<Link<S>>, Failure> {
    let one = async || {
        let mut link = link(stack, Kind::Reliable).await?;
        hello(&mut link).await?;
        Ok::<_, Failure>(link)
    };
    let mut links = Vec::with_capacity(count);
    let mut under_way = FuturesUnordered::new();
    while links.len() < count {
        while under_way.len() < CONCURRENT && links.len() + under_way.len() < count {
            under_way.push(one());
        }
        links.push(under_way.next().await.ok_or("nothing under way")??);
    }
    Ok(links)
}

async fn idle<S: Stack>(options: &Options) -> Result<Value, Failure> {
    let stack = S::create(options).await?;
    // What the first connection allocates for all of them is none of theirs.
    let _first = links(&stack, 1).await?;
    sleep(SETTLE).await;
    let (before, began) = (resident()?, Instant::now());
    let links = links(&stack, options.count).await?;
    let took = began.elapsed();
    sleep(SETTLE).await;
    let mark = Mark::now();
    sleep(options.duration()).await;
    let (seconds, cpu) = mark.elapsed();
    let bytes = resident()?.saturating_sub(before);
    Ok(json!({
        "kib": bytes as f64 / 1024.0 / links.len() as f64,
        "idle": cpu / seconds,
        "setup": took.as_secs_f64(),
    }))
}

async fn star<S: Stack>(options: &Options) -> Result<Value, Failure> {
    let stack = S::create(options).await?;
    let links = links(&stack, options.count).await?;
    let mut tasks = tokio::task::JoinSet::new();
    let (mut received, mut kept) = (Vec::new(), Vec::new());
    for link in links {
        let counter = Arc::<AtomicU64>::default();
        received.push(counter.clone());
        tasks.spawn(count(link.far.1, counter));
        let stop = Arc::default();
        tasks.spawn(fill(link.near.0, options.size, Arc::default(), stop));
        kept.push((link.near.1, link.far.0, link.keep));
    }
    let all = || -> Vec<u64> {
        let load = |counter: &Arc<AtomicU64>| counter.load(Ordering::Relaxed);
        received.iter().map(load).collect()
    };
    meanwhile(sleep(WARM_UP), &mut tasks).await?;
    let (mark, before) = (Mark::now(), all());
    meanwhile(sleep(options.duration()), &mut tasks).await?;
    let after = all();
    let (seconds, cpu) = mark.elapsed();
    let moved: Vec<u64> = after.iter().zip(before).map(|(b, a)| b - a).collect();
    let bytes: u64 = moved.iter().sum();
    let least = moved.iter().min().copied().unwrap_or(0) as f64;
    Ok(json!({
        "bytes": bytes,
        "seconds": seconds,
        "cpu": cpu,
        "least": least * moved.len() as f64 / bytes.max(1) as f64,
    }))
}
