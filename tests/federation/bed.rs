//! An instance: an application on a free port of loopback, with a key, a lattice and a clock of its own.

use ark_lattice::{
    federation::{
        client::Client,
        deletions::Account,
        engine::{Engine, Synced},
        peers::PeerOptions,
        rate::Rates,
        remote::Remote,
        round::Positions,
        run::{Known, Parties, RunEnd, run},
    },
    identity::{self, KeyPair, KeyPlace},
    lattice::{Lattice, NodeDocument, Precondition},
    manifest::{Canonicalization, sign},
    ops::Context,
    settings::Settings,
    startup::Application,
    trust::TrustMode,
    types::{Clock, NodeId, SetHash, SharedClock, TestClock, Timestamp},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

pub const NOW: i64 = 1_795_219_200;
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Instance {
    pub name: &'static str,
    pub url: String,
    pub key: KeyPair,
    pub clock: Arc<TestClock>,
    pub context: Arc<Context>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl Instance {
    pub async fn start(name: &'static str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    /// With the settings changed by `change`.
    pub async fn start_with(name: &'static str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lattice")).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let key = KeyPair::generate().unwrap();
        identity::write_new(&folder.path().join("state/identity.key"), &key).unwrap();
        Self::open(name, folder, key, Timestamp::from_seconds(NOW), change).await
    }

    /// Stops it and starts it again, on another port.
    pub async fn restart(self) -> Self {
        let (_, folder, key, name, now) = self.halt().await;
        Self::open(name, folder, key, now, |_| {}).await
    }

    /// Stops it and starts it again at the same address, with the settings changed by `change`.
    pub async fn restart_with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let (port, folder, key, name, now) = self.halt().await;
        let change = |settings: &mut Settings| {
            settings.server.port = port;
            change(settings);
        };
        Self::open(name, folder, key, now, change).await
    }

    /// Stops it, loses everything in its state directory but its key, and starts it again.
    pub async fn lose_state(self) -> Self {
        let (_, folder, key, name, now) = self.halt().await;
        for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.file_name().unwrap() != "identity.key" {
                std::fs::remove_file(path).unwrap();
            }
        }
        Self::open(name, folder, key, now, |_| {}).await
    }

    /// Stops it, copies its directories, and starts it again at the same address.
    pub async fn copied(self) -> (Self, Copy) {
        let (port, folder, key, name, now) = self.halt().await;
        let copy = Copy::of(folder.path());
        (Self::open(name, folder, key, now, |settings| settings.server.port = port).await, copy)
    }

    /// Stops it, puts those files of the copy back that are wanted (`state/…`, `lattice/…`), and starts it again at the same address.
    /// What is not in the copy goes.
    pub async fn restored(self, copy: &Copy, wanted: impl Fn(&str) -> bool) -> Self {
        let (port, folder, key, name, now) = self.halt().await;
        copy.put_back(folder.path(), wanted);
        Self::open(name, folder, key, now, |settings| settings.server.port = port).await
    }

    /// Starts another instance with everything that this one has in the copy: its identity, nodes and state.
    pub async fn cloned(&self, copy: &Copy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lattice")).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        copy.put_back(folder.path(), |_| true);
        let key = identity::read(&folder.path().join("state/identity.key")).unwrap();
        Self::open(self.name, folder, key, self.clock.now(), |_| {}).await
    }

    async fn halt(mut self) -> (u16, TempDir, KeyPair, &'static str, Timestamp) {
        drop(self.stop.take());
        self.served.take().unwrap().await.unwrap();
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        (port, self.folder, self.key, self.name, self.clock.now())
    }

    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(self.context.engine.as_ref().unwrap())
    }

    /// A round with its only peer, a second later: heads are told apart by their times.
    pub async fn sync(&self, deletions_confirmed: bool) -> Synced {
        self.clock.advance(Duration::from_secs(1));
        self.engine().sync(None, deletions_confirmed).await.remove(0)
    }

    /// Where its state is.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Where its nodes are.
    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("lattice")
    }

    /// In this folder, with whatever is there.
    pub async fn open(
        name: &'static str,
        folder: TempDir,
        key: KeyPair,
        now: Timestamp,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::default();
        settings.instance.node_id = Some(name.to_owned());
        settings.server.port = 0;
        settings.server.workers = 1;
        settings.lattice.path = folder.path().join("lattice");
        settings.lattice.write_manifest = false;
        // Most tests are about other things than who may write; `verified` has its own.
        settings.trust.mode = TrustMode::Tofu;
        settings.state.path = folder.path().join("state");
        change(&mut settings);
        let clock = TestClock::at(now);
        let shared: SharedClock = clock.clone();
        let application = Application::build(&settings, shared).await.unwrap();
        let url = format!("http://{}", application.address);
        let context = application.context();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            application.run_until_stopped(stopped).await.unwrap();
        });
        let started = Instant::now();
        while !context.lattice.status().ready {
            assert!(started.elapsed() < DEADLINE, "the index is not built");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { name, url, key, clock, context, stop: Some(stop), served: Some(served), folder }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.served.take().unwrap().await.unwrap();
    }

    /// Where its key is.
    pub fn place(&self) -> KeyPlace {
        KeyPlace::new(self.folder.path().join("state/identity.key"))
    }

    pub fn lattice(&self) -> &Arc<dyn Lattice> {
        &self.context.lattice
    }

    pub fn set_hash(&self) -> SetHash {
        self.lattice().snapshot().unwrap().set_hash()
    }

    /// An edit made here, now.
    pub async fn put(&self, id: &str, content: &str) {
        self.clock.advance(Duration::from_millis(10));
        let text = serde_json::json!({ "id": id, "content": content }).to_string();
        let node = NodeDocument::parse(Bytes::from(text), 64).unwrap();
        self.lattice().put(node, Precondition::None).await.unwrap();
    }

    pub async fn put_many(&self, count: usize) {
        let node = |n: usize| {
            let text =
                serde_json::json!({ "id": format!("node-{n:06}"), "content": "x".repeat(200), "n": n }).to_string();
            NodeDocument::parse(Bytes::from(text), 64).unwrap()
        };
        let nodes: Vec<NodeDocument> = (0..count).map(node).collect();
        for part in nodes.chunks(2000) {
            self.lattice().put_many(part.to_vec()).await.unwrap();
        }
    }

    pub async fn delete(&self, id: &str) {
        self.clock.advance(Duration::from_millis(10));
        self.lattice().delete(&NodeId::parse(id).unwrap(), Precondition::None).await.unwrap();
    }

    /// `content` of a node.
    pub async fn content(&self, id: &str) -> Option<String> {
        let stored = self.lattice().read(&NodeId::parse(id).unwrap()).await.unwrap()?;
        let value: serde_json::Value = serde_json::from_slice(&stored.bytes).unwrap();
        Some(value["content"].as_str().unwrap().to_owned())
    }

    /// Tells the other one who it is, as every round that sends something needs.
    pub async fn register_at(&self, other: &Self) {
        let manifest = format!("{{\"node_id\":\"{}\",\"last_updated\":{}}}", self.name, self.clock.now().seconds());
        let limits = self.context.limits;
        let public_key = self.key.public_key();
        let form = Canonicalization::Dsse;
        let envelope = sign(Bytes::from(manifest), form, &limits, public_key, |bytes| self.key.sign(bytes)).unwrap();
        Client::new(&other.url, &limits).unwrap().publish(envelope).await.unwrap();
    }

    /// One round; the positions that it reached are kept in `known`.
    pub async fn round(&self, url: &str, known: &mut Known) -> RunEnd {
        let client = Client::new(url, &self.context.limits).unwrap();
        self.round_with(&client, known).await
    }

    /// The same, with whoever `client` is.
    pub async fn round_with(&self, client: &dyn Remote, known: &mut Known) -> RunEnd {
        let limits = self.context.limits;
        let clock: SharedClock = self.clock.clone();
        let parties = Parties {
            lattice: self.lattice(),
            client,
            sets: &self.context.sets,
            deletions: &self.context.deletions,
            account: &|peer, _| Account::own(peer.as_str()),
            key: &self.key,
            node_id: &self.context.identity.node_id,
            clock: &clock,
            limits,
            rates: Rates::default(),
        };
        let mut reached: Option<Positions> = None;
        let end = run(&parties, known.clone(), |positions| reached = Some(positions.clone())).await;
        known.positions = reached.unwrap_or_else(|| known.positions.clone());
        if let Some((peer, key)) = &end.peer {
            known.node_id = Some(peer.to_string());
            known.public_key = Some(key.to_base64());
        }
        end
    }
}

