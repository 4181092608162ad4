//! What a connection costs, in figures that criterion does not take: the shares of its set-up,
//! percentiles of a round trip beside bare UDP, small messages, and what it takes while idle.
//!
//! `cargo bench -p peerloom-benches --bench costs -- KIND [COUNT]`, where KIND is `setup`,
//! `timeline`, `roundtrip`, `small`, `bulk`, `idle` or `star`; without one all run, with small counts.
#![allow(
    clippy::print_stdout,
    reason = "a program whose purpose is to print figures"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use peerloom::webrtc::{DataChannel, DataChannelInit, Endpoint, Event, Runtime, RuntimeConfig};
use peerloom_benches::{BenchError, Link, Pair, endpoint};
use tokio::net::UdpSocket;

const ECHO_BYTES: usize = 64;
const SMALL_BYTES: usize = 100;
const BULK_BYTES: usize = 16 * 1024;
/// How long processor time is counted while nothing happens.
const IDLE: Duration = Duration::from_secs(5);
/// Connections that are set up at the same time where many are wanted.
const AT_ONCE: usize = 8;

fn main() -> Result<(), BenchError> {
    let mut words = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let kind = words.next();
    let count = words.next().map(|word| word.parse::<usize>()).transpose()?;
    let tokio = tokio::runtime::Runtime::new()?;
    tokio.block_on(async {
        let wanted = |name| kind.as_deref().is_none_or(|kind| kind == name);
        if wanted("setup") {
            setup(count.unwrap_or(100)).await?;
        }
        if wanted("timeline") {
            timeline(count.unwrap_or(100)).await?;
        }
        if wanted("roundtrip") {
            bare_udp(count.unwrap_or(10_000)).await?;
            round_trips(count.unwrap_or(10_000)).await?;
        }
        if wanted("small") {
            small(count.unwrap_or(300_000)).await?;
        }
        if wanted("bulk") {
            bulk(count.unwrap_or(20_000)).await?;
        }
        if wanted("idle") {
            idle(count.unwrap_or(200)).await?;
        }
        if wanted("star") {
            star(count.unwrap_or(100)).await?;
        }
        Ok(())
    })
}

fn runtime() -> Result<Runtime, BenchError> {
    Ok(Runtime::start(RuntimeConfig::default())?)
}

async fn link(init: DataChannelInit) -> Result<Link, BenchError> {
    link_in(&runtime()?, init).await
}

async fn link_in(runtime: &Runtime, init: DataChannelInit) -> Result<Link, BenchError> {
    let (near, far) = (endpoint(runtime).await?, endpoint(runtime).await?);
    Pair::new(&near, &far).await?.link_with(init).await
}

async fn setup(count: usize) -> Result<(), BenchError> {
    let runtime = runtime()?;
    let names = ["created", "channel", "message"];
    let mut shares: [Vec<Duration>; 3] = Default::default();
    let before = cpu()?;
    for _ in 0..count {
        let (near, far) = (endpoint(&runtime).await?, endpoint(&runtime).await?);
        let from = Instant::now();
        let pair = Pair::new(&near, &far).await?;
        shares[0].push(from.elapsed());
        let from = Instant::now();
        let link = pair.link().await?;
        shares[1].push(from.elapsed());
        link.near.send("hello").await?;
        link.far.recv().await.ok_or("the channel closed")?;
        shares[2].push(from.elapsed());
        link.close().await;
    }
    let each = (cpu()? - before) / u32::try_from(count)?;
    println!("setup: {count} connections, {each:?} of processor time each");
    for (name, mut times) in names.into_iter().zip(shares) {
        spread(&format!("setup, {name}"), &mut times);
    }
    Ok(())
}

/// Where the time of one set-up goes: when each end says what, medians of many.
async fn timeline(count: usize) -> Result<(), BenchError> {
    let runtime = runtime()?;
    let mut moments: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for _ in 0..count {
        let (near, far) = (endpoint(&runtime).await?, endpoint(&runtime).await?);
        let pair = Pair::new(&near, &far).await?;
        let from = Instant::now();
        let mut note = |what: String| moments.entry(what).or_default().push(from.elapsed());
        let (mut near_events, mut far_events) = (pair.near().events(), pair.far().events());
        let init = DataChannelInit::default();
        let channel = pair.near().create_data_channel("bench", init).await?;
        note("channel created".into());
        pair.negotiate().await?;
        note("negotiated".into());
        loop {
            let (end, event) = tokio::select! {
                Some(event) = near_events.next() => ("near", event),
                Some(event) = far_events.next() => ("far", event),
            };
            if let Event::IceCandidate(candidate) = &event {
                let to = if end == "near" {
                    pair.far()
                } else {
                    pair.near()
                };
                to.add_ice_candidate(candidate.clone().map(Into::into))
                    .await?;
                note(format!("{end}'s candidates passed on"));
            } else if let Event::DataChannel(far) = event {
                note("far has the channel".into());
                channel.send("hello").await?;
                far.recv().await.ok_or("the channel closed")?;
                note("far has the message".into());
                break;
            } else if let Event::IceConnectionStateChange(state) = event {
                note(format!("{end} ICE {state}"));
            } else if let Event::ConnectionStateChange { state, .. } = event {
                note(format!("{end} {state}"));
            }
        }
        pair.near().close().await;
        pair.far().close().await;
    }
    let mut lines: Vec<(Duration, String)> = Vec::new();
    for (what, mut times) in moments {
        times.sort_unstable();
        lines.push((times[times.len() / 2], what));
    }
    lines.sort();
    for (at, what) in lines {
        println!("timeline: {at:8.1?} {what}");
    }
    Ok(())
}

