//! Log lines, metrics and traces. Every application has its own metrics registry, so that several can run in one process.

mod events;
mod export;
mod federation;
mod lines;
mod otlp;
mod outlet;
mod trace;

pub use events::{Delivery, EventMetrics, Listener};
pub use export::{ExportError, ExportOptions, Exporter};
pub use federation::{FederationMetrics, TrustCounts};
pub use lines::{check_level, start_logging};
pub use outlet::{flush_logging, takes_text};
pub use trace::{Caller, Kind, Moment, Span, SpanMetrics, SpanValue, Spans, TraceContext, Tracer, tracer};

use crate::types::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use std::{
    borrow::Cow,
    fmt,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};
use tokio::runtime::Handle;

/// The media type of [`Metrics::encode`]'s text.
pub const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Cow<'static, str>,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    serial: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

#[derive(Clone)]
struct LatencyBuckets;

impl MetricConstructor<Histogram> for LatencyBuckets {
    fn new_metric(&self) -> Histogram {
        // 100 µs to 6.5 s, in steps of two.
        Histogram::new(exponential_buckets(0.0001, 2.0, 17))
    }
}

/// What a scrape reads from the rooms at that moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Live peers; `None` where the registry does not answer.
    pub live_peers: Option<u64>,
    /// Live nodes.
    pub nodes: usize,
    /// Tombstones that are kept.
    pub tombstones: u64,
    /// Files of the data directory that are not nodes.
    pub broken_files: usize,
    /// Deletions of other instances that wait for the admin.
    pub deletions_waiting: u64,
    /// Conflicts that the admin has not settled.
    pub conflicts: u64,
    /// How long the last full build of the index took.
    pub index_build: Option<Duration>,
    /// The index is built and the registry answers.
    pub ready: bool,
    /// Peers whose last round went well.
    pub peers_connected: usize,
    /// Unknown instances that ask to write and wait for the admin.
    pub peers_pending: usize,
    /// What is thought of other instances' keys, where that is known.
    pub trust: Option<TrustCounts>,
}

/// The metrics of one application.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram, LatencyBuckets>,
    accepted: Family<OutcomeLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    limited: Family<ReasonLabels, Counter>,
    registry_errors: Counter,
    delta_nodes: Counter,
    live_peers: Gauge,
    nodes: Gauge,
    tombstones: Gauge,
    broken_files: Gauge,
    deletions_waiting: Gauge,
    conflicts: Gauge,
    ready: Gauge,
    index_build: Gauge<f64, AtomicU64>,
    connections: Gauge,
    tasks: Gauge,
    runtimes: Mutex<Vec<Handle>>,
    /// A family, so that there is no line where there is no certificate.
    tls_not_after: Family<CertificateLabels, Gauge>,
    /// A family, so that there is no line where no lifetime is set.
    key_not_after: Family<NoLabels, Gauge>,
    events: EventMetrics,
    federation: FederationMetrics,
    spans: SpanMetrics,
}

/// A client's connection, counted as long as this lives.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(LatencyBuckets),
            accepted: Family::default(),
            refused: Family::default(),
            limited: Family::default(),
            registry_errors: Counter::default(),
            delta_nodes: Counter::default(),
            live_peers: Gauge::default(),
            nodes: Gauge::default(),
            tombstones: Gauge::default(),
            broken_files: Gauge::default(),
            deletions_waiting: Gauge::default(),
            conflicts: Gauge::default(),
            ready: Gauge::default(),
            index_build: Gauge::default(),
            connections: Gauge::default(),
            tasks: Gauge::default(),
            runtimes: Mutex::default(),
            tls_not_after: Family::default(),
            key_not_after: Family::default(),
            events: EventMetrics::default(),
            federation: FederationMetrics::default(),
            spans: SpanMetrics::default(),
        };
        metrics.register_all();
        metrics
    }
}

