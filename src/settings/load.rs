//! Putting the layers together.

use super::{
    AdminSettings, DiscoverySettings, EventSettings, FederationSettings, InstanceSettings, LatticeSettings,
    LimitSettings, LogSettings, RegistrySettings, ServerSettings, StateSettings, TracingSettings, TrustSettings,
    environment::{self, FromEnvironment},
    files::Files,
    memory, registry, secret_file, values,
};
use crate::{
    trust::{Rules, TrustPolicy},
    types::{Limits, PeerId, PublicKey},
};
use config::{Config, File, FileFormat};
use secrecy::ExposeSecret;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

/// `config/default.toml` as it was when this binary was built.
const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The shortest operator token that is taken.
const MIN_TOKEN_CHARS: usize = 16;

/// The longest time to live that is taken: a year as humantime counts it.
const MAX_PEER_TTL: Duration = Duration::from_secs(31_557_600);

/// What `log.level` takes.
pub const LOG_LEVELS: &str = "is off, error, warn, info, debug or trace, or filters such as info,ark_lattice=debug";
/// More vouchers than any key will have.
const MAX_VOUCHERS: usize = 100;
/// The shortest lifetime of a key: peers that are away for a night must hear of the next one in time.
const MIN_KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Shorter than this, a peer that is switched off for a night would lose its id.
const MIN_UNUSED_BINDING_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the settings cannot be used. Texts never hold a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable is set to nothing.
    #[error("{name} is empty: unset it or give it a value")]
    Empty {
        /// The variable.
        name: String,
    },
    /// A variable of ours is not text.
    #[error("{name} is not UTF-8: give it a value that is")]
    NotText {
        /// The variable.
        name: String,
    },
    /// Two variables disagree.
    #[error("{one} and {other} set {key} to different values: unset one of them")]
    Contradiction {
        /// The setting.
        key: String,
        /// A variable.
        one: String,
        /// Another variable.
        other: String,
    },
    /// `ARK_CONFIG_DIR` names no directory.
    #[error(
        "ARK_CONFIG_DIR is {}, which is no directory: name the one that holds local.toml, or unset it", path.display()
    )]
    NoConfigDir {
        /// The value of `ARK_CONFIG_DIR`.
        path: PathBuf,
    },
    /// What has the name of a file of settings is none.
    #[error("{} is no file that can be read: its settings would go unnoticed; mend or remove it", path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// `ARK_ENV` names a file that is not there.
    #[error("ARK_ENV is {environment}, but there is no {}", path.display())]
    NoSuchEnvironment {
        /// The value of `ARK_ENV`.
        environment: String,
        /// The file.
        path: PathBuf,
    },
    /// A layer cannot be read, or a key is unknown or has a bad value.
    #[error("{0}")]
    Layer(String),
    /// A value is of the right type but not usable.
    #[error("{key}: {problem}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

/// Also where one is a link to the other, or they are written differently.
fn is_same_directory(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    let parts = |path: PathBuf| path.components().collect::<PathBuf>();
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => parts(one) == parts(other),
        _ => one == other,
    }
}

pub(super) fn bad(key: &'static str, problem: impl Into<String>) -> SettingsError {
    SettingsError::Value { key, problem: problem.into() }
}

/// With the variables that set the key, as they are written.
fn set_by(error: SettingsError, variables: &BTreeMap<String, FromEnvironment>) -> SettingsError {
    let SettingsError::Value { key, problem } = error else { return error };
    let names: Vec<&str> =
        key.split(", ").filter_map(|key| variables.get(key)).map(|found| found.name.as_str()).collect();
    let problem = if names.is_empty() { problem } else { format!("{problem} (set by {})", names.join(", ")) };
    SettingsError::Value { key, problem }
}

/// Without the lines of the file, which a syntax error shows: one of them may hold a secret.
fn unreadable(error: config::ConfigError) -> SettingsError {
    if let config::ConfigError::FileParse { uri, cause } = &error
        && let Some(cause) = cause.downcast_ref::<toml::de::Error>()
    {
        let (file, shown) = (uri.as_deref().unwrap_or("the compiled-in defaults"), cause.to_string());
        let place = shown.lines().next().unwrap_or_default();
        return SettingsError::Layer(format!("{file}: {place}: {}", cause.message()));
    }
    SettingsError::Layer(error.to_string())
}

