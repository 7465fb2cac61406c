//! The real service while a Redis master is killed under load: behind Sentinels and on a Cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/redis_shapes.rs"]
mod redis_shapes;
#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use redis_shapes::{Cluster, MASTER, Watched};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use service::{Place, Service, problem, until};
use signing::{key, manifest, signed};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a master may be silent before the others replace it: long enough for a busy machine.
const SILENCE: Duration = Duration::from_millis(2500);
/// How long anything may take here before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Publishers of a load, and ids of each.
const PUBLISHERS: usize = 6;
const IDS: usize = 3;
/// Registrations that each service has acknowledged before the master is killed.
const BEFORE: u64 = 400;

/// What was acknowledged, by id.
#[derive(Default)]
struct Acknowledged {
    newest: Mutex<BTreeMap<String, u64>>,
    published: AtomicU64,
    refused: AtomicU64,
    stop: AtomicBool,
}

impl Acknowledged {
    fn newest(&self) -> BTreeMap<String, u64> {
        self.newest.lock().unwrap().clone()
    }
}

/// 200 or a 503 that says when to come back; nothing else, whatever happens behind the service.
async fn served(answer: Response) -> bool {
    if answer.status() == StatusCode::OK {
        return true;
    }
    let retry_after = answer.headers().get("retry-after").map(|seconds| seconds.to_str().unwrap().to_owned());
    let url = answer.url().clone();
    assert_eq!(problem(answer).await, (503, "registry_unavailable".to_owned()), "{url}");
    assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0), "{url}: Retry-After");
    false
}