impl Metrics {
    fn register_all(&mut self) {
        self.federation.register(&mut self.registry);
        let registry = self.registry.sub_registry_with_prefix("ark");
        registry.register("http_requests", "Requests by route, method and status", self.requests.clone());
        let latency = self.latency.clone();
        registry.register_with_unit("http_request_duration", "Time to the head of the answer", Unit::Seconds, latency);
        registry.register("manifests_accepted", "Manifests by what accepting them meant", self.accepted.clone());
        registry.register("manifests_refused", "Manifests refused, by problem code", self.refused.clone());
        registry.register("requests_limited", "Requests answered 429, by what was used up", self.limited.clone());
        registry.register("registry_errors", "Calls that the registry did not answer", self.registry_errors.clone());
        registry.register("sync_delta_nodes", "Nodes sent in answers of /sync", self.delta_nodes.clone());
        registry.register("peers_live", "Peers whose entry has not expired", self.live_peers.clone());
        registry.register("nodes", "Live nodes of the lattice", self.nodes.clone());
        registry.register("tombstones", "Deleted nodes that are remembered", self.tombstones.clone());
        registry.register("broken_files", "Files of the data directory that are not nodes", self.broken_files.clone());
        let waiting = self.deletions_waiting.clone();
        registry.register("deletions_waiting", "Deletions of other instances that wait for the admin", waiting);
        registry.register("conflicts", "Conflicts that the admin has not settled", self.conflicts.clone());
        registry.register("ready", "1 when index and registry answer", self.ready.clone());
        let build = self.index_build.clone();
        registry.register_with_unit("index_build", "Time of the last full build of the index", Unit::Seconds, build);
        let not_after = self.tls_not_after.clone();
        let help = "When our own TLS certificate ends, epoch seconds";
        registry.register_with_unit("tls_certificate_not_after", help, Unit::Seconds, not_after);
        let help = "When the lifetime of this instance's key ends, epoch seconds";
        registry.register_with_unit("key_not_after", help, Unit::Seconds, self.key_not_after.clone());
        registry.register("http_connections", "Clients' connections that are open", self.connections.clone());
        registry.register("tasks", "Tasks that have not ended, beside those of connections", self.tasks.clone());
        registry.register("log_lines_dropped", "Log lines that standard error did not take", outlet::dropped());
        self.events.register(registry);
        self.spans.register(registry);
    }

    /// What is counted of other instances.
    #[must_use]
    pub fn federation(&self) -> FederationMetrics {
        self.federation.clone()
    }

    /// What becomes of the spans of traces.
    #[must_use]
    pub fn spans(&self) -> SpanMetrics {
        self.spans.clone()
    }

    /// The counters of events.
    #[must_use]
    pub fn events(&self) -> EventMetrics {
        self.events.clone()
    }

    /// Counts a request that its sender had no allowance for.
    pub fn limited(&self, class: &'static str) {
        self.limited.get_or_create(&ReasonLabels { reason: class }).inc();
    }

    /// Says when the lifetime of our own key ends.
    pub fn key_ends(&self, at: Timestamp) {
        self.key_not_after.get_or_create(&NoLabels {}).set(at.seconds());
    }

    /// Counts a connection until what this returns is dropped.
    #[must_use]
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts the tasks of `runtime` from now on. Each of the server's workers has a runtime of its own.
    pub fn watch_runtime(&self, runtime: Handle) {
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        if runtimes.iter().all(|known| known.id() != runtime.id()) {
            runtimes.push(runtime);
        }
    }

    fn alive_tasks(&self) -> usize {
        let runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum()
    }

