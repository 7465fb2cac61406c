//! What happens, and who is told, from the settings.

use super::StartupError;
use crate::{
    federation::{
        engine::Engine,
        events::{EventOptions, Events},
        observe::observe,
        webhooks::{Deliverer, WebhookOptions, webhook},
    },
    lattice::Lattice,
    settings::Settings,
    telemetry::EventMetrics,
    types::SharedClock,
};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Delivers events to webhooks; does nothing until [`Self::spawn`].
pub(super) struct Deliveries(Vec<Deliverer>);

/// The events of this instance.
pub(super) fn open(
    settings: &Settings,
    clock: &SharedClock,
    metrics: &EventMetrics,
) -> Result<(Arc<Events>, Deliveries), StartupError> {
    let (mut webhooks, mut deliverers) = (Vec::new(), Vec::new());
    for checked in settings.webhooks()? {
        let options = WebhookOptions {
            url: checked.url,
            secret: checked.secret,
            kinds: checked.kinds,
            timeout: settings.events.webhook_timeout.get(),
            patience: settings.events.webhook_patience.get(),
            instance: settings.node_id()?.to_string(),
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
        };
        let (input, output) = webhook(options).map_err(StartupError::Federation)?;
        webhooks.push(input);
        deliverers.push(output);
    }
    let max_listeners = settings.events.max_listeners;
    let options = EventOptions { clock: Arc::clone(clock), metrics: metrics.clone(), webhooks, max_listeners };
    Ok((Arc::new(Events::new(options)), Deliveries(deliverers)))
}

impl Deliveries {
    /// Delivers, and tells of what changes in the lattice, as long as `tasks` live.
    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, lattice: &Arc<dyn Lattice>, engine: Option<&Arc<Engine>>) {
        for deliverer in self.0 {
            tasks.spawn(deliverer.run());
        }
        if let Some(engine) = engine {
            tasks.spawn(observe(Arc::clone(lattice), Arc::clone(engine.events())));
        }
    }
}
