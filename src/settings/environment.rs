//! Which environment variable sets which key.

use super::{SettingsError, nearest::nearest, values::Key};
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

/// Names that begin so are meant for us.
const PREFIXES: &[&str] = &["ARK_", "FEDERATION_", "LATTICE_", "CONTINUUM_", "META_LOG_", "GATEWAY_"];

/// Bare numbers of [`Form::MillisOrSeconds`] that are as likely meant in the other unit: two minutes to three hours as seconds, a
/// tenth of a second to ten seconds as milliseconds.
const AMBIGUOUS: std::ops::Range<u64> = 120..10_000;

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
    /// Names with one of our prefixes that are not known here: perhaps misspelt.
    pub(super) unknown: Vec<String>,
    /// How numbers were read that have another meaning in another unit.
    pub(super) ambiguous: Vec<String>,
}

fn form_value(form: Form, value: &str) -> String {
    let bare = value.parse::<u64>();
    match (form, bare) {
        (Form::MillisOrSeconds, Ok(number)) if number >= 1000 => format!("{number}ms"),
        (Form::MillisOrSeconds | Form::Seconds, Ok(number)) => format!("{number}s"),
        _ => value.to_owned(),
    }
}

/// How a number was read that is plausible in the other unit only, or in both.
fn ambiguous(name: &str, form: Form, value: &str) -> Option<String> {
    let number = value.parse::<u64>().ok().filter(|number| AMBIGUOUS.contains(number))?;
    let (taken, other) = if number >= 1000 { ("milliseconds", "s") } else { ("seconds", "ms") };
    let is_meant = form == Form::MillisOrSeconds;
    is_meant.then(|| {
        let taken_as = form_value(form, value);
        format!(
            "{name} is {number} without a unit and is taken as {taken}; write {name}={taken_as}, or {name}={number}{other} where that is meant"
        )
    })
}

/// What is said of a variable that is not known.
pub(super) fn unknown(name: &str, keys: &[Key]) -> String {
    let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or_default().to_ascii_lowercase();
    let is_it = |key: &&Key| {
        key.path.replace('.', "_") == rest || key.path.split_once('.').is_some_and(|(_, name)| name == rest)
    };
    let of_key = |key: &Key| match NAMES.iter().find(|(_, path, _)| *path == key.path) {
        Some((name, ..)) => (*name).to_owned(),
        None => format!("ARK__{}", key.path.replace('.', "__").to_ascii_uppercase()),
    };
    let mut named = keys.iter().filter(is_it);
    let near = match (named.next(), named.next()) {
        (Some(key), None) => Some(of_key(key)),
        _ => nearest(name, NAMES.iter().map(|(name, ..)| *name).chain(OTHER.iter().copied())).map(str::to_owned),
    };
    let hint = near.map_or_else(|| "unset it".to_owned(), |near| format!("did you mean {near}?"));
    format!("{name} is set, but this version does not know it and ignores it; {hint}")
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
    let mut found = Environment { keys: BTreeMap::new(), unknown: Vec::new(), ambiguous: Vec::new() };
    for (name, value) in variables {
        let known = NAMES.iter().find(|(known, ..)| *known == name);
        let (key, form) = match (known, name.strip_prefix("ARK__")) {
            (Some((_, key, form)), _) => ((*key).to_owned(), *form),
            (None, Some(path)) => (path.to_ascii_lowercase().replace("__", "."), Form::Plain),
            (None, None) => {
                let is_ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
                if is_ours && !OTHER.contains(&name.as_str()) {
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
        found.ambiguous.extend(ambiguous(&name, form, &value));
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
