//! What the service answers, as far as it is shown. What an older service does not say is left out.

use crate::{
    cli::output::count,
    ops::{FailureClass, FailureKind},
    types::Timestamp,
};
use serde::Deserialize;
use serde_json::Number;
use std::time::Duration;

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Started {
    pub(in crate::cli) status: String,
    pub(in crate::cli) port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct AutoSync {
    pub(in crate::cli) auto_sync: bool,
    pub(in crate::cli) sync_interval: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Status {
    pub(in crate::cli) info: Info,
    pub(in crate::cli) is_running: bool,
    pub(in crate::cli) stats: Stats,
    pub(in crate::cli) peers: Vec<Peer>,
    #[serde(default)]
    pub(in crate::cli) inbound: Vec<Inbound>,
    pub(in crate::cli) lattice: Lattice,
    #[serde(default)]
    pub(in crate::cli) deletions_waiting: Vec<WaitingSender>,
    #[serde(default)]
    pub(in crate::cli) shared_ids: Vec<SharedId>,
}

/// An id that two machines use.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct SharedId {
    pub(in crate::cli) sharing: String,
    pub(in crate::cli) text: String,
    pub(in crate::cli) next: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Info {
    pub(in crate::cli) instance_id: String,
    pub(in crate::cli) instance_name: String,
    pub(in crate::cli) instance_type: String,
    pub(in crate::cli) federation_mode: String,
    pub(in crate::cli) listen_port: u16,
    pub(in crate::cli) auto_sync: bool,
    pub(in crate::cli) sync_interval: u64,
    pub(in crate::cli) public_key: Option<String>,
    pub(in crate::cli) address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cli) struct Stats {
    pub(in crate::cli) total_syncs: u64,
    pub(in crate::cli) failures: u64,
    pub(in crate::cli) nodes_sent: u64,
    pub(in crate::cli) nodes_received: u64,
    pub(in crate::cli) conflicts_resolved: u64,
    pub(in crate::cli) bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Lattice {
    /// 0.1.0 does not state it.
    #[serde(default)]
    pub(in crate::cli) status: String,
    #[serde(default)]
    pub(in crate::cli) detail: Option<String>,
    #[serde(default)]
    pub(in crate::cli) broken_files: u64,
    pub(in crate::cli) nodes: u64,
    pub(in crate::cli) seq: u64,
    pub(in crate::cli) conflicts: u64,
    #[serde(default)]
    pub(in crate::cli) foreign_manifest: bool,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Peers {
    pub(in crate::cli) peers: Vec<Peer>,
    /// A service of 0.1.0 does not state it.
    #[serde(default = "running", rename = "isRunning")]
    pub(in crate::cli) is_running: bool,
    #[serde(default)]
    pub(in crate::cli) inbound: Vec<Inbound>,
}

fn running() -> bool {
    true
}

/// An instance that connects to the service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Inbound {
    pub(in crate::cli) node_id: String,
    pub(in crate::cli) trust: String,
    pub(in crate::cli) active: bool,
    pub(in crate::cli) address: Option<String>,
    pub(in crate::cli) direction: Option<String>,
    pub(in crate::cli) filtered: bool,
    pub(in crate::cli) last_contact: Number,
    #[serde(default)]
    pub(in crate::cli) lag: Lag,
    pub(in crate::cli) nodes_received: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Peer {
    pub(in crate::cli) url: String,
    pub(in crate::cli) node_id: Option<String>,
    pub(in crate::cli) active: bool,
    pub(in crate::cli) direction: String,
    #[serde(default)]
    pub(in crate::cli) filter: Filter,
    #[serde(default)]
    pub(in crate::cli) priority: bool,
    /// It is exchanged with automatically although `auto_sync` of the instance is off.
    #[serde(default)]
    pub(in crate::cli) auto_sync: bool,
    pub(in crate::cli) last_sync: Option<Number>,
    #[serde(default)]
    pub(in crate::cli) lag: Lag,
    pub(in crate::cli) error: Option<String>,
    pub(in crate::cli) error_code: Option<String>,
    pub(in crate::cli) next: Option<String>,
    #[serde(default)]
    pub(in crate::cli) differences: Differences,
    #[serde(default)]
    pub(in crate::cli) failures_in_a_row: u64,
    #[serde(default)]
    pub(in crate::cli) deletions_waiting: Waiting,
}

/// Deletions that wait for an admin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Waiting {
    pub(in crate::cli) here: u64,
    pub(in crate::cli) there: Option<u64>,
}

/// Nodes that were left out: their files are broken, or they are too large, here or there.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct LeftOut {
    pub(in crate::cli) here: u64,
    pub(in crate::cli) there: u64,
}

/// In what the sets differ where changes go one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::cli) struct Differences {
    pub(in crate::cli) newer_there: u64,
    pub(in crate::cli) newer_here: u64,
    pub(in crate::cli) deleted_there: u64,
    pub(in crate::cli) deleted_here: u64,
    pub(in crate::cli) only_there: u64,
    pub(in crate::cli) only_here: u64,
}

impl Differences {
    /// For people; `None`: there are none.
    pub(in crate::cli) fn words(self) -> Option<String> {
        let Self { newer_there, newer_here, deleted_there, deleted_here, only_there, only_here } = self;
        let counted = [
            (newer_there, "newer there"),
            (newer_here, "newer here"),
            (deleted_there, "deleted there"),
            (deleted_here, "deleted here"),
            (only_there, "only there"),
            (only_here, "only here"),
        ];
        let named = counted.into_iter().filter(|(nodes, _)| *nodes > 0);
        let named: Vec<String> = named.map(|(nodes, how)| format!("{} {how}", count(nodes, "node"))).collect();
        (!named.is_empty()).then(|| named.join(", "))
    }
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct WaitingSender {
    pub(in crate::cli) from: String,
    pub(in crate::cli) deletions: u64,
    pub(in crate::cli) since: Number,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Deletion {
    pub(in crate::cli) id: String,
    pub(in crate::cli) from: String,
    pub(in crate::cli) deleted_at: Number,
    pub(in crate::cli) since: Number,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Deletions {
    pub(in crate::cli) deletions: Vec<Deletion>,
    pub(in crate::cli) total: u64,
    pub(in crate::cli) senders: Vec<WaitingSender>,
    pub(in crate::cli) next: Option<String>,
}

/// What confirming or refusing did.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Settled {
    pub(in crate::cli) deleted: u64,
    pub(in crate::cli) kept: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct Filter {
    pub(in crate::cli) types: Vec<String>,
    pub(in crate::cli) ids: Vec<String>,
    pub(in crate::cli) tags: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cli) struct Lag {
    pub(in crate::cli) to_send: Option<u64>,
    pub(in crate::cli) to_receive: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct PeerSet {
    pub(in crate::cli) status: String,
    pub(in crate::cli) peer_url: String,
    pub(in crate::cli) total_peers: usize,
    /// A service of 0.1.0 does not state it, nor what answers at the address.
    pub(in crate::cli) auto_sync: Option<bool>,
    pub(in crate::cli) probe: Option<Probe>,
}

/// What answers at the address of a peer that was added.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Probe {
    pub(in crate::cli) protocol: Option<String>,
    pub(in crate::cli) node_id: Option<String>,
    pub(in crate::cli) public_key: Option<String>,
    pub(in crate::cli) error: Option<String>,
    pub(in crate::cli) error_code: Option<String>,
    pub(in crate::cli) next: Option<String>,
}

impl Probe {
    /// Something answers, and it is not what it should be.
    pub(in crate::cli) fn differs(&self) -> bool {
        let kind = self.error_code.as_deref().and_then(FailureKind::parse);
        kind.is_some_and(|kind| kind.class() == FailureClass::Differs)
    }
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Synced {
    pub(in crate::cli) result: Vec<SyncedPeer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct SyncedPeer {
    pub(in crate::cli) peer: String,
    pub(in crate::cli) success: bool,
    pub(in crate::cli) nodes_sent: u64,
    pub(in crate::cli) nodes_received: u64,
    #[serde(default)]
    pub(in crate::cli) conflicts_resolved: u64,
    #[serde(default)]
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) outcome: Option<String>,
    pub(in crate::cli) error: Option<String>,
    pub(in crate::cli) error_code: Option<String>,
    pub(in crate::cli) next: Option<String>,
    #[serde(default)]
    pub(in crate::cli) deletions_waiting: Waiting,
    #[serde(default)]
    pub(in crate::cli) unavailable: LeftOut,
    #[serde(default)]
    pub(in crate::cli) too_large: LeftOut,
    #[serde(default)]
    pub(in crate::cli) differences: Differences,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Discovered {
    pub(in crate::cli) found: Vec<Found>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Found {
    pub(in crate::cli) url: String,
    pub(in crate::cli) node_id: Option<String>,
    pub(in crate::cli) instance_type: Option<String>,
    pub(in crate::cli) via: String,
    pub(in crate::cli) known: bool,
    pub(in crate::cli) accepted: bool,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct History {
    pub(in crate::cli) rounds: Vec<Past>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Past {
    pub(in crate::cli) at: Number,
    pub(in crate::cli) peer: String,
    #[serde(default)]
    pub(in crate::cli) inbound: bool,
    pub(in crate::cli) duration_ms: u64,
    pub(in crate::cli) outcome: String,
    pub(in crate::cli) error: Option<String>,
    pub(in crate::cli) nodes_received: u64,
    pub(in crate::cli) nodes_sent: u64,
    pub(in crate::cli) conflicts_resolved: u64,
    pub(in crate::cli) bytes: u64,
}

impl Peer {
    /// This instance exchanges with its hub only, and the peer is another one: no failure unless it is named.
    pub(in crate::cli) fn is_left_out(&self) -> bool {
        self.error_code.as_deref().and_then(FailureKind::parse) == Some(FailureKind::HubOnly)
    }

    /// `online`, `offline` where it does not answer, `failing` where it answers and the rounds fail, `new` before the first round, `left out` where
    /// this instance exchanges with its hub only, and `stopped` while the federation of this instance is.
    pub(in crate::cli) fn state(&self, is_running: bool) -> &'static str {
        let is_new = self.last_sync.is_none() && self.failures_in_a_row == 0 && self.error.is_none();
        let kind = self.error_code.as_deref().and_then(FailureKind::parse);
        match kind.map(FailureKind::class) {
            _ if !is_running => "stopped",
            _ if self.is_left_out() => "left out",
            _ if self.active => "online",
            _ if is_new => "new",
            Some(FailureClass::Refused | FailureClass::Differs | FailureClass::Local) => "failing",
            Some(FailureClass::Unavailable) | None => "offline",
        }
    }
}

impl Filter {
    /// As the options that make it.
    pub(in crate::cli) fn text(&self, priority: bool) -> String {
        let part = |name: &str, words: &[String]| words.iter().map(|word| format!("{name}={word}")).collect::<Vec<_>>();
        let mut parts = [part("type", &self.types), part("id", &self.ids), part("tag", &self.tags)].concat();
        if priority {
            parts.push("priority".to_owned());
        }
        if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
    }
}

/// An instant of the wire.
pub(in crate::cli) fn instant(seconds: &Number) -> Option<Timestamp> {
    Timestamp::from_seconds_text(&seconds.to_string())
}

/// `12 s ago`.
pub(in crate::cli) fn ago(then: Timestamp, now: Timestamp) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match now.since(then).as_secs() {
        0 => "now".to_owned(),
        seconds if seconds < MINUTE => format!("{seconds} s ago"),
        seconds if seconds < HOUR => format!("{} min ago", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h ago", seconds / HOUR),
        seconds => format!("{} ago", count(seconds / DAY, "day")),
    }
}

/// Milliseconds as people say them.
pub(in crate::cli) fn interval(millis: u64) -> String {
    let duration = Duration::from_millis(millis);
    if duration.subsec_nanos() == 0 && duration.as_secs() < 600 {
        return format!("{} s", duration.as_secs());
    }
    humantime::format_duration(duration).to_string()
}

pub(in crate::cli) fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_tell_them() {
        let now = Timestamp::from_seconds(1_000_000);
        let told = |seconds: i64| ago(Timestamp::from_seconds(1_000_000 - seconds), now);
        // A service whose clock is ahead has done nothing in the future.
        assert_eq!((told(0), told(-7), told(12)), ("now".into(), "now".into(), "12 s ago".into()));
        assert_eq!(
            (told(119), told(7300), told(86_400 * 3)),
            ("1 min ago".into(), "2 h ago".into(), "3 days ago".into())
        );
        assert_eq!(
            (interval(60_000), interval(1500), interval(3_600_000)),
            ("60 s".into(), "1s 500ms".into(), "1h".into())
        );
    }

    #[test]
    fn a_filter_reads_as_it_is_set() {
        let filter = Filter { types: vec!["note".into()], ids: vec!["a*".into(), "b?".into()], tags: vec![] };
        assert_eq!(filter.text(true), "type=note id=a* id=b? priority");
        assert_eq!(Filter::default().text(false), "-");
    }
}
