//! What the Redis settings may not say together. What is in the files and the URL is checked where they are read.

use super::{RegistrySettings, SettingsError, load::bad};

impl RegistrySettings {
    /// Do the settings name a Redis, of whatever shape? If not, the registry is embedded.
    #[must_use]
    pub fn uses_redis(&self) -> bool {
        self.redis_url.is_some() || !self.redis_sentinels.is_empty() || !self.redis_cluster_nodes.is_empty()
    }
}

/// # Errors
/// Settings that contradict each other, or of which one is missing.
pub(super) fn check(section: &RegistrySettings) -> Result<(), SettingsError> {
    let (sentinels, cluster) = (!section.redis_sentinels.is_empty(), !section.redis_cluster_nodes.is_empty());
    if sentinels && cluster {
        return Err(bad(
            "registry.redis_sentinels, registry.redis_cluster_nodes",
            "are both set: Redis is found through Sentinels or is a Cluster; leave one out",
        ));
    }
    if !section.uses_redis() {
        unused_without_redis(section)?;
    }
    if !sentinels {
        for (key, set) in [
            ("registry.redis_sentinel_username", section.redis_sentinel_username.is_some()),
            ("registry.redis_sentinel_password", section.redis_sentinel_password.is_some()),
        ] {
            if set {
                return Err(bad(key, "is set, but registry.redis_sentinels is not: set both or none"));
            }
        }
    }
    if section.redis_sentinel_master.trim().is_empty() {
        return Err(bad("registry.redis_sentinel_master", "is empty: give the name that sentinel.conf monitors"));
    }
    if section.redis_client_certificate.is_some() != section.redis_client_key.is_some() {
        return Err(bad(
            "registry.redis_client_certificate, registry.redis_client_key",
            "go together: set both or none",
        ));
    }
    let braces = |text: &str| text.contains(['{', '}']);
    if cluster && braces(&section.prefix) {
        return Err(bad("registry.prefix", "holds { or }, which a Redis Cluster reads as a hash tag: leave them out"));
    }
    if section.redis_min_replicas > 100 {
        return Err(bad("registry.redis_min_replicas", "must be at most 100"));
    }
    Ok(())
}

/// Whoever sets one of these wants Redis: the embedded registry would be a surprise.
fn unused_without_redis(section: &RegistrySettings) -> Result<(), SettingsError> {
    let set = [
        ("registry.redis_username", section.redis_username.is_some()),
        ("registry.redis_password_file", section.redis_password_file.is_some()),
        ("registry.redis_password", section.redis_password.is_some()),
        ("registry.redis_ca_file", section.redis_ca_file.is_some()),
        ("registry.redis_client_certificate", section.redis_client_certificate.is_some()),
        ("registry.redis_client_key", section.redis_client_key.is_some()),
        ("registry.redis_min_replicas", section.redis_min_replicas > 0),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((key, _)) => Err(bad(
            key,
            "is set, but no Redis is: set registry.redis_url, registry.redis_sentinels or registry.redis_cluster_nodes",
        )),
        None => Ok(()),
    }
}
