//! What a registration and a page of peers cost, on a file and on a real Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot run must stop")]

use ark_lattice::{
    manifest,
    registry::{
        EverybodyKnown, PlaceLimits, Registry,
        embedded::{EmbeddedOptions, EmbeddedRegistry},
        redis::{RedisOptions, RedisRegistry, Servers, TimeSource},
    },
    trust::{Admitted, TrustMode, TrustPolicy},
    types::{Limits, SystemClock, Timestamp},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use criterion::{BatchSize, Criterion, Throughput};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::future::join_all;
use std::{collections::HashMap, hint::black_box, sync::Arc, time::Duration};
use tokio::runtime::Runtime;

#[path = "../tests/support/redis_server.rs"]
mod redis_server;

const TTL: Duration = Duration::from_secs(3600);
const NEVER_FULL: PlaceLimits = PlaceLimits { max_peers: 1 << 40, stranger_bytes: 1 << 60 };
const UNUSED_TTL: Duration = Duration::from_secs(90 * 86_400);
/// Registrations at once, as many peers would send them.
const AT_ONCE: u64 = 64;

/// A signed statement of the id `number`, through the same checks as in the service.
fn statement(number: u64) -> Admitted {
    let key = SigningKey::from_bytes(&[7; 32]);
    let manifest = format!(
        "{{\"instance_type\": \"laptop\", \"last_updated\": 1763696494, \"node_id\": \"peer-{number}\", \"nodes\": [], \"seq\": 1}}"
    );
    let envelope = format!(
        "{{\"manifest\": {manifest}, \"pubkey\": \"{}\", \"signature\": \"{}\"}}",
        STANDARD.encode(key.verifying_key().as_bytes()),
        STANDARD.encode(key.sign(manifest.as_bytes()).to_bytes()),
    );
    let verified = manifest::verify(envelope.into(), &Limits::default()).expect("a valid envelope");
    let now = Timestamp::from_seconds(1_763_696_494);
    TrustPolicy::new(TrustMode::Tofu, HashMap::new()).admit(verified, now).expect("an acceptable statement")
}

fn cases(criterion: &mut Criterion, runtime: &Runtime, registry: &dyn Registry) {
    let mut group = criterion.benchmark_group(registry.kind());
    let mut next = 0;
    let mut fresh = || {
        next += 1;
        statement(next)
    };
    let thousand: Vec<_> = (0..1000).map(|_| fresh()).collect();
    for outcome in runtime.block_on(join_all(thousand.iter().map(|admitted| registry.register(admitted)))) {
        outcome.expect("room");
    }
    group.bench_function("list of 1,000", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(registry.list(None, 1000)).expect("a page")));
    });
    let known = thousand.first().expect("one");
    group.bench_function("heartbeat", |bencher| {
        bencher.iter(|| runtime.block_on(registry.register(known)).expect("renewed"));
    });
    group.bench_function("first", |bencher| {
        bencher.iter_batched(
            &mut fresh,
            |admitted| runtime.block_on(registry.register(&admitted)).expect("registered"),
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(AT_ONCE));
    group.bench_function("first, 64 at once", |bencher| {
        bencher.iter_batched(
            || (0..AT_ONCE).map(|_| fresh()).collect::<Vec<_>>(),
            |batch| runtime.block_on(join_all(batch.iter().map(|admitted| registry.register(admitted)))),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    runtime.block_on(registry.close());
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("registry.redb");
    let options = EmbeddedOptions {
        path,
        ttl: TTL,
        limits: NEVER_FULL,
        unused_ttl: UNUSED_TTL,
        known: Arc::new(EverybodyKnown),
        clock: SystemClock::shared(),
    };
    cases(&mut criterion, &runtime, &EmbeddedRegistry::open(options).expect("a registry"));

    let server = runtime.block_on(redis_server::RedisServer::start());
    let options = RedisOptions {
        servers: Servers::at(&server.url().into()).expect("a URL"),
        prefix: String::new(),
        ttl: TTL,
        limits: NEVER_FULL,
        unused_ttl: UNUSED_TTL,
        pool_size: 16,
        min_replicas: 0,
        time: TimeSource::Server,
    };
    let redis = {
        let _within = runtime.enter();
        RedisRegistry::connect(options).expect("a registry")
    };
    cases(&mut criterion, &runtime, &redis);
    criterion.final_summary();
}
