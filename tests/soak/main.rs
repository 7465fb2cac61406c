//! The real service and a crowd of clients, while its Redis is paused, killed, slowed and restarted: every answer is a right one or
//! an honest 503, nothing that was acknowledged is lost, and afterwards memory, descriptors, threads, tasks and connections are
//! what they were.
//!
//! `cargo test` runs it for half a minute; `make soak` for five minutes with a thousand clients (`SOAK_SECONDS`, `SOAK_CLIENTS`,
//! `SOAK_PAUSE_MS` between a client's requests, `SOAK_SEED`, `SOAK_JSON`: where the figures go).
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

mod clients;
#[path = "../support/http1.rs"]
mod http1;
mod ledger;
mod proxy;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[path = "../support/service.rs"]
mod service;
#[path = "../support/signing.rs"]
mod signing;
mod tally;
mod vitals;

use clients::{Crowd, SHARED_NODES, sequence_of, version_of};
use ledger::Ledger;
use proxy::{Proxy, Weather};
use redis_server::RedisServer;
use serde_json::json;
use service::{Place, Service, problem, until};
use signing::{key, manifest, signed};
use std::{
    env, fs,
    path::Path,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};
use tally::Tally;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use vitals::{Vitals, Watch};

/// Most connections from the service to Redis.
const POOL: usize = 16;
/// How long the service may take to be as it was, once everything is well: longer than it keeps idle connections and threads.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// What memory may be above that of the time when all clients were there and nothing had failed yet.
const MAY_GROW: f64 = 0.25;
/// An allocator keeps some of what it had at the peak.
const MAY_KEEP_KB: u64 = 16 << 10;

struct Options {
    seconds: f64,
    clients: u64,
    pause: Duration,
    seed: u64,
}

impl Options {
    fn read() -> Self {
        Self {
            seconds: of_environment("SOAK_SECONDS", 25.0),
            clients: of_environment("SOAK_CLIENTS", 200),
            pause: Duration::from_millis(of_environment("SOAK_PAUSE_MS", 500)),
            seed: of_environment("SOAK_SEED", 1),
        }
    }

    fn share(&self, share: f64) -> Duration {
        Duration::from_secs_f64(self.seconds * share)
    }
}

fn of_environment<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// Everything that runs, in the order in which it ends.
struct Stage {
    service: Service,
    proxy: Proxy,
    redis: RedisServer,
    place: Place,
}

impl Stage {
    async fn new(clients: u64) -> Self {
        let redis = RedisServer::start_durable().await;
        let proxy = Proxy::to(redis.port()).await;
        let place = Place::new()
            .set("REDIS_URL", &format!("redis://127.0.0.1:{}/", proxy.port))
            .set("ARK__REGISTRY__POOL_SIZE", &POOL.to_string())
            .set("ARK_PEER_TTL", "1h")
            // Log lines of an outage are few; a file that grows is not what is measured.
            .set("ARK__LOG__LEVEL", "warn")
            .with_most_open_files(u32::try_from(clients * 2 + 500).unwrap());
        for number in 0..SHARED_NODES {
            let id = format!("shared-{number}");
            place.write_node(&id, &json!({"id": id, "type": "sample", "text": format!("{number:04} ").repeat(400)}));
        }
        let service = place.serve().await;
        Self { service, proxy, redis, place }
    }

    /// The service's connections, as Redis counts them.
    async fn connections_to_redis(&self) -> usize {
        let list = self.redis.inline("CLIENT LIST").await.unwrap_or_default();
        // One is this question's own.
        list.lines().filter(|line| line.contains("id=")).count().saturating_sub(1)
    }

    async fn vitals(&self) -> Vitals {
        Vitals::of(&self.service, self.connections_to_redis().await).await
    }

    async fn until_ready(&self) {
        until("the service is ready", SETTLES_WITHIN, async || self.service.get("/ready").await.status() == 200).await;
    }
}

/// A way in which Redis fails.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Paused,
    Killed,
    Late(u64),
    Narrow(u32),
    Restarted,
}

const FAILURES: [Failure; 7] = [
    Failure::Paused,
    Failure::Killed,
    // Slow, but in time; then later than the service waits.
    Failure::Late(20),
    Failure::Restarted,
    Failure::Narrow(20_000),
    Failure::Late(700),
    Failure::Killed,
];

async fn fail(stage: &mut Stage, tally: &Tally, failure: Failure, lasts: Duration) {
    match failure {
        Failure::Paused => {
            tally.enter("Redis paused");
            stage.redis.pause();
            sleep(lasts).await;
            stage.redis.resume();
        }
        Failure::Killed => {
            tally.enter("Redis killed");
            stage.redis.stop();
            sleep(lasts).await;
            stage.redis.restart().await;
        }
        Failure::Restarted => {
            tally.enter("Redis restarted");
            stage.redis.end().await;
            stage.redis.restart().await;
        }
        Failure::Late(ms) => {
            tally.enter(if ms < 100 { "Redis 20 ms away" } else { "Redis 700 ms away" });
            stage.proxy.set(Weather::Delay(Duration::from_millis(ms)));
            sleep(lasts).await;
            stage.proxy.set(Weather::Fair);
        }
        Failure::Narrow(bytes_per_second) => {
            tally.enter("Redis at 20 kB/s");
            stage.proxy.set(Weather::Narrow(bytes_per_second));
            sleep(lasts).await;
            stage.proxy.set(Weather::Fair);
        }
    }
}