    /// Counts an answered request. `route` is the pattern, never the path: label values must stay few.
    pub fn request(&self, method: &'static str, route: Cow<'static, str>, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { method, route: route.clone(), status }).inc();
        self.latency.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }

    /// Counts an accepted manifest; `outcome` is `first`, `newer` or `heartbeat`.
    pub fn manifest_accepted(&self, outcome: &'static str) {
        self.accepted.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts a refused manifest by its problem code.
    pub fn manifest_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a call that the registry did not answer.
    pub fn registry_error(&self) {
        self.registry_errors.inc();
    }

    /// Our own TLS certificate ends at `not_after`, epoch seconds.
    pub fn tls_certificate(&self, serial: &str, not_after: i64) {
        self.tls_not_after.clear();
        self.tls_not_after.get_or_create(&CertificateLabels { serial: serial.to_owned() }).set(not_after);
    }

    /// Counts nodes sent in an answer of `/sync`.
    pub fn delta_sent(&self, nodes: u64) {
        self.delta_nodes.inc_by(nodes);
    }

    /// The exposition, in OpenMetrics text ([`METRICS_MEDIA_TYPE`]).
    ///
    /// # Errors
    /// Formatting failed; does not happen with a `String`.
    pub fn encode(&self, gauges: Gauges) -> Result<String, fmt::Error> {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.live_peers.set(gauges.live_peers.map_or(-1, whole));
        self.nodes.set(i64::try_from(gauges.nodes).unwrap_or(i64::MAX));
        self.tombstones.set(whole(gauges.tombstones));
        self.broken_files.set(i64::try_from(gauges.broken_files).unwrap_or(i64::MAX));
        self.deletions_waiting.set(whole(gauges.deletions_waiting));
        self.conflicts.set(whole(gauges.conflicts));
        self.ready.set(i64::from(gauges.ready));
        self.index_build.set(gauges.index_build.unwrap_or_default().as_secs_f64());
        self.federation.set((gauges.peers_connected, gauges.peers_pending), gauges.trust);
        self.tasks.set(i64::try_from(self.alive_tasks()).unwrap_or(i64::MAX));
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_holds_what_was_counted() {
        let metrics = Metrics::default();
        metrics.request("GET", "/nodes/{id}".into(), 200, Duration::from_millis(3));
        metrics.manifest_refused("bad_signature");
        metrics.federation().round("in_step", Duration::from_millis(3));
        metrics.federation().answered("head", Duration::from_millis(3));
        let trust = Some(TrustCounts { verified: 2, ..TrustCounts::default() });
        let text = metrics.encode(Gauges { live_peers: Some(4), nodes: 7, peers_connected: 3, ..Gauges::default() });
        assert!(!text.unwrap().contains("federation_trust_relationships_total"));
        let gauges =
            Gauges { live_peers: Some(4), nodes: 7, peers_connected: 3, conflicts: 5, trust, ..Gauges::default() };
        let text = metrics.encode(gauges).unwrap();
        for line in [
            "ark_http_requests_total{method=\"GET\",route=\"/nodes/{id}\",status=\"200\"} 1",
            "ark_manifests_refused_total{reason=\"bad_signature\"} 1",
            "ark_peers_live 4",
            "ark_nodes 7",
            "ark_conflicts 5",
            "federation_peers_connected 3",
            "federation_sync_duration_seconds_count{outcome=\"in_step\"} 1",
            "federation_network_latency_seconds_bucket{le=\"0.004\",request=\"head\"} 1",
            "federation_trust_relationships_total{level=\"verified\"} 2",
            "federation_trust_relationships_total{level=\"revoked\"} 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[tokio::test]
    async fn connections_and_tasks_are_counted_as_long_as_they_live() {
        let metrics = Metrics::default();
        metrics.watch_runtime(Handle::current());
        // The same again is no second runtime.
        metrics.watch_runtime(Handle::current());
        let connection = metrics.connection_opened();
        let task = tokio::spawn(std::future::pending::<()>());
        let text = metrics.encode(Gauges::default()).unwrap();
        assert!(text.contains("ark_http_connections 1\n") && text.contains("ark_tasks 1\n"), "{text}");
        drop(connection);
        task.abort();
        assert!(task.await.is_err());
        let text = metrics.encode(Gauges::default()).unwrap();
        assert!(text.contains("ark_http_connections 0\n") && text.contains("ark_tasks 0\n"), "{text}");
    }
}
