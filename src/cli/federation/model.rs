//! What the service answers, as far as it is shown. What an older service does not say is left out.

use crate::{cli::output::count, types::Timestamp};
use serde::Deserialize;
use serde_json::Number;
use std::time::Duration;

#[derive(Debug, Deserialize)]
pub(super) struct Started {
    pub(super) status: String,
    pub(super) port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AutoSync {
    pub(super) auto_sync: bool,
    pub(super) sync_interval: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) info: Info,
    pub(super) is_running: bool,
    pub(super) stats: Stats,
    pub(super) peers: Vec<Peer>,
    #[serde(default)]
    pub(super) inbound: Vec<Inbound>,
    pub(super) lattice: Lattice,
    #[serde(default)]
    pub(super) deletions_waiting: Vec<WaitingSender>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    pub(super) instance_id: String,
    pub(super) instance_name: String,
    pub(super) instance_type: String,
    pub(super) federation_mode: String,
    pub(super) listen_port: u16,
    pub(super) auto_sync: bool,
    pub(super) sync_interval: u64,
    pub(super) public_key: Option<String>,
    pub(super) address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Stats {
    pub(super) total_syncs: u64,
    pub(super) failures: u64,
    pub(super) nodes_sent: u64,
    pub(super) nodes_received: u64,
    pub(super) conflicts_resolved: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lattice {
    /// 0.1.0 does not state it.
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) detail: Option<String>,
    #[serde(default)]
    pub(super) broken_files: u64,
    pub(super) nodes: u64,
    pub(super) seq: u64,
    pub(super) conflicts: u64,
    #[serde(default)]
    pub(super) foreign_manifest: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Peers {
    pub(super) peers: Vec<Peer>,
    #[serde(default)]
    pub(super) inbound: Vec<Inbound>,
}

/// An instance that connects to the service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inbound {
    pub(super) node_id: String,
    pub(super) trust: String,
    pub(super) active: bool,
    pub(super) address: Option<String>,
    pub(super) direction: Option<String>,
    pub(super) filtered: bool,
    pub(super) last_contact: Number,
    #[serde(default)]
    pub(super) lag: Lag,
    pub(super) nodes_received: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer {
    pub(super) url: String,
    pub(super) node_id: Option<String>,
    pub(super) active: bool,
    pub(super) direction: String,
    #[serde(default)]
    pub(super) filter: Filter,
    #[serde(default)]
    pub(super) priority: bool,
    /// It is exchanged with automatically although `auto_sync` of the instance is off.
    #[serde(default)]
    pub(super) auto_sync: bool,
    pub(super) last_sync: Option<Number>,
    #[serde(default)]
    pub(super) lag: Lag,
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) differences: Differences,
    #[serde(default)]
    pub(super) failures_in_a_row: u64,
    #[serde(default)]
    pub(super) deletions_waiting: Waiting,
}

/// Deletions that wait for an admin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) here: u64,
    pub(super) there: Option<u64>,
}

/// Nodes that were left out: their files are broken, or they are too large, here or there.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeftOut {
    pub(super) here: u64,
    pub(super) there: u64,
}

/// In what the sets differ where changes go one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Differences {
    pub(super) newer_there: u64,
    pub(super) newer_here: u64,
    pub(super) deleted_there: u64,
    pub(super) deleted_here: u64,
    pub(super) only_there: u64,
    pub(super) only_here: u64,
}

impl Differences {
    /// For people; `None`: there are none.
    pub(super) fn words(self) -> Option<String> {
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
pub(super) struct WaitingSender {
    pub(super) from: String,
    pub(super) deletions: u64,
    pub(super) since: Number,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deletion {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) deleted_at: Number,
    pub(super) since: Number,
}

#[derive(Debug, Deserialize)]
pub(super) struct Deletions {
    pub(super) deletions: Vec<Deletion>,
    pub(super) total: u64,
    pub(super) senders: Vec<WaitingSender>,
    pub(super) next: Option<String>,
}

/// What confirming or refusing did.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settled {
    pub(super) deleted: u64,
    pub(super) kept: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    pub(super) types: Vec<String>,
    pub(super) ids: Vec<String>,
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Lag {
    pub(super) to_send: Option<u64>,
    pub(super) to_receive: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeerSet {
    pub(super) status: String,
    pub(super) peer_url: String,
    pub(super) total_peers: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Synced {
    pub(super) result: Vec<SyncedPeer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncedPeer {
    pub(super) peer: String,
    pub(super) success: bool,
    pub(super) nodes_sent: u64,
    pub(super) nodes_received: u64,
    #[serde(default)]
    pub(super) conflicts_resolved: u64,
    #[serde(default)]
    pub(super) bytes: u64,
    pub(super) outcome: Option<String>,
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) deletions_waiting: Waiting,
    #[serde(default)]
    pub(super) unavailable: LeftOut,
    #[serde(default)]
    pub(super) too_large: LeftOut,
    #[serde(default)]
    pub(super) differences: Differences,
}

#[derive(Debug, Deserialize)]
pub(super) struct Discovered {
    pub(super) found: Vec<Found>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    pub(super) url: String,
    pub(super) node_id: Option<String>,
    pub(super) instance_type: Option<String>,
    pub(super) via: String,
    pub(super) known: bool,
    pub(super) accepted: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct History {
    pub(super) rounds: Vec<Past>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Past {
    pub(super) at: Number,
    pub(super) peer: String,
    #[serde(default)]
    pub(super) inbound: bool,
    pub(super) duration_ms: u64,
    pub(super) outcome: String,
    pub(super) error: Option<String>,
    pub(super) nodes_received: u64,
    pub(super) nodes_sent: u64,
    pub(super) conflicts_resolved: u64,
    pub(super) bytes: u64,
}

impl Peer {
    /// `online`, `offline`, or `new` before the first round.
    pub(super) fn state(&self) -> &'static str {
        match (self.active, self.last_sync.is_none() && self.failures_in_a_row == 0 && self.error.is_none()) {
            (true, _) => "online",
            (false, true) => "new",
            (false, false) => "offline",
        }
    }
}

impl Filter {
    /// As the options that make it.
    pub(super) fn text(&self, priority: bool) -> String {
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
pub(super) fn interval(millis: u64) -> String {
    let duration = Duration::from_millis(millis);
    if duration.subsec_nanos() == 0 && duration.as_secs() < 600 {
        return format!("{} s", duration.as_secs());
    }
    humantime::format_duration(duration).to_string()
}

pub(super) fn number(number: Option<u64>) -> String {
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
