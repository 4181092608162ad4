//! From both ends created to the first message received, over loopback:
//! offer, answer, ICE, DTLS, SCTP, channel.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use peerloom::webrtc::{Runtime, RuntimeConfig};
use peerloom_benches::{BenchError, Pair, endpoint};

fn setup(criterion: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().expect("a tokio runtime starts");
    let runtime = Runtime::start(RuntimeConfig::default()).expect("the actors' threads start");
    let mut group = criterion.benchmark_group("connection setup");
    group.sample_size(50);
    group.bench_function("to first message", |bencher| {
        bencher.iter_custom(|count| {
            let all = async {
                let mut total = Duration::ZERO;
                for _ in 0..count {
                    total += once(&runtime).await?;
                }
                Ok::<_, BenchError>(total)
            };
            tokio
                .block_on(all)
                .expect("two peers connect over loopback")
        });
    });
    group.finish();
}

async fn once(runtime: &Runtime) -> Result<Duration, BenchError> {
    let (near, far) = (endpoint(runtime).await?, endpoint(runtime).await?);
    let pair = Pair::new(&near, &far).await?;
    let from = Instant::now();
    let link = pair.link().await?;
    link.near.send("hello").await?;
    link.far.recv().await.ok_or("the channel closed")?;
    let took = from.elapsed();
    link.close().await;
    Ok(took)
}

criterion_group!(benches, setup);
criterion_main!(benches);
