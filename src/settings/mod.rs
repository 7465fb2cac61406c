//! Settings: `config/default.toml` < `config/local.toml` < `config/{ARK_ENV}.toml` < environment < command line (DESIGN 4.9).
//!
//! The only room that reads the environment. Unknown keys, empty and bad values refuse to start, with the key named.

#[macro_use]
mod section;
mod default_id;
mod discovery;
mod edge;
mod environment;
mod events;
mod files;
mod load;
mod memory;
mod named_peers;
mod nearest;
mod registry;
mod secret_file;
mod sections;
mod span;
mod tracing;
mod values;

pub use default_id::{id_prefix, unique_id};
pub use events::CheckedWebhook;
pub use files::LOCAL_ENVIRONMENT;
pub use load::{LOG_LEVELS, Overrides, Settings, SettingsError};
pub use named_peers::NamedPeer;
pub use sections::{
    AdminSettings, DiscoverySettings, EventSettings, FederationMode, FederationSettings, InstanceSettings,
    InstanceType, LatticeSettings, LimitSettings, ListedPeer, LogFormat, LogSettings, PlainHttpPeers, PrivatePeers,
    ProxyHeaders, RegistrySettings, ServerSettings, StateSettings, TracingSettings, TrustSettings, WebhookEntry,
};
pub use span::Span;
pub use tracing::Collector;
