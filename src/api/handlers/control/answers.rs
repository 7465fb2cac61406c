//! What the controls answer, in the members of the seed (its guide's API reference), and ours in the same style.

mod added;
mod differences;
mod failure;
mod inbound;
mod left_out;
mod past;
mod shared_ids;

pub(super) use self::{added::AddedAnswer, past::HistoryAnswer};
use self::{
    differences::DifferencesAnswer,
    failure::FailureAnswer,
    inbound::InboundAnswer,
    left_out::{LeftOutAnswer, TooLargeAnswer},
    shared_ids::SharedIdAnswer,
};
use crate::{
    api::{
        handlers::{deletions::SenderAnswer, nodes::seconds},
        schemas::{Hash, PublicKeyText},
    },
    ops::{
        self, Direction, FailureKind, FederationInfo, Filter, Found, Lag, LatticeError, Outcome, PeerState, Stand,
        Synced, Via,
    },
};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// Who an instance is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationInfo)]
pub(crate) struct InfoAnswer {
    /// Its id: `node_id` in its manifests.
    instance_id: String,
    /// `ARK-`, its type and the first eight characters of its id.
    #[schema(example = "ARK-local-abc123")]
    instance_name: String,
    /// `local`, `cloud` or `pi`.
    instance_type: &'static str,
    /// `p2p`, `hub` or `hybrid`.
    federation_mode: &'static str,
    /// The port that it listens on.
    listen_port: u16,
    /// Does it exchange by itself?
    auto_sync: bool,
    /// How often at least, milliseconds.
    sync_interval: u64,
    /// The addresses of its peers; for strangers none.
    peers: Vec<String>,
    /// Its key, base64.
    #[schema(value_type = Option<PublicKeyText>, required = true)]
    public_key: Option<String>,
    /// Where others reach it, as far as it knows.
    #[schema(required = true)]
    address: Option<String>,
}

impl InfoAnswer {
    pub(crate) fn new(info: FederationInfo, peers: Vec<String>) -> Self {
        Self {
            instance_id: info.instance_id,
            instance_name: info.instance_name,
            instance_type: info.instance_type,
            federation_mode: info.mode,
            listen_port: info.port,
            auto_sync: info.auto_sync,
            sync_interval: millis(info.sync_interval),
            peers,
            public_key: info.public_key,
            address: info.address,
        }
    }
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What was done with all peers since they were added.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationStats)]
pub(crate) struct StatsAnswer {
    /// Rounds that came to their end.
    total_syncs: u64,
    /// Nodes and deletions that went and counted there.
    nodes_sent: u64,
    /// Nodes and deletions that came and counted here.
    nodes_received: u64,
    /// Versions made here that lost; `GET /conflicts` has them.
    conflicts_resolved: u64,
    /// Bytes of changes, both ways.
    bytes: u64,
    /// Rounds that failed.
    failures: u64,
}

/// What was done with a peer since it was added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPeerStats)]
pub(crate) struct PeerStatsAnswer {
    /// Rounds that came to their end.
    rounds: u64,
    /// Rounds that failed.
    failures: u64,
    /// Nodes and deletions that went and counted there.
    nodes_sent: u64,
    /// Nodes and deletions that came and counted here.
    nodes_received: u64,
    /// Versions made here that lost.
    conflicts_resolved: u64,
    /// Bytes of changes, both ways.
    bytes: u64,
}

/// Which nodes go: those that match one entry of each kind that has entries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationFilter)]
pub(crate) struct FilterAnswer {
    /// A node's `type`.
    types: Vec<String>,
    /// Patterns of a node's id: `*` stands for any characters, `?` for one.
    ids: Vec<String>,
    /// A node's `tags`.
    tags: Vec<String>,
}

impl From<Filter> for FilterAnswer {
    fn from(filter: Filter) -> Self {
        Self { types: filter.types, ids: filter.ids, tags: filter.tags }
    }
}

/// How far two instances are from each other; null where it is not known.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationLag)]
pub(crate) struct LagAnswer {
    /// Changes here that the peer does not have.
    #[schema(required = true)]
    to_send: Option<u64>,
    /// Changes there that are not here.
    #[schema(required = true)]
    to_receive: Option<u64>,
}

/// Deletions that wait for an admin, between this instance and a peer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationDeletionsWaiting)]
pub(crate) struct WaitingAnswer {
    /// Of the peer, here.
    here: u64,
    /// Of this instance, at the peer, as it last said; null: it did not.
    #[schema(required = true)]
    there: Option<u64>,
}