/// One failure after the other until the time is over, with fair weather between.
async fn storm(stage: &mut Stage, crowd: &Crowd, options: &Options, watch: &mut Watch) {
    let started = Instant::now();
    let (warm, tail) = (options.share(0.15), options.share(0.1));
    let lasts = options.share(1.0 / 60.0).clamp(Duration::from_millis(1500), Duration::from_secs(6));
    crowd.tally.enter("fair, before");
    sleep(warm).await;
    watch.begin();
    for failure in FAILURES.iter().cycle() {
        if started.elapsed() + lasts * 2 + tail > options.share(1.0) {
            break;
        }
        fail(stage, &crowd.tally, *failure, lasts).await;
        // What an outage leaves behind for a moment is told apart from fair weather.
        crowd.tally.enter("just after");
        sleep(Duration::from_secs(1)).await;
        crowd.tally.enter("fair, between");
        sleep(lasts.saturating_sub(Duration::from_secs(1))).await;
        watch.connections_to_redis(stage.connections_to_redis().await);
    }
    crowd.tally.enter("fair, after");
    sleep(options.share(1.0).saturating_sub(started.elapsed())).await;
}

/// Every statement, every key binding and every node that was acknowledged is there.
async fn check_ledgers(stage: &Stage, ledgers: &[Ledger]) -> (usize, usize) {
    let (mut statements, mut nodes) = (0, 0);
    for ledger in ledgers {
        let (peer, service) = (&ledger.peer, &stage.service);
        if ledger.statements.any_acknowledged() {
            let found = service.get(&format!("/manifest/{peer}")).await;
            let found = sequence_of(&found.bytes().await.unwrap());
            assert!(ledger.statements.fits(found), "{peer}: {found:?}, {:?}", ledger.statements);
            let foreign = service.post("/manifest", signed(&key(ledger.key + 1), &manifest(peer, 1 << 40))).await;
            assert_eq!(problem(foreign).await, (409, "key_mismatch".to_owned()), "{peer}");
            statements += 1;
        }
        for (id, versions) in &ledger.nodes {
            let found = service.get(&format!("/nodes/{id}")).await;
            let found = version_of(&found.bytes().await.unwrap());
            assert!(versions.fits(found), "{id}: {found:?}, {versions:?}");
            nodes += usize::from(versions.any_acknowledged());
        }
    }
    (statements, nodes)
}

/// Everything that a crowd asks for, once: what the first request sets up is no growth.
async fn warm_up(stage: &Stage) {
    for _ in 0..POOL * 2 {
        let answers = (0..POOL).map(|_| stage.service.get("/discover"));
        assert!(futures_util::future::join_all(answers).await.iter().all(|answer| answer.status() == 200));
        if stage.connections_to_redis().await >= POOL / 2 {
            break;
        }
    }
    assert_eq!(stage.service.post("/sync", r#"{"nodes":[]}"#).await.status(), 200);
    assert_eq!(stage.service.put("warm", &json!({"id": "warm"})).await.status(), 201);
}

/// Waits until nothing is left of the crowd, within a bound; how long, and how it is then.
async fn settle(stage: &Stage, before: &Vitals) -> (Duration, Vitals) {
    let started = Instant::now();
    loop {
        let now = stage.vitals().await;
        if now.is_as(before) || started.elapsed() > SETTLES_WITHIN {
            return (started.elapsed(), now);
        }
        sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_and_a_failing_redis_leave_nothing_behind() {
    let options = Options::read();
    let mut stage = Stage::new(options.clients).await;
    warm_up(&stage).await;
    let before = stage.vitals().await;
    let crowd = Arc::new(Crowd {
        port: stage.service.port,
        pause: options.pause,
        tally: Tally::new(),
        stop: CancellationToken::new(),
    });
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        clients.spawn(Arc::clone(&crowd).client(number, options.seed * 1_000_003 + number));
    }
    let mut watch = Watch::start(stage.service.process.id());
    storm(&mut stage, &crowd, &options, &mut watch).await;
    let memory = watch.end();
    crowd.stop.cancel();
    let ledgers = clients.join_all().await;

    stage.until_ready().await;
    let (settled, after) = settle(&stage, &before).await;
    let (statements, nodes) = check_ledgers(&stage, &ledgers).await;

    eprintln!(
        "\n{} clients for {} s, seed {}\n\n{}",
        options.clients,
        options.seconds,
        options.seed,
        crowd.tally.table()
    );
    eprintln!("before {before}\nafter  {after}, {settled:.1?} after the last client left\n{memory}");
    eprintln!(
        "{} answers, the longest after {:.1?}; acknowledged and there: {statements} statements and bindings, {nodes} nodes",
        crowd.tally.answers(),
        crowd.tally.longest()
    );
    let wrong = crowd.tally.all_wrong();
    if let Ok(path) = env::var("SOAK_JSON") {
        let figures = json!({"schema": 1, "kind": "soak", "seconds": options.seconds, "clients": options.clients,
            "seed": options.seed, "phases": crowd.tally.json(), "before": before.json(), "after": after.json(),
            "memory": memory.json(), "settled_seconds": settled.as_secs_f64(), "wrong": wrong.len(),
            "statements": statements, "nodes": nodes});
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{figures:#}\n")).unwrap();
        eprintln!("Figures: {}", path.display());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(after.is_as(&before), "something is left of the crowd after {settled:?}");
    assert!(statements > 0 && nodes > 0, "the crowd did nothing");
    let bound = (memory.plateau_kb as f64 * (1.0 + MAY_GROW)) as u64 + MAY_KEEP_KB;
    assert!(after.rss_kb <= bound, "{} kB of memory in the end, {bound} kB are all right", after.rss_kb);
    assert!(memory.most_redis_connections <= POOL, "{} connections to Redis", memory.most_redis_connections);
    // What clients send is no fault of the service, and there may be much of it.
    let log = stage.place.log();
    assert!(!log.contains("panic") && !log.contains("ERROR"), "{log}");
}
