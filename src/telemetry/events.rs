//! What is counted of events and of those who are told of them.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    webhook: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    webhook: String,
    outcome: &'static str,
}

/// The counters of events. A clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct EventMetrics {
    told: Family<KindLabels, Counter>,
    listeners: Gauge,
    missed: Counter,
    deliveries: Family<DeliveryLabels, Counter>,
    waiting: Family<WebhookLabels, Gauge>,
}

/// What became of an event that was for a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The other side took it.
    Delivered,
    /// It was tried as often and as long as it may be.
    Failed,
    /// Too many waited already.
    Overflowed,
}

impl Delivery {
    const ALL: [Self; 3] = [Self::Delivered, Self::Failed, Self::Overflowed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Overflowed => "overflowed",
        }
    }
}

/// Somebody listens, as long as this lives.
#[derive(Debug)]
pub struct Listener(Gauge);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl EventMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("events", "Events by kind", self.told.clone());
        registry.register("event_listeners", "Clients that listen to events", self.listeners.clone());
        let missed = self.missed.clone();
        registry.register("events_missed", "Events that a listener was told it missed, being slow or late", missed);
        registry.register("webhook_deliveries", "Events for webhooks by outcome", self.deliveries.clone());
        registry.register("webhook_waiting", "Events that wait to be delivered to a webhook", self.waiting.clone());
    }

    /// Counts `many` events of a kind; none makes its line appear.
    pub fn told(&self, kind: &'static str, many: u64) {
        self.told.get_or_create(&KindLabels { kind }).inc_by(many);
    }

    /// Counts a listener until what this returns is dropped.
    #[must_use]
    pub fn listener(&self) -> Listener {
        self.listeners.inc();
        Listener(self.listeners.clone())
    }

    /// Counts events that a listener missed.
    pub fn missed(&self, many: u64) {
        self.missed.inc_by(many);
    }

    /// Makes a webhook's lines appear.
    pub fn webhook(&self, webhook: &str) {
        for outcome in Delivery::ALL {
            self.deliveries(webhook, outcome, 0);
        }
        self.waiting(webhook, 0);
    }

    /// Counts events of a webhook.
    pub fn deliveries(&self, webhook: &str, outcome: Delivery, many: u64) {
        let labels = DeliveryLabels { webhook: webhook.to_owned(), outcome: outcome.as_str() };
        self.deliveries.get_or_create(&labels).inc_by(many);
    }

    /// So many more wait for a webhook, or fewer.
    pub fn waiting(&self, webhook: &str, more: i64) {
        self.waiting.get_or_create(&WebhookLabels { webhook: webhook.to_owned() }).inc_by(more);
    }
}
