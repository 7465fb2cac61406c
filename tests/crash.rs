//! kill -9 at random moments under concurrent writers: what was acknowledged is there, and nothing is torn.
//!
//! `ARK_CRASH_KILLS` sets how often (50), `ARK_CRASH_SEED` repeats a run.
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
#[path = "support/signing.rs"]
mod signing;

use ark_lattice::lattice::NodeDocument;
use bytes::Bytes;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use service::{Place, Random, Service, TOKEN, problem, until};
use signing::{key, manifest, signed};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs,
    path::Path,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::task::{JoinSet, LocalSet};

const KILLS: u64 = 50;
/// Every writer of nodes has its own, so that the order of its writes is the order of their acknowledgement.
const WRITERS: u64 = 4;
const NODES_EACH: u64 = 6;
const PEERS_EACH: u64 = 4;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What a node may be after a crash.
#[derive(Clone, Default)]
struct Expected {
    /// The last acknowledged version; `None`: not there.
    acknowledged: Option<u64>,
    /// A delete was acknowledged, and no write since: the service remembers it.
    deleted: bool,
    /// What was asked for since and not answered.
    attempted: Vec<Option<u64>>,
}

/// What was acknowledged to all writers. One thread, so that nothing comes between an answer and its note.
#[derive(Default)]
struct Ledger {
    nodes: RefCell<BTreeMap<String, Expected>>,
    /// Peer: the number of its key and its newest accepted `seq`.
    peers: RefCell<BTreeMap<String, (u64, u64)>>,
    versions: Cell<u64>,
    acknowledged: Cell<u64>,
    /// The journal's position that is reached at least.
    seq: Cell<u64>,
    unanswered: Cell<u64>,
}

impl Ledger {
    fn next_version(&self) -> u64 {
        self.versions.set(self.versions.get() + 1);
        self.versions.get()
    }

    fn attempt(&self, id: &str, version: Option<u64>) {
        self.nodes.borrow_mut().entry(id.to_owned()).or_default().attempted.push(version);
    }

    fn acknowledge(&self, id: &str, version: Option<u64>) {
        self.acknowledged.set(self.acknowledged.get() + 1);
        self.seq.set(self.seq.get() + 1);
        let expected = Expected { acknowledged: version, deleted: version.is_none(), attempted: Vec::new() };
        self.nodes.borrow_mut().insert(id.to_owned(), expected);
    }
}

/// What the writers share.
struct Writers {
    client: Client,
    url: String,
    lattice: std::path::PathBuf,
    ledger: Rc<Ledger>,
    stop: Rc<Cell<bool>>,
}

impl Writers {
    /// Writes and deletes nodes until the service is gone.
    async fn change_nodes(&self, writer: u64, mut random: Random) {
        while !self.stop.get() {
            let version = self.ledger.next_version();
            let answered = if random.below(5) == 0 {
                // No older state tells of this one: that it was deleted is known from the journal alone.
                let id = format!("w{writer}-once-{version}");
                self.change(&id, Some(version)).await && self.change(&id, None).await
            } else {
                let id = format!("w{writer}-{}", random.below(NODES_EACH));
                self.change(&id, (random.below(4) > 0).then_some(version)).await
            };
            if !answered {
                self.ledger.unanswered.set(self.ledger.unanswered.get() + 1);
                return;
            }
        }
    }

    /// Writes a version or, where there is none, deletes. `false` where no answer came.
    async fn change(&self, id: &str, version: Option<u64>) -> bool {
        let url = format!("{}/nodes/{id}", self.url);
        self.ledger.attempt(id, version);
        let request = match version {
            Some(version) => self.client.put(url).json(&node(id, version)),
            None => self.client.delete(url),
        };
        let Ok(answer) = request.bearer_auth(TOKEN).send().await else { return false };
        match (version, answer.status()) {
            (Some(_), StatusCode::CREATED | StatusCode::OK) | (None, StatusCode::OK) => {
                self.ledger.acknowledge(id, version);
            }
            (None, StatusCode::NOT_FOUND) => {
                // There was nothing to delete, so nothing is promised beyond that.
                let mut nodes = self.ledger.nodes.borrow_mut();
                let expected = nodes.get_mut(id).unwrap();
                assert_eq!(expected.acknowledged, None, "{id} was acknowledged, but is not there");
                expected.attempted.clear();
            }
            (_, status) => panic!("{id}: {status}: {:?}", answer.text().await),
        }
        true
    }

