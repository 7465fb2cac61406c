//! Which environment variable sets which key.

use super::SettingsError;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// How a variable's text becomes a setting's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// Empty means unset: seed 004's own default is the empty text, and OpenTelemetry asks for it.
    EmptyIsUnset,
    /// As above, and separated by commas.
    List,
    /// A bare number is milliseconds from 1000 up and seconds below.
    MillisOrSeconds,
    /// A bare number is seconds.
    Seconds,
}

/// The seeds' names and our own short ones; each works as its document says.
const NAMES: &[(&str, &str, Form)] = &[
    ("ARK_NODE_ID", "instance.node_id", Form::Plain),
    ("FEDERATION_NODE_NAME", "instance.node_id", Form::Plain),
    ("ARK_INSTANCE_TYPE", "instance.instance_type", Form::Plain),
    ("ARK_FED_PUBKEY", "instance.public_key", Form::Plain),
    ("ARK_FED_PRIVKEY", "instance.private_key", Form::Plain),
    ("FEDERATION_PORT", "server.port", Form::Plain),
    ("FEDERATION_BIND_PORT", "server.port", Form::Plain),
    ("ARK_KEY_PASSPHRASE", "instance.key_passphrase", Form::Plain),
    ("ARK_KEY_PASSPHRASE_FILE", "instance.key_passphrase_file", Form::Plain),
    ("ARK_ADMIN_TOKEN", "admin.token", Form::Plain),
    ("ARK_ADMIN_TOKEN_FILE", "admin.token_file", Form::Plain),
    ("REDIS_URL", "registry.redis_url", Form::Plain),
    ("ARK_PEER_TTL", "registry.peer_ttl", Form::Plain),
    ("LATTICE_PATH", "lattice.path", Form::Plain),
    ("ARK_STATE_PATH", "state.path", Form::Plain),
    ("ARK_TRUST_MODE", "trust.mode", Form::Plain),
    ("FEDERATION_MODE", "federation.mode", Form::Plain),
    ("FEDERATION_HUB_URL", "federation.hub_url", Form::EmptyIsUnset),
    ("FEDERATION_AUTO_SYNC", "federation.auto_sync", Form::Plain),
    ("FEDERATION_SYNC_INTERVAL", "federation.sync_interval", Form::MillisOrSeconds),
    ("FEDERATION_NETWORK_KEY", "federation.network_key", Form::EmptyIsUnset),
    ("FEDERATION_TRUSTED_PEERS", "federation.trusted_peers", Form::List),
    ("FEDERATION_DISCOVERY_INTERVAL", "federation.discovery_interval", Form::Seconds),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing.endpoint", Form::EmptyIsUnset),
    ("OTEL_EXPORTER_OTLP_HEADERS", "tracing.headers", Form::EmptyIsUnset),
    ("OTEL_SERVICE_NAME", "tracing.service_name", Form::EmptyIsUnset),
];

/// Read elsewhere than through a key.
const OTHER: &[&str] = &["ARK_ENV", "ARK_CONFIG_DIR"];

/// Lists of plain texts; every other value is one text.
const LISTS: &[&str] = &[
    "discovery.interfaces",
    "discovery.scan_subnets",
    "federation.trusted_peers",
    "registry.redis_sentinels",
    "registry.redis_cluster_nodes",
    "server.also_listen",
    "server.trusted_proxies",
    "server.cors_origins",
];

/// A setting from the environment, and the variable that it came from.
pub(super) struct FromEnvironment {
    pub(super) name: String,
    pub(super) values: Vec<String>,
    pub(super) list: bool,
}

/// What the environment says of settings.
pub(super) struct Environment {
    pub(super) keys: BTreeMap<String, FromEnvironment>,
    /// Names that start with `ARK_` and mean nothing here: perhaps a slip of the pen.
    pub(super) unknown: Vec<String>,
}

fn form_value(form: Form, value: &str) -> String {
    let bare = value.parse::<u64>();
    match (form, bare) {
        (Form::MillisOrSeconds, Ok(number)) if number >= 1000 => format!("{number}ms"),
        (Form::MillisOrSeconds | Form::Seconds, Ok(number)) => format!("{number}s"),
        _ => value.to_owned(),
    }
}

/// The variables that are text. Others' may hold any bytes; ours may not.
///
/// # Errors
/// A value of ours is not UTF-8.
pub(super) fn texts(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, SettingsError> {
    let mut texts = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => texts.push((name, value)),
            Err(_) if name.starts_with("ARK_") || NAMES.iter().any(|(known, ..)| *known == name) => {
                return Err(SettingsError::NotText { name });
            }
            Err(_) => {}
        }
    }
    Ok(texts)
}

/// Where commands look for a running service after the state directory of the settings: the user's XDG state directory, then the
/// system's.
pub(super) fn fallback_states(variables: &[(String, String)]) -> Vec<PathBuf> {
    let of = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| Path::new(value));
    // The XDG specification has relative paths ignored.
    let absolute = |path: &&Path| path.is_absolute();
    let user = of("XDG_STATE_HOME").filter(absolute).map(Path::to_owned);
    let user = user.or_else(|| of("HOME").filter(absolute).map(|home| home.join(".local/state")));
    // The second is where deploy/systemd puts it.
    let system = ["/var/lib/ark-lattice", "/var/lib/ark-lattice/state"].map(PathBuf::from);
    user.map(|state| state.join("ark-lattice")).into_iter().chain(system).collect()
}

/// Reads `variables`: the seeds' names, our short names, and `ARK__SECTION__KEY`.
///
/// # Errors
/// An empty value, or two variables that set one key to different values.
pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Environment, SettingsError> {
    let mut found = Environment { keys: BTreeMap::new(), unknown: Vec::new() };
    for (name, value) in variables {
        let known = NAMES.iter().find(|(known, ..)| *known == name);
        let (key, form) = match (known, name.strip_prefix("ARK__")) {
            (Some((_, key, form)), _) => ((*key).to_owned(), *form),
            (None, Some(path)) => (path.to_ascii_lowercase().replace("__", "."), Form::Plain),
            (None, None) => {
                if name.starts_with("ARK_") && !OTHER.contains(&name.as_str()) {
                    found.unknown.push(name);
                }
                continue;
            }
        };
        if value.trim().is_empty() {
            if matches!(form, Form::EmptyIsUnset | Form::List) {
                continue;
            }
            return Err(SettingsError::Empty { name });
        }
        let list = form == Form::List || LISTS.contains(&key.as_str());
        let values = if list {
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        } else {
            vec![form_value(form, &value)]
        };
        if let Some(other) = found.keys.get(&key)
            && other.values != values
        {
            return Err(SettingsError::Contradiction { key, one: other.name.clone(), other: name });
        }
        found.keys.insert(key, FromEnvironment { name, values, list });
    }
    Ok(found)
}
