//! What happens between instances, for whoever listens: log lines, webhooks, and a stream with the last thousand.

use super::webhooks::Webhook;
use crate::{
    telemetry::{EventMetrics, Listener},
    types::{SharedClock, Timestamp},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

pub use crate::types::EventKind;

/// Events that are kept for those who come late, and that a listener may be behind.
const KEPT: usize = 1000;

/// One event. It is shared, never copied.
#[derive(Debug)]
pub struct Event {
    /// Its number; grows by one, and is greater than every one of an earlier run of this instance (unless its clock was set back).
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// More about it: a JSON object on one line, with the time in it.
    pub data: Box<str>,
}

/// What events are told with.
#[derive(Debug)]
pub struct EventOptions {
    /// The time.
    pub clock: SharedClock,
    /// Where they are counted.
    pub metrics: EventMetrics,
    /// Who is told of them.
    pub webhooks: Vec<Webhook>,
    /// Most listeners at the same time.
    pub max_listeners: usize,
}

/// The events of one instance.
#[derive(Debug)]
pub struct Events {
    options: EventOptions,
    kept: Mutex<Kept>,
    sender: broadcast::Sender<Arc<Event>>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Kept {
    /// Every event of this run has a greater number.
    base: u64,
    newest: u64,
    events: VecDeque<Arc<Event>>,
}

/// As many listen as may.
#[derive(Debug, thiserror::Error)]
#[error("{0} clients listen to events already (events.max_listeners)")]
pub struct TooManyListeners(usize);

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An event.
    Event(Arc<Event>),
    /// Events that are not kept any more.
    Missed {
        /// How many; `None`: nobody knows, they are from before this instance's start, or none.
        count: Option<u64>,
        /// What is heard after this goes on behind this number.
        until: u64,
    },
}

/// One listener.
#[derive(Debug)]
pub struct Listening {
    begins_after: u64,
    backlog: VecDeque<Heard>,
    live: broadcast::Receiver<Arc<Event>>,
    kinds: Vec<EventKind>,
    at: u64,
    metrics: EventMetrics,
    _counted: Listener,
    _place: OwnedSemaphorePermit,
}

impl Events {
    /// No event yet.
    #[must_use]
    pub fn new(options: EventOptions) -> Self {
        for kind in EventKind::ALL {
            options.metrics.told(kind.as_str(), 0);
        }
        // Microseconds: nothing tells of a million events a second for as long as it runs.
        let base = u64::try_from(options.clock.now().micros()).unwrap_or_default();
        let places = Arc::new(Semaphore::new(options.max_listeners.min(Semaphore::MAX_PERMITS)));
        let kept = Mutex::new(Kept { base, newest: base, events: VecDeque::new() });
        Self { options, kept, sender: broadcast::Sender::new(KEPT), places }
    }

    /// Tells of an event; `data` is an object. Waits for nobody.
    pub fn tell(&self, kind: EventKind, data: Value) {
        log(kind, &data);
        self.options.metrics.told(kind.as_str(), 1);
        let at = self.options.clock.now();
        let data = with_time(data, at);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.newest = kept.newest.saturating_add(1);
        let event = Arc::new(Event { id: kept.newest, at, kind, data });
        if kept.events.len() >= KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        for webhook in &self.options.webhooks {
            webhook.queue(&event);
        }
        // Nobody listens: that is no fault.
        let _ = self.sender.send(event);
    }

    /// Listens to events of these kinds (none named: all) from now on, or from behind the event `last`. Nothing is between what is
    /// kept and what comes.
    ///
    /// # Errors
    /// [`TooManyListeners`].
    pub fn listen(&self, last: Option<u64>, kinds: Vec<EventKind>) -> Result<Listening, TooManyListeners> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| TooManyListeners(self.options.max_listeners))?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (begins_after, mut backlog) = (last.unwrap_or(kept.newest), VecDeque::new());
        let oldest = kept.events.front().map_or(kept.newest.saturating_add(1), |event| event.id);
        let before_oldest = oldest.saturating_sub(1);
        // A number of another run says nothing of where this one is: it hears all that is kept.
        let of_this_run = (kept.base..=kept.newest).contains(&begins_after);
        if !of_this_run {
            backlog.push_back(Heard::Missed { count: None, until: before_oldest });
        } else if begins_after < before_oldest {
            let count = Some(before_oldest.saturating_sub(begins_after));
            backlog.push_back(Heard::Missed { count, until: before_oldest });
        }
        let later = kept.events.iter().filter(|event| !of_this_run || event.id > begins_after);
        backlog.extend(later.cloned().map(Heard::Event));
        let (live, metrics) = (self.sender.subscribe(), self.options.metrics.clone());
        let at = backlog.back().map_or(begins_after, |_| kept.newest);
        drop(kept);
        let counted = metrics.listener();
        Ok(Listening { begins_after, backlog, live, kinds, at, metrics, _counted: counted, _place: place })
    }
}

