//! What is counted of other instances.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use std::time::Duration;

/// Labels are words of ours: what a peer says is never one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    request: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

#[derive(Debug, Clone)]
struct RoundBuckets;

impl MetricConstructor<Histogram> for RoundBuckets {
    fn new_metric(&self) -> Histogram {
        // 1 ms to 4.4 minutes, in steps of four: a round that only compares, and one that takes all the time that a round has.
        Histogram::new(exponential_buckets(0.001, 4.0, 10))
    }
}

#[derive(Debug, Clone)]
struct NetworkBuckets;

impl MetricConstructor<Histogram> for NetworkBuckets {
    fn new_metric(&self) -> Histogram {
        // 0.5 ms to 16 s, in steps of two.
        Histogram::new(exponential_buckets(0.0005, 2.0, 16))
    }
}

/// How many keys of other instances have each level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrustCounts {
    /// Seen, and nothing more.
    pub unknown: u64,
    /// On the way.
    pub pending: u64,
    /// Proven.
    pub verified: u64,
    /// Refused.
    pub revoked: u64,
}

/// What is counted of other instances. A clone counts the same.
#[derive(Debug, Clone)]
pub struct FederationMetrics {
    connected: Gauge,
    pending: Gauge,
    rounds: Family<OutcomeLabels, Histogram, RoundBuckets>,
    latency: Family<RequestLabels, Histogram, NetworkBuckets>,
    /// A family, so that there is no line where nothing is known of trust.
    trust: Family<LevelLabels, Gauge>,
}

impl Default for FederationMetrics {
    fn default() -> Self {
        Self {
            connected: Gauge::default(),
            pending: Gauge::default(),
            rounds: Family::new_with_constructor(RoundBuckets),
            latency: Family::new_with_constructor(NetworkBuckets),
            trust: Family::default(),
        }
    }
}

impl FederationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "federation_peers_connected",
            "Instances that are connected: peers whose last round went well, and those that make rounds with this one",
            self.connected.clone(),
        );
        let help = "Unknown instances that ask to write and wait for the admin";
        registry.register("federation_peers_pending", help, self.pending.clone());
        let help = "Rounds with peers, from their first request to their end, by how they ended";
        registry.register_with_unit("federation_sync_duration", help, Unit::Seconds, self.rounds.clone());
        let help = "Requests to peers, until the answer begins";
        registry.register_with_unit("federation_network_latency", help, Unit::Seconds, self.latency.clone());
        // The name is one of old; it goes down as well as up.
        let help = "Keys of other instances by level of trust";
        registry.register("federation_trust_relationships_total", help, self.trust.clone());
    }

    /// A round ended; `outcome` is a word of ours.
    pub fn round(&self, outcome: &'static str, took: Duration) {
        self.rounds.get_or_create(&OutcomeLabels { outcome }).observe(took.as_secs_f64());
    }

    /// A peer's answer began; `request` is a word of ours.
    pub fn answered(&self, request: &'static str, took: Duration) {
        self.latency.get_or_create(&RequestLabels { request }).observe(took.as_secs_f64());
    }

    pub(super) fn set(&self, (connected, pending): (usize, usize), trust: Option<TrustCounts>) {
        self.connected.set(i64::try_from(connected).unwrap_or(i64::MAX));
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let Some(TrustCounts { unknown, pending, verified, revoked }) = trust else { return };
        for (level, count) in [("unknown", unknown), ("pending", pending), ("verified", verified), ("revoked", revoked)]
        {
            self.trust.get_or_create(&LevelLabels { level }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
