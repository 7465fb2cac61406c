//! What finds other instances, from the settings.

use super::StartupError;
use crate::{
    federation::{
        engine::Engine,
        lan::{Lan, LanOptions},
    },
    ops::Identity,
    registry::Registry,
    settings::Settings,
    types::SharedClock,
};
use std::{net::SocketAddr, sync::Arc};

/// Discovery; it does nothing yet. `None` without a key.
pub(super) fn open(
    settings: &Settings,
    listen: SocketAddr,
    engine: Option<&Arc<Engine>>,
    (identity, registry, clock): (&Identity, &Arc<dyn Registry>, &SharedClock),
) -> Result<Option<Arc<Lan>>, StartupError> {
    let Some(engine) = engine else { return Ok(None) };
    let section = &settings.discovery;
    Ok(Some(Lan::new(LanOptions {
        node_id: identity.node_id.clone(),
        instance_type: identity.instance_type,
        base_path: settings.base_path()?,
        tls: settings.tls_files()?.is_some(),
        listen,
        mdns: settings.mdns(),
        interfaces: section.interfaces.clone(),
        subnets: settings.scan_subnets()?,
        scan_port: if section.scan_port == 0 { listen.port() } else { section.scan_port },
        accept: section.accept,
        interval: settings.federation.discovery_interval.get(),
        limits: settings.limits(),
        network: settings.network_key(),
        clock: Arc::clone(clock),
        engine: Arc::clone(engine),
        registry: Arc::clone(registry),
    })))
}