/// The line of the log: one field for each thing that is known, in words of the seed's where it has one.
fn log(kind: EventKind, data: &Value) {
    let name = match kind {
        EventKind::PeerOnline => "peer_connected".to_owned(),
        EventKind::PeerOffline => "peer_disconnected".to_owned(),
        other => other.as_str().replace('-', "_"),
    };
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    let number = |key: &str| data.get(key).and_then(Value::as_u64);
    let about_a_node = matches!(kind, EventKind::ConflictResolved | EventKind::NodeChanged);
    let (peer_id, node) = if about_a_node { (text("winner"), text("nodeId")) } else { (text("nodeId"), None) };
    // The end of the round, which follows, has the reason.
    let error = text("error").filter(|_| kind != EventKind::PeerOffline);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                event = name,
                peer_id,
                peer = text("peer"),
                node,
                latency_ms = number("latencyMs"),
                outcome = text("outcome"),
                error,
                error_code = error.and(text("errorCode")),
                next = error.and(text("next")),
                nodes_received = number("nodesReceived"),
                nodes_sent = number("nodesSent"),
                conflicts = number("conflictsResolved"),
                bytes = number("bytes"),
                duration_ms = number("durationMs"),
                place = text("where"),
                deletions = number("deletions"),
                command = text("command"),
                data = about_a_node.then(|| tracing::field::display(data)),
                "federation"
            )
        };
    }
    match kind {
        // One for each edit and one for each round: whoever wants them in the log asks for them.
        EventKind::NodeChanged | EventKind::SyncStarted => line!(debug),
        EventKind::DeletionsWaiting | EventKind::PeerPending => line!(warn),
        EventKind::SyncComplete if error.is_some() => line!(warn),
        _ => line!(info),
    }
}

fn with_time(data: Value, at: Timestamp) -> Box<str> {
    let mut members = match data {
        Value::Object(members) => members,
        other => [("value".to_owned(), other)].into_iter().collect(),
    };
    members.insert("at".to_owned(), serde_json::from_str(&at.to_seconds_text()).unwrap_or(Value::Null));
    Value::Object(members).to_string().into()
}

impl Listening {
    /// What is heard comes after the event of this number.
    #[must_use]
    pub fn begins_after(&self) -> u64 {
        self.begins_after
    }

    /// What is there already; `None`: the next has not happened yet.
    pub fn kept(&mut self) -> Option<Heard> {
        loop {
            let heard = self.backlog.pop_front()?;
            if let Some(heard) = self.wanted(heard) {
                return Some(heard);
            }
        }
    }

    /// The next one; waits for it. `None`: there will be none. Nothing is lost where this is dropped while it waits.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.kept() {
                return Some(heard);
            }
            let heard = match self.live.recv().await {
                Ok(event) => {
                    self.at = event.id;
                    Heard::Event(event)
                }
                // It was slower than what happened.
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    self.at = self.at.saturating_add(count);
                    Heard::Missed { count: Some(count), until: self.at }
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            if let Some(heard) = self.wanted(heard) {
                return Some(heard);
            }
        }
    }

    fn wanted(&self, heard: Heard) -> Option<Heard> {
        match &heard {
            Heard::Event(event) => (self.kinds.is_empty() || self.kinds.contains(&event.kind)).then_some(heard),
            Heard::Missed { count, .. } => {
                self.metrics.missed(count.unwrap_or_default());
                Some(heard)
            }
        }
    }
}

/// A round as its listeners see it: it begins when there is something to exchange, and then it has an end, whatever becomes of it.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    events: &'a Events,
    peer: &'a str,
    open: AtomicBool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(events: &'a Events, peer: &'a str) -> Self {
        Self { events, peer, open: AtomicBool::new(false) }
    }

    /// There is something to exchange.
    pub(super) fn begin(&self) {
        if !self.open.swap(true, Ordering::AcqRel) {
            self.events.tell(EventKind::SyncStarted, json!({ "peer": self.peer }));
        }
    }

    /// Answers whether it had begun; whoever asks tells of its end.
    pub(super) fn end(&self) -> bool {
        self.open.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.end() {
            let data = json!({ "peer": self.peer, "outcome": "stopped", "error": "the round was stopped" });
            self.events.tell(EventKind::SyncComplete, data);
        }
    }
}

#[cfg(test)]
#[path = "events/tests.rs"]
mod tests;
