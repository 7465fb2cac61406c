//! What the clients saw, by phase.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// Of one phase, all its occurrences together.
struct Phase {
    statuses: BTreeMap<u16, u64>,
    /// Milliseconds to the end of the answer.
    latency: Histogram<u64>,
    reconnects: u64,
}

/// Kinds of things that must not happen, with how often and one example each.
type Wrong = BTreeMap<String, (u64, String)>;

pub(crate) struct Tally {
    inner: Mutex<Inner>,
}

struct Inner {
    now: &'static str,
    phases: Vec<(&'static str, Phase)>,
    wrong: Wrong,
}

impl Inner {
    fn phase(&mut self) -> &mut Phase {
        let name = self.now;
        let at = self.phases.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            let latency = Histogram::new_with_bounds(1, 120_000, 3).unwrap();
            self.phases.push((name, Phase { statuses: BTreeMap::new(), latency, reconnects: 0 }));
            self.phases.len() - 1
        });
        &mut self.phases[at].1
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::new(Inner { now: "fair", phases: Vec::new(), wrong: Wrong::new() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn enter(&self, phase: &'static str) {
        self.inner().now = phase;
    }

    pub(crate) fn answer(&self, status: u16, took: Duration) {
        let mut inner = self.inner();
        let phase = inner.phase();
        *phase.statuses.entry(status).or_default() += 1;
        phase.latency.saturating_record(took.as_millis().try_into().unwrap_or(u64::MAX));
    }

    pub(crate) fn reconnect(&self) {
        self.inner().phase().reconnects += 1;
    }

    /// Something that must not happen.
    pub(crate) fn wrong(&self, kind: impl Into<String>, example: impl Into<String>) {
        let mut inner = self.inner();
        let phase = inner.now;
        let entry = inner.wrong.entry(kind.into()).or_insert_with(|| (0, format!("while {phase}: {}", example.into())));
        entry.0 += 1;
    }

    pub(crate) fn all_wrong(&self) -> Wrong {
        self.inner().wrong.clone()
    }

    pub(crate) fn longest(&self) -> Duration {
        let longest = self.inner().phases.iter().map(|(_, phase)| phase.latency.max()).max();
        Duration::from_millis(longest.unwrap_or_default())
    }

    pub(crate) fn answers(&self) -> u64 {
        self.inner().phases.iter().map(|(_, phase)| phase.latency.len()).sum()
    }

    pub(crate) fn table(&self) -> String {
        let mut out = format!(
            "{:<22} {:>9} {:>9} {:>8} {:>8} {:>10} {:>9} {:>9} {:>9}\n",
            "phase", "answers", "2xx", "4xx", "503", "reconnects", "p50 ms", "p99 ms", "max ms"
        );
        for (name, phase) in &self.inner().phases {
            let sum = |from: u16, to: u16| -> u64 { phase.statuses.range(from..to).map(|(_, count)| count).sum() };
            out.push_str(&format!(
                "{name:<22} {:>9} {:>9} {:>8} {:>8} {:>10} {:>9} {:>9} {:>9}\n",
                phase.latency.len(),
                sum(200, 300),
                sum(400, 500),
                sum(503, 504),
                phase.reconnects,
                phase.latency.value_at_quantile(0.5),
                phase.latency.value_at_quantile(0.99),
                phase.latency.max(),
            ));
        }
        out
    }

    pub(crate) fn json(&self) -> Value {
        let inner = self.inner();
        let phases = inner.phases.iter().map(|(name, phase)| {
            let latency = |quantile| phase.latency.value_at_quantile(quantile);
            let statuses: BTreeMap<String, u64> =
                phase.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
            json!({"phase": name, "statuses": statuses, "reconnects": phase.reconnects,
                "latency_ms": {"p50": latency(0.5), "p99": latency(0.99), "p99_9": latency(0.999), "max": phase.latency.max()}})
        });
        Value::Array(phases.collect())
    }
}
