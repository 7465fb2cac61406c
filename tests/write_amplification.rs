//! What the service writes to its disk: fsyncs and bytes per edit, per round and per failed attempt. Bounds are counts, never times.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/service.rs"]
mod service;

use reqwest::{Method, StatusCode};
use serde_json::json;
use service::{Place, Service, TOKEN, json_of, until};
use std::{collections::BTreeMap, fs, net::TcpListener, path::PathBuf, time::Duration};

const EDITS: u64 = 10;
/// Of `manifest.json`, while the edits are made.
const MANIFEST_SYNCS: u64 = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// What a service wrote so far.
#[derive(Debug, Clone, Default)]
struct Written {
    /// fsync and fdatasync, by file name; temporary files count as one.
    syncs: BTreeMap<String, u64>,
    /// By the kernel's count.
    bytes: u64,
}

impl Written {
    fn since(&self, before: &Self) -> Self {
        let less = |(name, count): (&String, &u64)| {
            let count = count - before.syncs.get(name).copied().unwrap_or_default();
            (count > 0).then(|| (name.clone(), count))
        };
        Self { syncs: self.syncs.iter().filter_map(less).collect(), bytes: self.bytes - before.bytes }
    }

    fn total(&self) -> u64 {
        self.syncs.values().sum()
    }
}

/// A service whose syncs are traced.
struct Traced {
    place: Place,
    trace: PathBuf,
}

impl Traced {
    fn new(id: &str) -> Self {
        let mut place = Place::new().set("ARK_NODE_ID", id);
        let trace = place.path("syncs");
        // The tracer is the grandchild: signals reach the service.
        let options = ["strace", "-D", "-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o"];
        let runner: Vec<&str> = options.into_iter().chain([trace.to_str().unwrap()]).collect();
        place.run_by(&runner);
        Self { place, trace }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.place = self.place.set(name, value);
        self
    }

    fn written(&self, service: &Service) -> Written {
        let mut syncs = BTreeMap::new();
        // A call that another thread's interrupts has a second line without an argument.
        for line in fs::read_to_string(&self.trace).unwrap().lines().filter(|line| line.contains("sync(")) {
            let path = line.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap();
            let name = path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap();
            let is_temporary = name.starts_with(".ark") || name.starts_with('#');
            *syncs.entry(if is_temporary { "(temporary)" } else { name }.to_owned()).or_default() += 1;
        }
        let counts = fs::read_to_string(format!("/proc/{}/io", service.process.id())).unwrap();
        let bytes = counts.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap();
        Written { syncs, bytes }
    }

    /// Until it has been still for a while.
    async fn settled(&self, service: &Service) -> Written {
        let mut last = self.written(service);
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let now = self.written(service);
            if now.total() == last.total() && now.bytes == last.bytes {
                return now;
            }
            last = now;
        }
        panic!("it writes on and on: {last:?}");
    }
}

async fn edit(service: &Service, number: u64) {
    let answer = service.put("one", &json!({"id": "one", "edit": number})).await;
    assert!(matches!(answer.status(), StatusCode::OK | StatusCode::CREATED), "{}", answer.status());
}

/// Edits one node several times; each one is at the other side before the next begins.
async fn edits(from: &Service, to: &Service) {
    for number in 0..EDITS {
        edit(from, number).await;
        let has_arrived = async || {
            let answer = to.get("/nodes/one").await;
            answer.status() == StatusCode::OK && json_of(answer).await["edit"] == number
        };
        until("the edit arrives", LIMIT, has_arrived).await;
        // The round is over, and the notice of what it did was heard.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// An unnamed port of the loopback address where nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn failed_attempt_to_reach_a_peer_writes_nothing() {
    let peers: Vec<String> = (0..20).map(|_| format!("http://127.0.0.1:{}", closed_port())).collect();
    let traced = Traced::new("ark-alone")
        .set("FEDERATION_TRUSTED_PEERS", &peers.join(","))
        .set("FEDERATION_AUTO_SYNC", "true")
        .set("FEDERATION_SYNC_INTERVAL", "1s");
    let service = traced.place.serve().await;
    let failures = async || {
        let request = service.request(Method::GET, "/api/federation/peers").bearer_auth(TOKEN);
        let status = json_of(request.send().await.unwrap()).await;
        status["peers"].as_array().unwrap().iter().map(|peer| peer["failuresInARow"].as_u64().unwrap_or(0)).sum::<u64>()
    };
    until("all failed once", LIMIT, async || failures().await >= 20).await;
    let (before, failed) = (traced.settled(&service).await, failures().await);
    until("all failed again", LIMIT, async || failures().await >= failed + 20).await;
    let written = traced.written(&service).since(&before);
    eprintln!("{} failed attempts: {written:?}", failures().await - failed);
    // This instance's own entry in the registry is renewed whoever answers.
    let registry = written.syncs.get("registry.redb").copied().unwrap_or_default();
    assert_eq!(written.total(), registry, "{written:?}");
    assert!(registry <= 1 && written.bytes <= registry * (64 << 10), "{written:?}");
    assert!(service.terminate().await.success());
    let kept = fs::read_to_string(traced.place.path("state/peers.json")).unwrap();
    assert!(kept.contains("\"failures\": 2") || kept.contains("\"failures\": 3"), "what was counted is kept: {kept}");
}

#[tokio::test]
async fn edit_with_one_peer_writes_little_beside_its_own_file() {
    let to = Traced::new("ark-to");
    let taker = to.place.serve().await;
    let from = Traced::new("ark-from")
        .set("FEDERATION_TRUSTED_PEERS", &taker.url)
        .set("FEDERATION_AUTO_SYNC", "true")
        .set("FEDERATION_SYNC_INTERVAL", "60s");
    let giver = from.place.serve().await;
    edits(&giver, &taker).await;
    let before = (from.settled(&giver).await, to.settled(&taker).await);
    edits(&giver, &taker).await;
    let (gave, took) = (from.written(&giver).since(&before.0), to.written(&taker).since(&before.1));
    eprintln!("{EDITS} edits, who makes them: {gave:#?}\nwho takes them: {took:#?}");
    // Two syncs are those of the node's own file and its directory. `manifest.json` of this few nodes is written every 5 s at most.
    let own = 2 * EDITS + MANIFEST_SYNCS;
    assert!(gave.total() <= own + 5 * EDITS, "the journal, the peer's head (3), the position: {gave:#?}");
    assert!(took.total() <= own + 3 * EDITS, "the journal, two to three times: {took:#?}");
    assert!(
        gave.bytes <= EDITS * (96 << 10) && took.bytes <= EDITS * (128 << 10),
        "{} and {} bytes",
        gave.bytes,
        took.bytes
    );
}