/// Publishes ever newer manifests and lists peers, until told to stop.
fn load(service: &Arc<Service>, seen: &Arc<Acknowledged>) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for publisher in 0..PUBLISHERS {
        let (service, seen) = (Arc::clone(service), Arc::clone(seen));
        tasks.push(tokio::spawn(async move {
            let mut seq = 10;
            while !seen.stop.load(Ordering::Relaxed) {
                seq += 1;
                for number in 0..IDS {
                    let id = format!("ark-{publisher}-{number}");
                    let answer = service.post("/manifest", signed(&key(1), &manifest(&id, seq))).await;
                    if served(answer).await {
                        seen.newest.lock().unwrap().insert(id, seq);
                        seen.published.fetch_add(1, Ordering::Relaxed);
                    } else {
                        seen.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        }));
    }
    for _ in 0..2 {
        let (service, seen) = (Arc::clone(service), Arc::clone(seen));
        tasks.push(tokio::spawn(async move {
            while !seen.stop.load(Ordering::Relaxed) {
                served(service.get("/discover").await).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    tasks
}

/// Waits until every id was published again.
async fn until_published_again(what: &str, seen: &Acknowledged) -> Duration {
    let before = seen.newest();
    until(what, PATIENCE, async || {
        let now = seen.newest();
        now.len() == PUBLISHERS * IDS && now.iter().all(|(id, seq)| before.get(id).is_none_or(|old| seq > old))
    })
    .await
}

async fn stop(seen: &Acknowledged, tasks: Vec<tokio::task::JoinHandle<()>>) {
    seen.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

/// Every registration that was answered with 200 counts: it is shown, bound to its key, and nothing older is taken.
async fn check_promise(service: &Service, acknowledged: &BTreeMap<String, u64>) {
    assert_eq!(acknowledged.len(), PUBLISHERS * IDS);
    let peers = service.get_json("/discover").await;
    let shown: HashSet<String> =
        peers["peers"].as_array().unwrap().iter().map(|peer| service::text(&peer["node_id"])).collect();
    for (id, seq) in acknowledged {
        assert!(shown.contains(id), "{id} was acknowledged and is not discovered");
        let envelope = service.get_json(&format!("/manifest/{id}")).await;
        assert!(
            envelope["manifest"]["seq"].as_u64() >= Some(*seq),
            "{id}: {seq} was acknowledged, {envelope} is there"
        );
        let older = service.post("/manifest", signed(&key(1), &manifest(id, seq - 1))).await;
        assert_eq!(problem(older).await, (409, "rollback".to_owned()), "{id} before {seq}");
        let foreign = service.post("/manifest", signed(&key(2), &manifest(id, seq + 1000))).await;
        assert_eq!(problem(foreign).await, (409, "key_mismatch".to_owned()), "{id}");
    }
}

/// Two services on the same servers, both under load while `kill` takes a master away and `replaced` waits for the next one:
/// one that acknowledges at once and must come back by itself, one that waits for the replicas and must lose nothing. `heal`
/// brings the killed server back.
async fn survives(
    place: impl Fn(&str) -> Place,
    replicas: usize,
    kill: impl FnOnce(),
    replaced: impl AsyncFnOnce(),
    heal: impl AsyncFnOnce(),
) {
    let quick_place = place("quick:");
    let sure_place = place("sure:").set("ARK__REGISTRY__REDIS_MIN_REPLICAS", &replicas.to_string());
    let (quick, sure) = (Arc::new(quick_place.serve().await), Arc::new(sure_place.serve().await));
    let (quick_seen, sure_seen) = (Arc::<Acknowledged>::default(), Arc::<Acknowledged>::default());
    let (quick_load, sure_load) = (load(&quick, &quick_seen), load(&sure, &sure_seen));
    for seen in [&quick_seen, &sure_seen] {
        until("both loads run", PATIENCE, async || seen.published.load(Ordering::Relaxed) >= BEFORE).await;
    }

    let killed = Instant::now();
    kill();
    replaced().await;
    let failover = killed.elapsed();
    let recovery = until_published_again("the service finds the new master", &quick_seen).await;
    eprintln!(
        "failover {failover:?}, every id published again {recovery:?} after it; {} published and {} refused meanwhile",
        quick_seen.published.load(Ordering::Relaxed),
        quick_seen.refused.load(Ordering::Relaxed)
    );
    assert!(quick_seen.refused.load(Ordering::Relaxed) > 0, "nobody noticed that the master was killed");
    stop(&quick_seen, quick_load).await;

    // One replica is missing now: what needs it is refused, and works again once it is back.
    assert!(sure_seen.refused.load(Ordering::Relaxed) > 0);
    let listed = async || sure.get("/discover").await.status() == StatusCode::OK;
    until("reading goes on without the replica", PATIENCE, listed).await;
    heal().await;
    until_published_again("registrations reach the replicas again", &sure_seen).await;
    stop(&sure_seen, sure_load).await;
    check_promise(&sure, &sure_seen.newest()).await;
    for place in [&quick_place, &sure_place] {
        assert!(!place.log().contains("panic"), "{}", place.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_behind_sentinels_costs_no_acknowledged_registration() {
    let mut watched = Watched::start(2, SILENCE).await;
    let sentinels = watched.addresses().join(",");
    let place = |prefix: &str| {
        let place = Place::new().set("ARK__REGISTRY__REDIS_SENTINELS", &sentinels);
        place.set("ARK__REGISTRY__REDIS_SENTINEL_MASTER", MASTER).set("ARK__REGISTRY__PREFIX", prefix)
    };
    let watched = tokio::sync::Mutex::new(&mut watched);
    let old = watched.lock().await.servers[0].port();
    survives(
        place,
        2,
        || watched.try_lock().unwrap().servers[0].stop(),
        async || watched.lock().await.until_another_master(old).await,
        async || watched.lock().await.servers[0].restart().await,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_in_a_cluster_costs_no_acknowledged_registration() {
    let mut cluster = Cluster::start(1, SILENCE).await;
    let nodes = cluster.addresses().join(",");
    let place = |prefix: &str| {
        Place::new().set("ARK__REGISTRY__REDIS_CLUSTER_NODES", &nodes).set("ARK__REGISTRY__PREFIX", prefix)
    };
    let cluster = tokio::sync::Mutex::new(&mut cluster);
    survives(
        place,
        1,
        || cluster.try_lock().unwrap().servers[0].stop(),
        async || cluster.lock().await.until_replaced(0).await,
        async || cluster.lock().await.servers[0].restart().await,
    )
    .await;
}

/// A demoted master that stays up answers reads and refuses writes: neither may be what clients get.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_hand_is_followed_without_an_outage_that_lasts() {
    let watched = Watched::start(1, PATIENCE).await;
    let place = Place::new()
        .set("ARK__REGISTRY__REDIS_SENTINELS", &watched.addresses().join(","))
        .set("ARK__REGISTRY__REDIS_SENTINEL_MASTER", MASTER);
    let service = Arc::new(place.serve().await);
    let seen = Arc::<Acknowledged>::default();
    let tasks = load(&service, &seen);
    until_published_again("the load runs", &seen).await;
    let old = watched.servers[0].port();
    let answer = watched.sentinels[0].inline(&format!("SENTINEL FAILOVER {MASTER}")).await.unwrap();
    assert!(answer.starts_with("+OK"), "{answer}");
    watched.until_another_master(old).await;
    let recovery = until_published_again("the service follows", &seen).await;
    eprintln!("failover by hand: every id published again {recovery:?} after it");
    stop(&seen, tasks).await;
    // What is listed now comes from the new master: the old one does not even hold it once it is cut off.
    let newest: Value = service.get_json("/manifest/ark-0-0").await;
    assert!(newest["manifest"]["seq"].as_u64() >= seen.newest().get("ark-0-0").copied());
}
