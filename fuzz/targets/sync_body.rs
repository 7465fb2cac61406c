//! `POST /sync`: the whole operation over a lattice of 40 nodes in memory.

use ark_lattice::{
    federation::{
        inbox::Inbox,
        invites::Invites,
        own_addresses::Listens,
        rate::Rates,
        reconcile::{LEAST_NODES, Sets},
    },
    guard::{Limiter, Quotas},
    json::Document,
    lattice::{
        Ancestry, Applied, Arrival, Change, Conflict, DeletionBudget, Dismissed, Entry, Epochs, Lattice, LatticeError,
        LatticeStatus, NodeDocument, NodeFilter, NodePage, Precondition, Restored, StoredNode, Tombstone,
        WaitingDeletion, WaitingSender, Written, index::Snapshot,
    },
    ops::{Context, Heartbeats, Identity, KnownIds, KnownLists, Pairing, SyncRequest, sync},
    registry::{Bindings, Bound, PeerCursor, PeerPage, Registered, Registry, RegistryError},
    trust::{Admitted, Audit, KeyLine, Rules, TrustPolicy, TrustStore, chain::Ledger, freshness::Freshness},
    types::{BasePath, ContentHash, Limits, NodeId, PeerId, PublicKey, SystemClock, Timestamp},
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Arc, LazyLock, Mutex},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NODES: usize = 40;

fn id(text: &str) -> NodeId {
    NodeId::parse(text).expect("an id")
}

/// `n0` to `n39`; the content of each is its number.
fn nodes() -> impl Iterator<Item = Arc<Entry>> {
    (0..NODES).map(|number| {
        let content = ContentHash::of(number.to_string().as_bytes());
        Arc::new(Entry {
            id: id(&format!("n{number}")),
            content_hash: content,
            file_hash: *ContentHash::of(format!("file {number}").as_bytes()).as_bytes(),
            node_type: None,
            updated_at: Timestamp::EPOCH,
            size_bytes: 10,
            seq: 1,
        })
    })
}

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context {
    identity: Identity {
        node_id: PeerId::parse("fuzz").expect("an id"),
        instance_type: "local",
        public_key: None,
        mode: "p2p",
        port: 0,
        address: None,
    },
    registry: Arc::new(Nobody),
    lattice: Arc::new(Fixed(Snapshot::of(nodes()))),
    sets: Arc::new(Sets::new(SystemClock::shared(), LEAST_NODES)),
    deletions: Arc::default(),
    twins: ark_lattice::federation::twins::Twins::default(),
    shared_ids: Arc::new(ark_lattice::federation::shared_ids::SharedIds::open(Path::new(
        "/nonexistent/shared_ids.json",
    ))),
    left_out: ark_lattice::federation::left_out::NamedVersions::default(),
    trust: Arc::new(trust()),
    limits: Limits::default(),
    clock: SystemClock::shared(),
    signer: None,
    engine: None,
    rates: Rates::default(),
    read_only: false,
    lan: None,
    closing: CancellationToken::new(),
    authorities: None,
    nonces: Mutex::default(),
    limiter: Limiter::new(Quotas::default(), &SystemClock::shared()),
    network: None,
    ids_per_key: 0,
    known_ids: KnownIds::default(),
    heartbeats: Heartbeats::default(),
    known_lists: KnownLists::default(),
    inbound_peers: ark_lattice::federation::inbound::InboundPeers::open(Path::new("/nonexistent/inbound.json")),
    pairing: Pairing {
        // There is no such file: no invites.
        invites: Arc::new(Invites::open(Path::new("/nonexistent/invites.json")).expect("nothing to read")),
        inbox: Inbox::default(),
        listens: Listens { at: ([127, 0, 0, 1], 0).into(), tls: false, base_path: BasePath::default() },
    },
});

/// Keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Ledger for Nowhere {
    fn append(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn replace(&self, _: &[String]) -> io::Result<()> {
        Ok(())
    }
}

fn trust() -> TrustStore {
    let audit = Audit::new(Arc::new(Nowhere), SystemClock::shared(), 0);
    let heads = Freshness::new(Arc::new(Nowhere), &[]).expect("nothing to read");
    TrustStore::new(TrustPolicy::default(), Rules::default(), 0, (audit, &[]), heads).expect("nothing to read")
}

