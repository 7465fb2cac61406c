//! What happens between instances, for whoever listens: log lines, and a stream with the last thousand.

use crate::types::{SharedClock, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};
use tokio::sync::broadcast;

/// Events that are kept for those who come late.
const KEPT: usize = 1000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A peer was added.
    PeerAdded,
    /// A peer was removed.
    PeerRemoved,
    /// A peer answers, for the first time or again.
    PeerOnline,
    /// A peer does not answer any more.
    PeerOffline,
    /// A round began.
    SyncStarted,
    /// A round ended, well or not.
    SyncComplete,
    /// A version made here lost; it is kept.
    ConflictResolved,
    /// The journal moved.
    NodeChanged,
}

impl EventKind {
    /// The event's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerAdded => "peer-added",
            Self::PeerRemoved => "peer-removed",
            Self::PeerOnline => "peer-online",
            Self::PeerOffline => "peer-offline",
            Self::SyncStarted => "sync-started",
            Self::SyncComplete => "sync-complete",
            Self::ConflictResolved => "conflict-resolved",
            Self::NodeChanged => "node-changed",
        }
    }
}

/// One event.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Its number; grows by one.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// More about it: a JSON object.
    pub data: Value,
}

/// The events of one instance.
#[derive(Debug)]
pub struct Events {
    clock: SharedClock,
    kept: Mutex<(u64, VecDeque<Event>)>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    /// No event yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, kept: Mutex::default(), sender: broadcast::Sender::new(KEPT) }
    }

    /// Tells of an event.
    pub fn tell(&self, kind: EventKind, data: Value) {
        match kind {
            // One for each edit: whoever wants them in the log asks for them.
            EventKind::NodeChanged => tracing::debug!(event = kind.as_str(), %data, "federation"),
            _ => tracing::info!(event = kind.as_str(), %data, "federation"),
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, events) = &mut *kept;
        *last = last.saturating_add(1);
        let event = Event { id: *last, at: self.clock.now(), kind, data };
        if events.len() >= KEPT {
            events.pop_front();
        }
        events.push_back(event.clone());
        // Nobody listens: that is no fault.
        let _ = self.sender.send(event);
    }

    /// The kept events after `last`, and those to come. No event is between the two.
    #[must_use]
    pub fn after(&self, last: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed =
            last.map_or_else(Vec::new, |last| kept.1.iter().filter(|event| event.id > last).cloned().collect());
        (missed, self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SystemClock;
    use serde_json::json;

    #[test]
    fn who_comes_late_gets_what_was_missed_and_then_what_comes() {
        let events = Events::new(SystemClock::shared());
        for n in 0..KEPT + 5 {
            events.tell(EventKind::NodeChanged, json!({ "seq": n }));
        }
        let newest = u64::try_from(KEPT + 5).unwrap();
        let (missed, mut live) = events.after(Some(newest - 2));
        assert_eq!(missed.iter().map(|event| event.id).collect::<Vec<_>>(), [newest - 1, newest]);
        assert_eq!(events.after(Some(0)).0.len(), KEPT, "the oldest are gone");
        assert!(events.after(None).0.is_empty());
        events.tell(EventKind::PeerAdded, json!({}));
        assert_eq!(live.try_recv().unwrap().id, newest + 1);
    }
}