async fn bare_udp(count: usize) -> Result<(), BenchError> {
    let (near, far) = (
        UdpSocket::bind("127.0.0.1:0").await?,
        UdpSocket::bind("127.0.0.1:0").await?,
    );
    near.connect(far.local_addr()?).await?;
    far.connect(near.local_addr()?).await?;
    let echo = tokio::spawn(async move {
        let mut buffer = [0; ECHO_BYTES];
        while let Ok(len) = far.recv(&mut buffer).await {
            if far.send(&buffer[..len]).await.is_err() {
                return;
            }
        }
    });
    let asking = tokio::spawn(async move {
        let mut buffer = [7; ECHO_BYTES];
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let from = Instant::now();
            near.send(&buffer).await?;
            near.recv(&mut buffer).await?;
            times.push(from.elapsed());
        }
        Ok::<_, std::io::Error>(times)
    });
    let mut times = asking.await??;
    echo.abort();
    spread("round trip, bare UDP", &mut times);
    Ok(())
}

/// From tasks of this program's own runtime, and from tasks that share the only arbiter with all
/// actors: the difference is what waking threads costs.
async fn round_trips(count: usize) -> Result<(), BenchError> {
    let link = link(DataChannelInit::default()).await?;
    let name = "round trip, data channel";
    let (near, far) = (link.near.clone(), link.far.clone());
    let echo = tokio::spawn(echo(far));
    let before = cpu()?;
    let mut times = tokio::spawn(ask(near, count)).await??;
    let each = (cpu()? - before) / u32::try_from(count)?;
    echo.abort();
    spread(name, &mut times);
    println!("{name}: {each:?} of processor time each");
    link.close().await;

    let runtime = Runtime::start(RuntimeConfig::default().with_arbiters(1))?;
    let link = link_in(&runtime, DataChannelInit::default()).await?;
    runtime.spawn(self::echo(link.far.clone()));
    let (done, times) = tokio::sync::oneshot::channel();
    let near = link.near.clone();
    runtime.spawn(async move { drop(done.send(ask(near, count).await)) });
    let mut times = times.await??;
    spread("round trip, data channel, one thread", &mut times);
    link.close().await;
    Ok(())
}

async fn echo(far: DataChannel) {
    while let Some(message) = far.recv().await {
        if far.send(message).await.is_err() {
            return;
        }
    }
}

async fn ask(near: DataChannel, count: usize) -> Result<Vec<Duration>, BenchError> {
    let message = Bytes::from(vec![7; ECHO_BYTES]);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let from = Instant::now();
        near.send(message.clone()).await?;
        near.recv().await.ok_or("the channel closed")?;
        times.push(from.elapsed());
    }
    Ok(times)
}

/// What arrives of messages sent as fast as the channel takes them, unordered and never sent again.
async fn small(count: usize) -> Result<(), BenchError> {
    let init = DataChannelInit {
        ordered: false,
        max_retransmits: Some(0),
        ..DataChannelInit::default()
    };
    let link = link(init).await?;
    pour("small", &link, SMALL_BYTES, count).await?;
    link.close().await;
    Ok(())
}

async fn bulk(count: usize) -> Result<(), BenchError> {
    let link = link(DataChannelInit::default()).await?;
    pour("bulk", &link, BULK_BYTES, count).await?;
    link.close().await;
    Ok(())
}