/// What the command line sets; the last layer. Pairs of key and value.
pub type Overrides = Vec<(&'static str, String)>;

/// All settings.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who this instance is.
    pub instance: InstanceSettings,
    /// The HTTP server.
    pub server: ServerSettings,
    /// The operator's rights.
    pub admin: AdminSettings,
    /// The registry of live peers.
    pub registry: RegistrySettings,
    /// The directory of nodes.
    pub lattice: LatticeSettings,
    /// Keys, journal and embedded registry.
    pub state: StateSettings,
    /// Who may speak for an id.
    pub trust: TrustSettings,
    /// Bounds on input.
    pub limits: LimitSettings,
    /// Log lines.
    pub log: LogSettings,
    /// Traces.
    pub tracing: TracingSettings,
    /// Rounds between instances.
    pub federation: FederationSettings,
    /// Finding other instances.
    pub discovery: DiscoverySettings,
    /// What happens, and who is told.
    pub events: EventSettings,
    /// State directories in which commands look for the running service, in this order. One only, where the settings name it.
    #[serde(skip)]
    pub service_states: Vec<PathBuf>,
    /// The files that they were read from, the last one counts.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
    /// Things worth a line in the log once there is one.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Which bounds follow the memory that this process may take, where some do.
    #[serde(skip)]
    pub memory_note: Option<String>,
}

impl Settings {
    /// All keys.
    fn keys() -> Vec<values::Key> {
        let sections = [
            InstanceSettings::keys(),
            ServerSettings::keys(),
            AdminSettings::keys(),
            RegistrySettings::keys(),
            LatticeSettings::keys(),
            StateSettings::keys(),
            TrustSettings::keys(),
            LimitSettings::keys(),
            LogSettings::keys(),
            TracingSettings::keys(),
            FederationSettings::keys(),
            DiscoverySettings::keys(),
            EventSettings::keys(),
        ];
        sections.into_iter().flatten().collect()
    }

    /// `config/default.toml`, from the types.
    #[must_use]
    pub fn default_toml() -> String {
        let mut out = String::from(
            "# Every setting with its default. Made from src/settings/sections.rs; a test compares the two.\n\
             # Put what you change into config/local.toml, config/{ARK_ENV}.toml or the environment: ARK__SECTION__KEY, or the name\n\
             # that is given.\n\n",
        );
        InstanceSettings::describe(&mut out);
        ServerSettings::describe(&mut out);
        AdminSettings::describe(&mut out);
        RegistrySettings::describe(&mut out);
        LatticeSettings::describe(&mut out);
        StateSettings::describe(&mut out);
        TrustSettings::describe(&mut out);
        LimitSettings::describe(&mut out);
        LogSettings::describe(&mut out);
        TracingSettings::describe(&mut out);
        FederationSettings::describe(&mut out);
        DiscoverySettings::describe(&mut out);
        EventSettings::describe(&mut out);
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    /// The settings that hold, as TOML. Of a secret only that it is set.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        self.instance.show(&mut out);
        self.server.show(&mut out);
        self.admin.show(&mut out);
        self.registry.show(&mut out);
        self.lattice.show(&mut out);
        self.state.show(&mut out);
        self.trust.show(&mut out);
        self.limits.show(&mut out);
        self.log.show(&mut out);
        self.tracing.show(&mut out);
        self.federation.show(&mut out);
        self.discovery.show(&mut out);
        self.events.show(&mut out);
        out.truncate(out.trim_end().len());
        out
    }

    /// The files that were read, for people.
    #[must_use]
    pub fn files_text(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        if files.is_empty() { "none".to_owned() } else { files.join(", ") }
    }