pub fn run(data: &[u8]) {
    let decode = |text: &str| {
        let id = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        NodeId::parse(&id).ok()
    };
    let body = Bytes::copy_from_slice(data);
    let ours = CONTEXT.lattice.snapshot().expect("a snapshot").set_hash();
    for ours in [None, Some(ours)] {
        let read = SyncRequest::parse(body.clone(), &CONTEXT.limits, ours, decode);
        let through_the_gate = SyncRequest::parse_through_the_gate(body.clone(), &CONTEXT.limits, ours, decode);
        assert_eq!(read.map_err(|error| error.to_string()), through_the_gate.map_err(|error| error.to_string()));
    }
    let answer = sync(&CONTEXT, body, decode).now_or_never().expect("nothing waits");
    let Ok((delta, stream)) = answer else { return };
    let batches = stream.collect::<Vec<_>>().now_or_never().expect("nothing waits");
    let sent: Vec<StoredNode> = batches.into_iter().flat_map(|batch| batch.expect("nothing fails")).collect();

    let document = Document::parse(Bytes::copy_from_slice(data), 64).expect("what was answered passed the gate");
    let body = document.root().as_object().expect("an object");
    let held = |name: &str| -> Vec<String> {
        let list = body.get("nodes").and_then(|nodes| nodes.as_array()).expect("a list");
        let objects = list.iter().map(|node| node.as_object().expect("an object"));
        objects.map(|node| node.get(name).and_then(|it| it.as_str()).expect("a string").into_owned()).collect()
    };
    let (ids, hashes) = (held("id"), held("hash"));
    let snapshot = CONTEXT.lattice.snapshot().expect("a snapshot");
    let holds = |node: &Entry| {
        let of_file = ContentHash::from_digest(node.file_hash);
        let ours = [node.content_hash.to_string(), node.content_hash.to_hex(), of_file.to_string(), of_file.to_hex()];
        ids.iter().zip(&hashes).any(|(id, hash)| node.id.as_str() == id && ours.contains(hash))
    };

    let unique: HashSet<&str> = sent.iter().map(|node| node.entry.id.as_str()).collect();
    assert_eq!(unique.len(), sent.len(), "a node is sent once");
    assert_eq!(delta.expected, sent.len());
    assert_eq!(delta.set_hash, snapshot.set_hash());
    for node in &sent {
        assert!(snapshot.get(node.entry.id.as_str()).is_some(), "only what there is");
        assert!(!holds(&node.entry), "only what the caller lacks or holds otherwise");
    }
    let wanted: HashSet<&str> = delta.wanted.iter().map(String::as_str).collect();
    assert_eq!(wanted.len(), delta.wanted.len());
    assert!(delta.wanted.is_sorted());
    for id in &wanted {
        assert!(snapshot.get(id).is_none() && ids.iter().any(|held| held == id), "{id} is wanted and not ours");
        assert!(!unique.contains(id) && *id != "deleted");
    }
    let says_the_same = body
        .get("manifest_hash")
        .and_then(|hash| hash.as_str())
        .is_some_and(|hash| hash == snapshot.set_hash().to_string() || hash == snapshot.set_hash().to_hex());
    let first_page = body.get("cursor").is_none_or(|cursor| cursor.is_null());
    if first_page && delta.next.is_none() && !says_the_same {
        let missing = snapshot.iter_after(None).filter(|node| !holds(node)).count();
        assert_eq!(missing, sent.len(), "all of what differs");
        let unknown = ids.iter().filter(|id| snapshot.get(id).is_none() && *id != "deleted").count();
        assert_eq!(unknown, wanted.len());
    }
    assert_eq!(delta.next.as_ref(), delta.next.as_ref().and(sent.last()).map(|node| &node.entry.id));
}

/// A lattice that never changes. What `sync` does not ask for is not there.
#[derive(Debug)]
struct Fixed(Arc<Snapshot>);

fn absent() -> LatticeError {
    LatticeError::Io("not in this lattice".to_owned())
}