/// A peer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPeer)]
pub(crate) struct PeerAnswer {
    /// Its address.
    #[schema(example = "http://192.168.1.100:9000")]
    url: String,
    /// Its id, since the first contact.
    #[schema(required = true)]
    node_id: Option<String>,
    /// Its key, since the first contact; another one is refused.
    #[schema(required = true)]
    public_key: Option<String>,
    /// The last round with it came to its end.
    active: bool,
    /// Which ways changes go: `both`, `pull` or `push`.
    direction: &'static str,
    /// Which nodes go.
    filter: FilterAnswer,
    /// Whether more important nodes go first.
    priority: bool,
    /// It is an original, which signs nothing: whoever answers at the address is believed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    unsigned: bool,
    /// It is exchanged with automatically, whatever `autoSync` of this instance says: it was paired by an invite.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    auto_sync: bool,
    /// When it was added, epoch seconds.
    #[schema(value_type = f64)]
    added_at: Number,
    /// When a round with it last came to its end, epoch seconds.
    #[schema(value_type = Option<f64>, required = true)]
    last_sync: Option<Number>,
    /// How far the two are from each other.
    lag: LagAnswer,
    /// Deletions that wait for an admin.
    deletions_waiting: WaitingAnswer,
    /// In what the sets differed when they were last compared; only where changes go one way and they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<DifferencesAnswer>,
    /// Why the last round failed; null: it did not.
    #[schema(required = true)]
    error: Option<String>,
    #[serde(flatten)]
    failure: FailureAnswer,
    /// Rounds that failed since the last that did not.
    failures_in_a_row: u32,
    /// What was done with it.
    stats: PeerStatsAnswer,
}

pub(super) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Both => "both",
        Direction::Pull => "pull",
        Direction::Push => "push",
    }
}

/// A peer with which hub mode makes no rounds states that, and not how its last round ended.
fn marked_where_left_out(mut peer: PeerState, context: &ops::Context) -> PeerState {
    if let Some(hub) = ops::hub_instead_of(context, &peer.url) {
        let left_out = format!("no rounds are made with it: this instance exchanges with its hub only, {hub}");
        (peer.failure, peer.error) = (Some(FailureKind::HubOnly), Some(left_out));
    }
    peer
}

impl PeerAnswer {
    pub(super) fn new((peer, lag): (PeerState, Lag), context: &ops::Context) -> Self {
        let peer = marked_where_left_out(peer, context);
        let failure = FailureAnswer::new(context, &peer.url, peer.failure, peer.error.as_deref());
        Self {
            active: peer.is_active(),
            direction: direction(peer.options.direction),
            filter: peer.options.filter.into(),
            priority: peer.options.priority,
            unsigned: peer.options.unsigned,
            auto_sync: peer.auto_sync,
            added_at: seconds(peer.added_at),
            last_sync: peer.synced_at.map(seconds),
            lag: LagAnswer { to_send: lag.to_send, to_receive: lag.to_receive },
            deletions_waiting: WaitingAnswer { here: lag.waiting_here, there: Some(peer.waiting_there) },
            differences: peer.positions.differences.and_then(|it| it.differences).and_then(DifferencesAnswer::of),
            failures_in_a_row: peer.failed_in_a_row,
            stats: PeerStatsAnswer {
                rounds: peer.stats.rounds,
                failures: peer.stats.failures,
                nodes_sent: peer.stats.nodes_sent,
                nodes_received: peer.stats.nodes_received,
                conflicts_resolved: peer.stats.conflicts,
                bytes: peer.stats.bytes,
            },
            url: peer.url,
            node_id: peer.node_id,
            public_key: peer.public_key,
            failure,
            error: peer.error,
        }
    }
}

/// Where the lattice stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationLattice)]
pub(crate) struct LatticeAnswer {
    /// `ok`, `loading` or `failing`, as in `GET /health`.
    #[schema(example = "ok")]
    status: &'static str,
    /// There where it fails: what is wrong, and what to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    detail: Option<String>,
    /// Files that are broken: what they hold now is sent to nobody. `ark-lattice doctor` names them.
    broken_files: usize,
    /// Live nodes.
    nodes: usize,
    /// The journal's newest position.
    seq: u64,
    /// The hash of the whole set; null while the index is being built.
    #[schema(value_type = Option<Hash>, required = true)]
    manifest_hash: Option<String>,
    /// Conflicts that are kept.
    conflicts: u64,
    /// There and true where `manifest.json` is not written, because another program's file of that name is in the data directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    foreign_manifest: bool,
}

