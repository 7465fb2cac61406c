//! The registry that the settings name.

use super::StartupError;
use crate::{
    registry::{
        EverybodyKnown, KnownPeers, PlaceLimits, Registry,
        checked::CheckedRegistry,
        embedded::{EmbeddedOptions, EmbeddedRegistry},
        redis::{RedisOptions, RedisRegistry, Servers, TimeSource},
    },
    settings::Settings,
    types::SharedClock,
};
use std::sync::Arc;

/// The registry of the settings. Of Redis it is not known yet whether it answers. `known`: whose bindings are kept in an embedded one;
/// `None`: all.
///
/// # Errors
/// [`StartupError::Registry`].
pub async fn open_registry(
    settings: &Settings,
    clock: &SharedClock,
    known: Option<Arc<dyn KnownPeers>>,
) -> Result<Arc<dyn Registry>, StartupError> {
    let section = &settings.registry;
    let limits = PlaceLimits { max_peers: section.max_peers, stranger_bytes: section.stranger_bytes };
    let unused_ttl = section.unused_binding_ttl.get();
    let failed = |error: &dyn std::fmt::Display| StartupError::Registry(error.to_string());
    let Some(servers) = Servers::from_settings(section)? else {
        let options = EmbeddedOptions {
            path: settings.state.path.join("registry.redb"),
            ttl: section.peer_ttl.get(),
            limits,
            unused_ttl,
            known: known.unwrap_or_else(|| Arc::new(EverybodyKnown)),
            clock: Arc::clone(clock),
        };
        return Ok(Arc::new(EmbeddedRegistry::open(options).map_err(|error| failed(&error))?));
    };
    let options = RedisOptions {
        servers,
        // Networks that share a Redis do not see each other there either.
        prefix: match settings.network_key() {
            Some(network) => format!("{}net-{}:", section.prefix, network.name()),
            None => section.prefix.clone(),
        },
        ttl: section.peer_ttl.get(),
        limits,
        unused_ttl,
        pool_size: section.pool_size,
        min_replicas: section.redis_min_replicas,
        time: TimeSource::Server,
    };
    let redis = RedisRegistry::connect(options).map_err(|error| failed(&error))?;
    // Other programs can write there.
    Ok(Arc::new(CheckedRegistry::new(Arc::new(redis), settings.limits())))
}