#[async_trait]
impl Lattice for Fixed {
    fn status(&self) -> LatticeStatus {
        LatticeStatus {
            ready: true,
            nodes: self.0.len(),
            tombstones: 1,
            broken_total: 0,
            broken: Vec::new(),
            index_build: None,
            hashed_files: 0,
            foreign_manifest: false,
            index_id: String::new(),
            seq: 1,
            fault: None,
            full: false,
            unwatched: false,
        }
    }
    fn epochs(&self) -> Epochs {
        unreachable!("a delta needs no epochs")
    }
    fn begin_epoch(&self) {}
    fn positions(&self) -> watch::Receiver<u64> {
        watch::Sender::new(1).subscribe()
    }
    fn snapshot(&self) -> Result<Arc<Snapshot>, LatticeError> {
        Ok(Arc::clone(&self.0))
    }
    fn entry(&self, id: &NodeId) -> Result<Option<Arc<Entry>>, LatticeError> {
        Ok(self.0.get(id.as_str()).cloned())
    }
    fn page(&self, _: Option<&NodeId>, _: &NodeFilter, _: usize) -> Result<NodePage, LatticeError> {
        Err(absent())
    }
    fn unavailable(&self) -> Vec<NodeId> {
        Vec::new()
    }
    fn note_clock_agrees(&self) {}
    fn is_unavailable(&self, _: &NodeId) -> bool {
        false
    }
    async fn read(&self, _: &NodeId) -> Result<Option<StoredNode>, LatticeError> {
        Err(absent())
    }
    async fn read_many(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<StoredNode>, LatticeError> {
        Ok(entries.into_iter().map(|entry| StoredNode { entry, bytes: Bytes::from_static(b"{}") }).collect())
    }
    async fn put(&self, _: NodeDocument, _: Precondition) -> Result<Written, LatticeError> {
        Err(absent())
    }
    async fn put_many(&self, _: Vec<NodeDocument>) -> Result<Vec<Written>, LatticeError> {
        Err(absent())
    }
    async fn accept(&self, _: Vec<NodeId>) -> Result<Vec<NodeId>, LatticeError> {
        Err(absent())
    }
    async fn delete(&self, _: &NodeId, _: Precondition) -> Result<Option<Tombstone>, LatticeError> {
        Err(absent())
    }
    fn stays_deleted(&self, _id: &NodeId, _at: Timestamp) -> Result<bool, LatticeError> {
        Ok(false)
    }
    fn tombstone(&self, id: &NodeId) -> Result<Option<Tombstone>, LatticeError> {
        let content_hash = ContentHash::of(b"");
        let deleted_at = Timestamp::EPOCH;
        Ok((id.as_str() == "deleted").then(|| Tombstone { id: id.clone(), deleted_at, content_hash, seq: 1 }))
    }
    fn changes(&self, _: u64, _: usize) -> Result<Vec<Change>, LatticeError> {
        Err(absent())
    }
    fn change_count(&self) -> Result<u64, LatticeError> {
        Err(absent())
    }
    fn ancestry(&self, _: &NodeId) -> Result<Ancestry, LatticeError> {
        Err(absent())
    }
    fn givers(&self, _: &[&NodeId]) -> Result<Vec<Option<Box<str>>>, LatticeError> {
        Err(absent())
    }
    fn floor(&self) -> Result<u64, LatticeError> {
        Err(absent())
    }
    async fn apply(&self, _: Vec<Arrival>) -> Result<Vec<Applied>, LatticeError> {
        Err(absent())
    }
    async fn apply_within(&self, _: Vec<Arrival>, _: &Arc<DeletionBudget>) -> Result<Vec<Applied>, LatticeError> {
        Err(absent())
    }
    fn waiting(
        &self,
        _: Option<&str>,
        _: Option<(&NodeId, &str)>,
        _: usize,
    ) -> Result<Vec<WaitingDeletion>, LatticeError> {
        Err(absent())
    }
    fn waiting_senders(&self) -> Result<Vec<WaitingSender>, LatticeError> {
        Err(absent())
    }
    fn waiting_of(&self, _: &str) -> Result<u64, LatticeError> {
        Err(absent())
    }
    async fn confirm_waiting(&self, _: &str) -> Result<u64, LatticeError> {
        Err(absent())
    }
    async fn end_waiting(&self, _from: &str, _ids: &[NodeId]) -> Result<u64, LatticeError> {
        Err(absent())
    }
    async fn refuse_waiting(&self, _: &str) -> Result<u64, LatticeError> {
        Err(absent())
    }
    fn conflicts(&self, _: u64, _: usize) -> Result<Vec<Conflict>, LatticeError> {
        Err(absent())
    }
    fn overruled(&self, _: u64, _: usize) -> Result<Vec<Conflict>, LatticeError> {
        Err(absent())
    }
    fn overruled_count(&self) -> Result<u64, LatticeError> {
        Err(absent())
    }
    fn last_conflict(&self) -> Result<u64, LatticeError> {
        Err(absent())
    }
    fn conflict(&self, _: u64) -> Result<Option<(Conflict, Bytes)>, LatticeError> {
        Err(absent())
    }
    async fn dismiss_conflict(&self, _: u64) -> Result<Option<Dismissed>, LatticeError> {
        Err(absent())
    }
    async fn restore(&self, _: u64, _: &str) -> Result<Option<Restored>, LatticeError> {
        Err(absent())
    }
    fn conflict_count(&self) -> Result<u64, LatticeError> {
        Err(absent())
    }
    async fn rescan(&self) -> Result<(), LatticeError> {
        Ok(())
    }
    async fn close(&self) {}
}

/// A registry that nobody asks.
#[derive(Debug)]
struct Nobody;

fn silent() -> RegistryError {
    RegistryError::no_answer("nobody asks it")
}

#[async_trait]
impl Registry for Nobody {
    async fn register(&self, _: &Admitted) -> Result<Registered, RegistryError> {
        Err(silent())
    }
    async fn bindings(&self, _: &PeerId, _: PublicKey) -> Result<Bindings, RegistryError> {
        Err(silent())
    }
    async fn envelope(&self, _: &PeerId) -> Result<Option<Bytes>, RegistryError> {
        Err(silent())
    }
    async fn bound(&self, _: &PeerId) -> Result<Option<Bound>, RegistryError> {
        Err(silent())
    }
    async fn bind(&self, _: &PeerId, _: Option<&Bound>, _: &KeyLine, _: &str) -> Result<bool, RegistryError> {
        Err(silent())
    }
    async fn claim(&self, _: &PeerId, _: PublicKey) -> Result<PublicKey, RegistryError> {
        Err(silent())
    }
    async fn list(&self, _: Option<&PeerCursor>, _: usize) -> Result<PeerPage, RegistryError> {
        Err(silent())
    }
    fn changes(&self) -> u64 {
        0
    }

    async fn live(&self) -> Result<u64, RegistryError> {
        Err(silent())
    }
    async fn ping(&self) -> Result<(), RegistryError> {
        Err(silent())
    }
    fn kind(&self) -> &'static str {
        "nobody"
    }
    async fn close(&self) {}
}