impl From<Stand> for LatticeAnswer {
    fn from(stand: Stand) -> Self {
        let manifest_hash = stand.set_hash.map(|hash| hash.to_string());
        let status = match (stand.is_ready, &stand.fault) {
            (false, _) => "loading",
            (true, Some(_)) => "failing",
            (true, None) => "ok",
        };
        Self {
            status,
            detail: stand.fault,
            broken_files: stand.broken_files,
            nodes: stand.nodes,
            seq: stand.seq,
            manifest_hash,
            conflicts: stand.conflicts,
            foreign_manifest: stand.foreign_manifest,
        }
    }
}

/// Everything about the federation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationStatus)]
pub(crate) struct StatusAnswer {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Who this instance is.
    info: InfoAnswer,
    /// Rounds are made, and peers are let in.
    is_running: bool,
    /// The addresses of the peers with which the last round came to its end.
    active_peers: Vec<String>,
    /// What was done with all peers.
    stats: StatsAnswer,
    /// The peers, by address.
    peers: Vec<PeerAnswer>,
    /// Instances that connect to this one, the one that came last first.
    inbound: Vec<InboundAnswer>,
    /// Where the lattice stands.
    lattice: LatticeAnswer,
    /// Every instance of which deletions wait here.
    deletions_waiting: Vec<SenderAnswer>,
    /// Ids that two machines use, of this instance or of others. 0.1.0 does not have this member.
    #[schema(required = false)]
    shared_ids: Vec<SharedIdAnswer>,
}

impl StatusAnswer {
    pub(super) fn new(context: &ops::Context, peers: Vec<(PeerState, Lag)>) -> Result<Self, LatticeError> {
        let mut stats = StatsAnswer::default();
        for (peer, _) in &peers {
            stats.total_syncs = stats.total_syncs.saturating_add(peer.stats.rounds);
            stats.nodes_sent = stats.nodes_sent.saturating_add(peer.stats.nodes_sent);
            stats.nodes_received = stats.nodes_received.saturating_add(peer.stats.nodes_received);
            stats.conflicts_resolved = stats.conflicts_resolved.saturating_add(peer.stats.conflicts);
            stats.bytes = stats.bytes.saturating_add(peer.stats.bytes);
            stats.failures = stats.failures.saturating_add(peer.stats.failures);
        }
        let urls = peers.iter().map(|(peer, _)| peer.url.clone()).collect();
        Ok(Self {
            status: "ok",
            info: InfoAnswer::new(ops::federation_info(context), urls),
            is_running: ops::is_running(context),
            active_peers: active(&peers),
            stats,
            peers: peers.into_iter().map(|peer| PeerAnswer::new(peer, context)).collect(),
            inbound: ops::inbound_peers(context).into_iter().map(Into::into).collect(),
            lattice: ops::stand(context)?.into(),
            deletions_waiting: ops::waiting_senders(context)?.into_iter().map(Into::into).collect(),
            shared_ids: shared_ids::shared_ids(context),
        })
    }
}

fn active(peers: &[(PeerState, Lag)]) -> Vec<String> {
    peers.iter().filter(|(peer, _)| peer.is_active()).map(|(peer, _)| peer.url.clone()).collect()
}

/// All peers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPeers)]
pub(crate) struct PeersAnswer {
    /// The peers, by address.
    peers: Vec<PeerAnswer>,
    /// How many there are.
    count: usize,
    /// The addresses of those with which the last round came to its end.
    active_peers: Vec<String>,
    /// Rounds are made, and peers are let in. 0.1.0 does not have this member.
    #[schema(required = false)]
    is_running: bool,
    /// Instances that connect to this one, the one that came last first; they need not be peers of it.
    inbound: Vec<InboundAnswer>,
}

impl PeersAnswer {
    pub(super) fn new(context: &ops::Context, peers: Vec<(PeerState, Lag)>) -> Self {
        let (count, active_peers) = (peers.len(), active(&peers));
        Self {
            peers: peers.into_iter().map(|peer| PeerAnswer::new(peer, context)).collect(),
            count,
            active_peers,
            is_running: ops::is_running(context),
            inbound: ops::inbound_peers(context).into_iter().map(Into::into).collect(),
        }
    }
}

/// The federation was started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationStarted)]
pub(crate) struct StartAnswer {
    /// `started`, or `running` where it was not stopped.
    #[schema(example = "started")]
    pub(super) status: &'static str,
    /// The port that this instance listens on.
    pub(super) port: u16,
    /// This instance's id.
    pub(super) instance_id: String,
    /// And its name.
    pub(super) instance_name: String,
}

/// The federation was stopped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationStopped)]
pub(crate) struct StopAnswer {
    /// Always `stopped`.
    #[schema(example = "stopped")]
    pub(super) status: &'static str,
}