/// Sends `count` messages and a last, empty-handed wait: what has not come 300 ms after the last
/// that did is lost.
async fn pour(name: &str, link: &Link, bytes: usize, count: usize) -> Result<(), BenchError> {
    const PATIENCE: Duration = Duration::from_millis(300);
    let (near, far) = (link.near.clone(), link.far.clone());
    let message = Bytes::from(vec![7; bytes]);
    let from = Instant::now();
    let before = cpu()?;
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            near.send(message.clone()).await?;
        }
        Ok::<_, BenchError>(())
    });
    let receiving = tokio::spawn(async move {
        let (mut come, mut last) = (0_usize, Instant::now());
        while come < count {
            match tokio::time::timeout(PATIENCE, far.recv()).await {
                Ok(Some(_)) => come += 1,
                Ok(None) | Err(_) => break,
            }
            while far.try_recv().is_some() {
                come += 1;
            }
            last = Instant::now();
        }
        (come, last)
    });
    sending.await??;
    let (come, last) = receiving.await?;
    let (took, cpu) = (last - from, cpu()? - before);
    let seconds = took.as_secs_f64();
    println!(
        "{name}: {come} of {count} messages of {bytes} bytes in {took:.2?}: {:.0} messages/s, {:.1} MB/s, {:.2?} of processor time",
        come as f64 / seconds,
        (come * bytes) as f64 / seconds / 1e6,
        cpu,
    );
    Ok(())
}

/// Connections between two rows of endpoints, so that each has a 5-tuple of its own while the
/// sockets are few.
async fn idle(count: usize) -> Result<(), BenchError> {
    let runtime = runtime()?;
    let side = (1..).find(|side| side * side >= count).unwrap_or(1);
    let (mut nears, mut fars) = (Vec::new(), Vec::new());
    for _ in 0..side {
        nears.push(endpoint(&runtime).await?);
        fars.push(endpoint(&runtime).await?);
    }
    let pairs: Vec<(Endpoint, Endpoint)> = nears
        .iter()
        .flat_map(|near| fars.iter().map(|far| (near.clone(), far.clone())))
        .collect();
    // The first ones warm up what is shared.
    let first = connect(&pairs[..AT_ONCE.min(count)]).await?;
    let before = resident()?;
    let rest = connect(&pairs[first.len()..count]).await?;
    let grown = resident()?.saturating_sub(before);
    println!(
        "idle: {count} connections between {side} and {side} endpoints, {:.1} KiB resident for both ends of each",
        grown as f64 / 1024.0 / rest.len().max(1) as f64
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cpu()?;
    tokio::time::sleep(IDLE).await;
    let share = (cpu()? - before).as_secs_f64() / IDLE.as_secs_f64();
    println!("idle: {:.2} % of a core", share * 100.0);
    Ok(())
}

/// One endpoint with a connection to each of many others.
async fn star(count: usize) -> Result<(), BenchError> {
    const EACH: usize = 400;
    let runtime = runtime()?;
    let before = resident()?;
    let hub = endpoint(&runtime).await?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((hub.clone(), endpoint(&runtime).await?));
    }
    let from = Instant::now();
    let links = connect(&pairs).await?;
    println!("star: {count} connections up in {:.2?}", from.elapsed());
    let grown = resident()?.saturating_sub(before);
    println!(
        "star: {:.1} KiB resident for each, its endpoint counted",
        grown as f64 / 1024.0 / count as f64
    );
    let message = Bytes::from(vec![7; BULK_BYTES]);
    let (from, before) = (Instant::now(), cpu()?);
    let mut tasks = tokio::task::JoinSet::new();
    for link in &links {
        let (near, far, message) = (link.near.clone(), link.far.clone(), message.clone());
        tasks.spawn(async move {
            for _ in 0..EACH {
                near.send(message.clone()).await?;
            }
            Ok::<_, BenchError>(())
        });
        tasks.spawn(async move {
            for _ in 0..EACH {
                far.recv().await.ok_or("the channel closed")?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let megabytes = (count * EACH * BULK_BYTES) as f64 / 1e6;
    println!(
        "star: {:.0} MB/s over {count} channels, {:.2?} of processor time per GB",
        megabytes / from.elapsed().as_secs_f64(),
        (cpu()? - before).div_f64(megabytes / 1e3)
    );
    Ok(())
}

async fn connect(pairs: &[(Endpoint, Endpoint)]) -> Result<Vec<Link>, BenchError> {
    let linking = pairs.iter().map(|(near, far)| async move {
        let link = Pair::new(near, far).await?.link().await?;
        link.near.send("hello").await?;
        link.far.recv().await.ok_or("the channel closed")?;
        Ok::<_, BenchError>(link)
    });
    let links: Vec<_> = futures::stream::iter(linking)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    links.into_iter().collect()
}

fn spread(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{name}: p10 {:.1?} p50 {:.1?} p90 {:.1?} p99 {:.1?}",
        at(0.1),
        at(0.5),
        at(0.9),
        at(0.99)
    );
}

/// Processor time of all threads that are alive. Linux only.
fn cpu() -> Result<Duration, BenchError> {
    let mut total = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let times = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = times.split(' ').next().ok_or("an empty schedstat")?;
        total += ran.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}

/// Bytes of resident memory. Linux only.
fn resident() -> Result<u64, BenchError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
}