    /// Reads all layers with this process's environment.
    ///
    /// # Errors
    /// [`SettingsError`], with the key or variable named.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn load(overrides: Overrides) -> Result<Self, SettingsError> {
        let named = std::env::var_os("ARK_CONFIG_DIR").map(PathBuf::from);
        if let Some(path) = named.clone().filter(|named| !named.is_dir()) {
            return Err(SettingsError::NoConfigDir { path });
        }
        let folder = named.unwrap_or_else(|| PathBuf::from("config"));
        Self::from_layers(&folder, environment::texts(std::env::vars_os())?, overrides)
    }

    /// Reads all layers: the compiled-in defaults, `default.toml`, `local.toml` and `{ARK_ENV}.toml` in `folder`, `variables`, `overrides`.
    ///
    /// # Errors
    /// [`SettingsError`], with the key or variable named.
    pub fn from_layers(
        folder: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: Overrides,
    ) -> Result<Self, SettingsError> {
        let variables: Vec<(String, String)> = variables.into_iter().collect();
        let named = variables.iter().find(|(name, _)| name == "ARK_ENV");
        let files = Files::find(folder, named.map(|(_, environment)| environment.as_str()))?;
        let mut builder = files.add_to(Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml)));
        let fallbacks = environment::fallback_states(&variables);
        let environment = environment::read(variables)?;
        for (key, found) in &environment.keys {
            let set = match (found.list, found.values.as_slice()) {
                (false, [one]) => builder.set_override(key, one.as_str()),
                _ => builder.set_override(key, found.values.clone()),
            };
            builder = set.map_err(|error| SettingsError::Layer(format!("{}: {error}", found.name)))?;
        }
        let is_named = overrides.iter().any(|(key, _)| *key == "state.path");
        for (key, value) in overrides {
            builder = builder.set_override(key, value).map_err(unreadable)?;
        }
        let layers = builder.build().map_err(unreadable)?;
        values::check(&layers, &Self::keys(), &environment.keys)?;
        let mut settings: Self = layers.try_deserialize().map_err(unreadable)?;
        (settings.files, settings.warnings) = (files.read, files.warnings);
        settings.service_states.push(settings.state.path.clone());
        let is_named = environment.keys.contains_key("state.path") || is_named;
        if !is_named && settings.state.path == StateSettings::default().path {
            settings.service_states.extend(fallbacks);
        }
        settings.warnings.extend(environment.unknown.iter().map(|name| environment::unknown(name, &Self::keys())));
        settings.warnings.extend(environment.ambiguous);
        let named_by = |error| set_by(error, &environment.keys);
        settings.follow_memory(memory::limit());
        settings.read_secret_files().map_err(named_by)?;
        settings.check().map_err(named_by)?;
        Ok(settings)
    }

    /// Puts the secrets of files where those of variables are.
    fn read_secret_files(&mut self) -> Result<(), SettingsError> {
        let Self { admin, instance, registry, .. } = self;
        for (secret, file, file_key, both) in [
            (&mut admin.token, &admin.token_file, "admin.token_file", "admin.token, admin.token_file"),
            (
                &mut instance.key_passphrase,
                &instance.key_passphrase_file,
                "instance.key_passphrase_file",
                "instance.key_passphrase, instance.key_passphrase_file",
            ),
            (
                &mut registry.redis_password,
                &registry.redis_password_file,
                "registry.redis_password_file",
                "registry.redis_password, registry.redis_password_file",
            ),
        ] {
            let Some(path) = file else { continue };
            if secret.is_some() {
                return Err(bad(both, "both are set: unset one of them"));
            }
            *secret = Some(secret_file::read(file_key, path)?);
        }
        self.read_webhook_secrets()?;
        Ok(())
    }

    /// What the types cannot say.
    fn check(&mut self) -> Result<(), SettingsError> {
        // Without the space around it, as the operator's proof is compared.
        if let Some(token) = self.admin.token.as_ref().map(|token| token.expose_secret().trim()) {
            if token.chars().count() < MIN_TOKEN_CHARS {
                return Err(bad(
                    "admin.token",
                    format!("has fewer than {MIN_TOKEN_CHARS} characters; make one with: openssl rand -base64 24"),
                ));
            }
            if !token.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                return Err(bad(
                    "admin.token",
                    "holds characters that no Authorization header carries; make one with: openssl rand -base64 24",
                ));
            }
        }
        if let Some(key) = &self.instance.public_key {
            PublicKey::parse(key).map_err(|error| bad("instance.public_key", error.to_string()))?;
        }
        if is_same_directory(&self.lattice.path, &self.state.path) {
            return Err(bad(
                "lattice.path, state.path",
                "are one directory: nodes would overwrite the files of the state; name two",
            ));
        }
        if self.instance.key_lifetime.is_some_and(|lifetime| lifetime.get() < MIN_KEY_LIFETIME) {
            return Err(bad("instance.key_lifetime", "must be at least 1day"));
        }
        // To the server 0 means "no bound", and it counts a stop in whole seconds.
        if self.server.header_timeout.get().is_zero() || self.server.body_timeout.get().is_zero() {
            return Err(bad("server.header_timeout, server.body_timeout", "must be more than zero"));
        }
        if self.server.shutdown_timeout.get().subsec_nanos() != 0 {
            return Err(bad("server.shutdown_timeout", "must be whole seconds"));
        }
        if self.server.max_connections == 0 {
            return Err(bad("server.max_connections", "must be at least 1"));
        }
        if self.registry.peer_ttl.get().as_secs() == 0 {
            return Err(bad("registry.peer_ttl", "must be at least 1s"));
        }
        // Redis refuses an expiry that it cannot count, in the middle of a registration.
        if self.registry.peer_ttl.get() > MAX_PEER_TTL {
            return Err(bad("registry.peer_ttl", "must be at most 1year"));
        }
        registry::check(&self.registry)?;
        if self.lattice.rescan_interval.get().is_zero() {
            return Err(bad("lattice.rescan_interval", "must be more than zero"));
        }
        let unused_ttl = self.registry.unused_binding_ttl.get();
        if !(MIN_UNUSED_BINDING_TTL..=MAX_PEER_TTL.saturating_mul(100)).contains(&unused_ttl)
            || unused_ttl < self.registry.peer_ttl.get()
        {
            return Err(bad(
                "registry.unused_binding_ttl",
                "must be at least 1day and registry.peer_ttl, and at most 100years",
            ));
        }
        if self.limits.page_items == 0 || self.registry.pool_size == 0 || self.registry.max_peers == 0 {
            return Err(bad("limits.page_items, registry.pool_size, registry.max_peers", "must be at least 1"));
        }
        if self.limits.lattice_nodes == 0 || self.limits.lattice_bytes == 0 || self.limits.peer_conflicts == 0 {
            return Err(bad("limits.lattice_nodes, limits.lattice_bytes, limits.peer_conflicts", "must be at least 1"));
        }
        if self.limits.inflight_bytes.min(self.limits.answer_bytes) < 1 << 20 {
            return Err(bad("limits.inflight_bytes, limits.answer_bytes", "must be at least 1048576 (1 MiB)"));
        }
        // A filter reads a word that is no level as the name of a module, and then shows next to nothing.
        let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
        if !self.log.level.split(',').map(str::trim).all(|part| is_level(part) || part.contains('=')) {
            return Err(bad("log.level", LOG_LEVELS));
        }
        self.node_id()?;
        self.list_peer_keys()?;
        self.trust_policy()?;
        self.check_edge()?;
        if self.federation.sync_interval.get().is_zero() || self.federation.concurrent_rounds == 0 {
            return Err(bad("federation.sync_interval, federation.concurrent_rounds", "must be more than zero"));
        }
        if self.federation.peer_timeout.get().is_zero() {
            return Err(bad("federation.peer_timeout", "must be more than zero"));
        }
        self.warn_of_passed_over_peers();
        self.check_plain_http()?;
        self.check_discovery()?;
        self.check_events()?;
        self.check_tracing()?;
        if self.server.trust_loopback {
            self.warnings.push(match &self.admin.token {
                None => "server.trust_loopback is on: every program of this machine, and whoever reaches the port through a TCP \
                         forwarder on it, has admin rights without a token"
                    .to_owned(),
                Some(_) => "server.trust_loopback has no effect: an admin token is set".to_owned(),
            });
        }
        if self.trust.vouchers > MAX_VOUCHERS {
            return Err(bad("trust.vouchers", format!("must be at most {MAX_VOUCHERS}")));
        }
        if self.trust.mode == crate::trust::TrustMode::Open {
            self.warnings
                .push("trust.mode is open: any key may speak for any id; only for a closed network".to_owned());
        }
        Ok(())
    }

    /// The operator's rules on keys.
    ///
    /// # Errors
    /// A listed peer's id or key is not usable, or an id is listed twice.
    pub fn trust_policy(&self) -> Result<TrustPolicy, SettingsError> {
        let mut listed = HashMap::new();
        for peer in &self.trust.listed {
            let id = PeerId::parse(&peer.node_id).map_err(|error| bad("trust.listed.node_id", error.to_string()))?;
            let key = PublicKey::parse(&peer.pubkey).map_err(|error| bad("trust.listed.pubkey", error.to_string()))?;
            if listed.insert(id, key).is_some() {
                return Err(bad("trust.listed", format!("{} is listed twice", peer.node_id)));
            }
        }
        Ok(TrustPolicy::new(self.trust.mode, listed))
    }

    /// What the table of rights depends on.
    #[must_use]
    pub fn trust_rules(&self) -> Rules {
        let TrustSettings { mode, require_verified, network_key_names, .. } = self.trust;
        Rules { mode, require_verified, network_key_names }
    }

    /// The bounds on input.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            manifest_bytes: self.limits.manifest_bytes,
            sync_bytes: self.limits.sync_bytes,
            lattice_nodes: self.limits.lattice_nodes,
            lattice_bytes: self.limits.lattice_bytes,
            peer_conflicts: self.limits.peer_conflicts,
            node_bytes: self.limits.node_bytes,
            manifest_nodes: self.limits.manifest_nodes,
            manifest_field_bytes: self.limits.manifest_field_bytes,
            page_items: self.limits.page_items,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