/// A peer was added, changed or removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationPeerSet)]
pub(crate) struct PeerSetAnswer {
    /// `added`, `changed`, `unchanged`, `moved` (the peer was known at another address, at which it did not answer) or `removed`.
    #[schema(example = "added")]
    pub(super) status: &'static str,
    /// The peer's address, as it is kept.
    #[schema(example = "http://192.168.1.100:9000")]
    pub(super) peer_url: String,
    /// How many peers there are now.
    #[schema(example = 3)]
    pub(super) total_peers: usize,
}

/// What a round did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationRound)]
pub(crate) struct RoundAnswer {
    /// The peer's address.
    #[schema(example = "http://192.168.1.100:9000")]
    peer: String,
    /// It came to its end.
    success: bool,
    /// Nodes and deletions that went and counted there.
    #[schema(example = 15)]
    nodes_sent: usize,
    /// Nodes and deletions that came and counted here.
    #[schema(example = 23)]
    nodes_received: usize,
    /// Versions made here that lost.
    conflicts_resolved: usize,
    /// Bytes of changes, both ways.
    bytes: u64,
    /// Requests that were made.
    requests: u32,
    /// Deletions that wait for an admin.
    deletions_waiting: WaitingAnswer,
    /// Nodes that were left out because their files are broken; only where any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<LeftOutAnswer>,
    /// Nodes that were left out for their size; only where any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    too_large: Option<TooLargeAnswer>,
    /// In what the sets differ; only where changes go one way and they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<DifferencesAnswer>,
    /// `in_step`, `waiting` (equal but for deletions that wait), `unavailable` (equal but for nodes whose files are broken or that are too large), `exchanged`
    /// (what the direction and the filter let through), `diverged` (the same, and nodes that should be alike differ: one side changed or
    /// deleted them, and the direction does not carry that), `unexplained` or `moving`; null: it did not come to its end.
    #[schema(required = true)]
    outcome: Option<&'static str>,
    /// Why it did not.
    #[schema(required = true)]
    error: Option<String>,
    #[serde(flatten)]
    failure: FailureAnswer,
}

impl RoundAnswer {
    pub(super) fn new(synced: Synced, context: &ops::Context) -> Self {
        let failure = FailureAnswer::new(context, &synced.url, synced.failure, synced.error.as_deref());
        let report = synced.report;
        Self {
            failure,
            peer: synced.url,
            success: synced.error.is_none(),
            nodes_sent: report.sent_taken,
            nodes_received: report.received.taken,
            conflicts_resolved: report.received.conflicts,
            bytes: report.bytes_in.saturating_add(report.bytes_out),
            requests: report.requests,
            deletions_waiting: WaitingAnswer { here: report.waiting_here, there: report.waiting_there },
            unavailable: LeftOutAnswer::of(report.unavailable),
            too_large: TooLargeAnswer::of(report.too_large),
            differences: DifferencesAnswer::of(report.differences),
            outcome: report.outcome.map(Outcome::as_str),
            error: synced.error,
        }
    }
}

/// Another instance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationFound)]
pub(crate) struct FoundInstance {
    /// Where it answers, or says that it is.
    url: String,
    /// Its id; only where a signature proves it.
    #[schema(required = true)]
    node_id: Option<String>,
    /// Its key, base64; only where a signature proves it.
    #[schema(value_type = Option<PublicKeyText>, required = true)]
    public_key: Option<String>,
    /// `local`, `cloud` or `pi`, as it says.
    #[schema(required = true)]
    instance_type: Option<&'static str>,
    /// How it was found: `mdns`, `scan` or `registry`.
    via: &'static str,
    /// Whether it is a peer already, at this address or another.
    known: bool,
    /// Whether this search made it one.
    accepted: bool,
}

impl From<Found> for FoundInstance {
    fn from(found: Found) -> Self {
        let via = match found.via {
            Via::Mdns => "mdns",
            Via::Scan => "scan",
            Via::Registry => "registry",
        };
        let Found { url, node_id, public_key, instance_type, known, accepted, .. } = found;
        Self { url, node_id, public_key, instance_type, via, known, accepted }
    }
}

/// Who was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationFoundList)]
pub(crate) struct FoundAnswer {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub(super) status: &'static str,
    /// The other instances.
    pub(super) found: Vec<FoundInstance>,
    /// How many there are.
    pub(super) count: usize,
}

/// Whether the instance exchanges by itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FederationAutoSync)]
pub(crate) struct AutoSyncAnswer {
    /// `started` or `stopped`.
    #[schema(example = "started")]
    pub(super) status: &'static str,
    /// Does it?
    pub(super) auto_sync: bool,
    /// How often at least, milliseconds.
    #[schema(example = 60_000)]
    pub(super) sync_interval: u64,
}