    /// Registers peers, old ones with a newer statement and new ones.
    async fn register(&self, mut random: Random) {
        while !self.stop.get() {
            let number = random.below(PEERS_EACH) + self.ledger.versions.get() / 100 * PEERS_EACH;
            let (peer, seq) = (format!("peer-{number}"), self.ledger.next_version());
            let envelope = signed(&key(number), &manifest(&peer, seq));
            let request = self.client.post(format!("{}/manifest", self.url)).header("content-type", "application/json");
            let Ok(answer) = request.body(envelope).send().await else { return };
            assert_eq!(answer.status(), StatusCode::OK, "{peer}: {:?}", answer.text().await);
            self.ledger.acknowledged.set(self.ledger.acknowledged.get() + 1);
            self.ledger.peers.borrow_mut().insert(peer, (number, seq));
        }
    }

    /// Edits files as other programs do: in place, by renaming, and some that the service writes too.
    async fn edit_files(&self, mut random: Random) {
        while !self.stop.get() {
            let id = match random.below(3) {
                0 => format!("shared-{}", random.below(4)),
                _ => format!("direct-{}", random.below(8)),
            };
            let file = self.lattice.join(format!("{id}.json"));
            let content = node(&id, self.ledger.next_version()).to_string();
            match random.below(4) {
                0 => {
                    let _not_there = fs::remove_file(file);
                }
                1 => {
                    let beside = self.lattice.join(".edit.tmp");
                    fs::write(&beside, content).unwrap();
                    fs::rename(beside, file).unwrap();
                }
                _ => fs::write(file, content).unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(random.below(15))).await;
        }
    }

    /// Writes over HTTP what is edited directly too.
    async fn write_shared(&self, mut random: Random) {
        while !self.stop.get() {
            let id = format!("shared-{}", random.below(4));
            let request = self.client.put(format!("{}/nodes/{id}", self.url)).bearer_auth(TOKEN);
            let version = self.ledger.next_version();
            let Ok(answer) = request.json(&node(&id, version)).send().await else { return };
            assert!(answer.status().is_success(), "{id}: {:?}", answer.text().await);
        }
    }
}

/// A node whose content shows whether all of it is of one version.
fn node(id: &str, version: u64) -> Value {
    json!({"id": id, "version": version, "filler": version.to_string().repeat(200), "end": version})
}

fn version_of(node: &Value) -> u64 {
    let version = node["version"].as_u64().unwrap();
    assert_eq!(node["end"], version, "torn: {node}");
    assert_eq!(node["filler"], version.to_string().repeat(200), "torn: {node}");
    version
}

/// Every node file: id, content hash, version. Fails on a file that is no node, or not whole.
fn read_files(lattice: &Path) -> BTreeMap<String, (String, u64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(lattice).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') {
            continue;
        }
        let bytes = Bytes::from(fs::read(entry.path()).unwrap());
        if name == "manifest.json" {
            let whole: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name} is torn: {error}"));
            assert_eq!(whole["count"], whole["nodes"].as_array().unwrap().len());
            continue;
        }
        let document = NodeDocument::parse(bytes.clone(), 64).unwrap_or_else(|error| panic!("{name} is torn: {error}"));
        assert_eq!(name, format!("{}.json", document.id()));
        let version = version_of(&serde_json::from_slice(&bytes).unwrap());
        found.insert(document.id().to_string(), (document.content_hash().to_string(), version));
    }
    found
}

