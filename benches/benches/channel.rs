//! One data channel between two peers of this process, over loopback sockets
//! and through all the actors: how much it moves, and how long an echo takes.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peerloom::webrtc::{Configuration, DtlsRecords, Runtime, RuntimeConfig, SctpEngine};
use peerloom_benches::{BenchError, Link, Pair, endpoint};

const KIB: usize = 1024;
const SIZES_KIB: [usize; 3] = [1, 16, 64];
const ECHO_BYTES: usize = 64;

fn throughput(criterion: &mut Criterion) {
    let tokio = tokio();
    let link = tokio
        .block_on(link(&Configuration::default()))
        .expect("two peers connect over loopback");
    let mut group = criterion.benchmark_group("channel throughput");
    group.measurement_time(Duration::from_secs(8));
    group.sample_size(20);
    for kib in SIZES_KIB {
        let message = Bytes::from(vec![7; kib * KIB]);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(
            BenchmarkId::from_parameter(format!("{kib} KiB")),
            |bencher| {
                bencher.iter_custom(|count| {
                    tokio
                        .block_on(one_way(&link, &message, count))
                        .expect("the channel stays up")
                });
            },
        );
    }
    group.finish();
    tokio.block_on(link.close());
}

async fn one_way(link: &Link, message: &Bytes, count: u64) -> Result<Duration, BenchError> {
    let from = Instant::now();
    let send = async {
        for _ in 0..count {
            link.near.send(message.clone()).await?;
        }
        Ok::<(), BenchError>(())
    };
    let receive = async {
        for _ in 0..count {
            link.far.recv().await.ok_or("the channel closed")?;
        }
        Ok::<(), BenchError>(())
    };
    tokio::try_join!(send, receive)?;
    Ok(from.elapsed())
}

/// The packaged engines and our own, in turn.
fn engines(criterion: &mut Criterion) {
    let tokio = tokio();
    let mut group = criterion.benchmark_group("engines");
    group.measurement_time(Duration::from_secs(8));
    group.sample_size(20);
    let message = Bytes::from(vec![7; 16 * KIB]);
    group.throughput(Throughput::Bytes(message.len() as u64));
    for (name, sctp, records) in [
        ("packaged", SctpEngine::Packaged, DtlsRecords::Packaged),
        ("native SCTP", SctpEngine::Native, DtlsRecords::Packaged),
        ("native records", SctpEngine::Packaged, DtlsRecords::Native),
        ("native", SctpEngine::Native, DtlsRecords::Native),
    ] {
        let mut configuration = Configuration::default();
        configuration.sctp.engine = sctp;
        configuration.dtls.records = records;
        let link = tokio
            .block_on(link(&configuration))
            .expect("two peers connect over loopback");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                tokio
                    .block_on(one_way(&link, &message, count))
                    .expect("the channel stays up")
            });
        });
        tokio.block_on(link.close());
    }
    group.finish();
}

fn round_trip(criterion: &mut Criterion) {
    let tokio = tokio();
    let link = tokio
        .block_on(link(&Configuration::default()))
        .expect("two peers connect over loopback");
    let far = link.far.clone();
    let echo = tokio.spawn(async move {
        while let Some(message) = far.recv().await {
            if far.send(message).await.is_err() {
                return;
            }
        }
    });
    let message = Bytes::from(vec![7; ECHO_BYTES]);
    criterion.bench_function("round trip/64 B", |bencher| {
        bencher.iter_custom(|count| {
            tokio
                .block_on(echoes(&link, &message, count))
                .expect("the channel stays up")
        });
    });
    echo.abort();
    tokio.block_on(link.close());
}

async fn echoes(link: &Link, message: &Bytes, count: u64) -> Result<Duration, BenchError> {
    let from = Instant::now();
    for _ in 0..count {
        link.near.send(message.clone()).await?;
        link.near.recv().await.ok_or("the channel closed")?;
    }
    Ok(from.elapsed())
}

async fn link(configuration: &Configuration) -> Result<Link, BenchError> {
    let runtime = Runtime::start(RuntimeConfig::default())?;
    let (near, far) = (endpoint(&runtime).await?, endpoint(&runtime).await?);
    let pair = Pair::with(&near, &far, configuration).await?;
    pair.link().await
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a tokio runtime starts")
}

criterion_group!(benches, throughput, engines, round_trip);
criterion_main!(benches);