/// The files of an instance as they were.
#[derive(Default)]
pub struct Copy(BTreeMap<String, Vec<u8>>);

impl Copy {
    fn of(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for part in ["state", "lattice"] {
            for entry in std::fs::read_dir(folder.join(part)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = format!("{part}/{}", path.file_name().unwrap().to_str().unwrap());
                    files.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
        Self(files)
    }

    fn put_back(&self, folder: &Path, wanted: impl Fn(&str) -> bool) {
        for name in Self::of(folder).0.keys().filter(|name| wanted(name)) {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, bytes) in self.0.iter().filter(|(name, _)| wanted(name)) {
            let path = folder.join(name);
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
            file.write_all(bytes).unwrap();
        }
    }
}

/// Waits until it holds; how long that took.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// Nothing is known yet.
pub fn nothing(options: impl Into<PeerOptions>) -> Known {
    let (positions, options) = (Positions::default(), options.into());
    Known {
        same_instance: None,
        node_id: None,
        public_key: None,
        positions,
        options,
        deletions_confirmed: false,
        waiting_there: 0,
        asks_what_waits: false,
        unstaged: false,
    }
}

/// The clients need a TLS provider, also for plain HTTP.
pub fn provider() {
    let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

pub async fn stop(instances: [Instance; 2]) {
    for instance in instances {
        instance.stop().await;
    }
}