/// What must hold once the service is up again and nobody writes.
async fn check(place: &Place, service: &Service, ledger: &Ledger) {
    let files = read_files(&place.lattice());
    let listed: BTreeMap<String, String> = service.nodes().await.into_iter().collect();
    let on_disk: BTreeMap<String, String> = files.iter().map(|(id, (hash, _))| (id.clone(), hash.clone())).collect();
    assert_eq!(listed, on_disk, "index and files");
    let health = service.get_json("/health").await;
    assert_eq!(health["lattice"]["broken_total"], 0, "{health}");
    let seq = health["lattice"]["seq"].as_u64().unwrap();
    assert!(seq >= ledger.seq.get(), "the journal went back: {seq}, but was at {} at least", ledger.seq.get());
    ledger.seq.set(seq);

    let mut deleted = Vec::new();
    for (id, expected) in ledger.nodes.borrow_mut().iter_mut() {
        let found = files.get(id).map(|(_, version)| *version);
        let allowed = found == expected.acknowledged || expected.attempted.contains(&found);
        assert!(allowed, "{id} is {found:?}, acknowledged {:?}, then {:?}", expected.acknowledged, expected.attempted);
        let kept = found == expected.acknowledged && expected.attempted.is_empty();
        // What was seen after a crash holds like an acknowledgement.
        *expected = Expected { acknowledged: found, deleted: kept && expected.deleted, attempted: Vec::new() };
        if expected.deleted {
            deleted.push(json!({"id": id, "hash": "sha256:of-a-caller-that-has-not-heard"}));
        }
    }
    let held = json!({"nodes": deleted, "limit": 1});
    let answer = service.post_json("/sync", &held).await;
    assert_eq!(answer["wanted"], json!([]), "deleted nodes are remembered as such");
}

/// Bindings and versions of every acknowledged registration.
async fn check_peers(service: &Service, ledger: &Ledger) {
    let peers = ledger.peers.borrow().clone();
    for (peer, (number, seq)) in &peers {
        let foreign = service.post("/manifest", signed(&key(number + 1_000_000), &manifest(peer, seq + 1))).await;
        assert_eq!(problem(foreign).await, (409, "key_mismatch".to_owned()), "{peer}");
        let older = service.post("/manifest", signed(&key(*number), &manifest(peer, seq - 1))).await;
        assert_eq!(problem(older).await, (409, "rollback".to_owned()), "{peer}");
    }
}

/// The set hash as a service finds it that has never seen these files.
async fn fresh_scan(place: &Place) -> String {
    let copy = Place::new();
    for entry in fs::read_dir(place.lattice()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.lattice().join(entry.file_name())).unwrap();
    }
    let service = copy.serve().await;
    service.set_hash().await
}

/// Kills the service while it starts, once or more: recovery itself may be cut off.
async fn kill_while_starting(place: &Place, random: &mut Random, kills: &mut u64) {
    while random.below(4) == 0 {
        let mut process = place.spawn();
        tokio::time::sleep(Duration::from_millis(random.below(120))).await;
        assert!(process.is_running(), "the service ended by itself: {}", place.log());
        process.kill();
        *kills += 1;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn no_kill_loses_what_was_acknowledged() {
    let wanted = variable("ARK_CRASH_KILLS").unwrap_or(KILLS);
    let seed =
        variable("ARK_CRASH_SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    eprintln!("ARK_CRASH_SEED={seed} repeats this run");
    let (started, mut random, mut kills) = (Instant::now(), Random::seeded(seed), 0);
    let (place, ledger) = (Place::new(), Rc::new(Ledger::default()));

    for round in 1.. {
        if kills >= wanted {
            break;
        }
        kill_while_starting(&place, &mut random, &mut kills).await;
        let service = place.serve().await;
        check(&place, &service, &ledger).await;
        if round % 10 == 0 {
            assert_eq!(service.set_hash().await, fresh_scan(&place).await, "the index and a fresh scan");
        }
        let writers = Rc::new(Writers {
            client: service.client.clone(),
            url: service.url.clone(),
            lattice: place.lattice(),
            ledger: Rc::clone(&ledger),
            stop: Rc::new(Cell::new(false)),
        });
        let tasks = LocalSet::new();
        let mut joined = JoinSet::new();
        for writer in 0..WRITERS {
            let (writers, random) = (Rc::clone(&writers), Random::seeded(random.below(1 << 40)));
            joined.spawn_local_on(async move { writers.change_nodes(writer, random).await }, &tasks);
        }
        let mut other = || (Rc::clone(&writers), Random::seeded(random.below(1 << 40)));
        let (registrar, editor, sharer) = (other(), other(), other());
        joined.spawn_local_on(async move { registrar.0.register(registrar.1).await }, &tasks);
        joined.spawn_local_on(async move { editor.0.edit_files(editor.1).await }, &tasks);
        joined.spawn_local_on(async move { sharer.0.write_shared(sharer.1).await }, &tasks);

        let moment = Duration::from_millis(random.below(700));
        // Some in the middle of an orderly stop.
        let stopping = (random.below(8) == 0).then(|| Duration::from_millis(random.below(20)));
        tasks
            .run_until(async {
                tokio::time::sleep(moment).await;
                if let Some(pause) = stopping {
                    service.process.signal("TERM");
                    tokio::time::sleep(pause).await;
                }
                service.kill();
                writers.stop.set(true);
                // Every writer ends by itself: its request fails.
                while let Some(ended) = joined.join_next().await {
                    ended.unwrap();
                }
            })
            .await;
        kills += 1;
    }

    let service = place.serve().await;
    check(&place, &service, &ledger).await;
    check_peers(&service, &ledger).await;
    assert_eq!(service.set_hash().await, fresh_scan(&place).await, "the index and a fresh scan");
    let shows = |hash: &str| fs::read_to_string(place.lattice().join("manifest.json")).unwrap().contains(hash);
    let hash = service.set_hash().await;
    until("manifest.json shows the set", Duration::from_secs(20), async || shows(&hash)).await;
    let names = fs::read_dir(place.lattice()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with(".ark-") && name.ends_with(".tmp")).collect();
    assert_eq!(left, Vec::<String>::new(), "temporary files of the dead");
    eprintln!(
        "{kills} kills in {:?}: {} writes acknowledged, {} changes of nodes cut off, {} bindings",
        started.elapsed(),
        ledger.acknowledged.get(),
        ledger.unanswered.get(),
        ledger.peers.borrow().len(),
    );
    assert!(ledger.acknowledged.get() > wanted, "the writers did not write");
    assert!(!place.log().contains("panic"), "{}", place.log());
}

/// Nothing rests on the copies of small nodes: whenever a process dies that makes them, all nodes are as their files say.
#[tokio::test]
async fn a_service_that_dies_while_it_copies_nodes_answers_rightly_afterwards() {
    const NODES: usize = 2500;
    let place = Place::new();
    let mut expected = BTreeMap::new();
    for number in 0..NODES {
        let id = format!("node-{number}");
        let node = json!({"id": id, "text": format!("{number} ").repeat(number % 100)});
        place.write_node(&id, &node);
        expected.insert(id, node);
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    eprintln!("seed {seed}");
    let mut random = Random::seeded(u64::try_from(seed & u128::from(u32::MAX)).unwrap());
    let pack = place.path("state/lattice.pack");
    let mut begun = 0;
    for _ in 0..8 {
        let service = place.serve().await;
        assert!(!pack.with_extension("pack.new").exists(), "what the dead left is removed");
        let answer = service.post_json("/sync", &json!({"nodes": []})).await;
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
        service.kill();
        let nodes = answer["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), NODES);
        for node in nodes {
            assert_eq!(Some(node), expected.get(node["id"].as_str().unwrap()));
        }
        let exist = [pack.exists(), pack.with_extension("pack.new").exists()];
        begun += u64::from(exist.contains(&true));
        if random.below(2) == 0 {
            let _not_made = fs::remove_file(&pack);
        }
    }
    assert!(begun > 0, "nothing was ever copied");
}
