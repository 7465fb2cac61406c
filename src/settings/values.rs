//! Which keys there are and which values they take; what is said of others.

use super::{SettingsError, environment::FromEnvironment, nearest::nearest, section::TomlDefault};
use config::{Config, ConfigError, Source, Value, ValueKind};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A setting.
pub(super) struct Key {
    /// `section.key`.
    pub(super) path: &'static str,
    expected: fn() -> String,
    misfit: fn(&Config, &str) -> Option<ConfigError>,
}

impl Key {
    pub(super) fn of<T: DeserializeOwned + TomlDefault>(path: &'static str) -> Self {
        let misfit = |layers: &Config, path: &str| match layers.get::<T>(path) {
            // A key that is not set has its default.
            Ok(_) | Err(ConfigError::NotFound(_)) => None,
            Err(error) => Some(error),
        };
        Self { path, expected: T::expected, misfit }
    }

    fn name(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or(("", self.path))
    }
}

/// Where a value comes from: ` in FILE`, or nothing.
fn place(value: &Value) -> String {
    value.origin().map_or_else(String::new, |file| format!(" in {file}"))
}

/// A value as its writer sees it. Not of tables and lists: they may hold a secret.
fn shown(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(format!("{text:?}")),
        ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => None,
        _ => Some(value.to_string()),
    }
}

/// Every key is known, and has a value of its kind.
///
/// # Errors
/// [`SettingsError::Layer`], with the variable or key named, and what it takes.
pub(super) fn check(
    layers: &Config,
    known: &[Key],
    variables: &BTreeMap<String, FromEnvironment>,
) -> Result<(), SettingsError> {
    let tables = layers.collect().map_err(|error| SettingsError::Layer(error.to_string()))?;
    let mut sections: Vec<_> = tables.iter().collect();
    sections.sort_by_key(|(section, _)| *section);
    for (section, values) in sections {
        let keys: Vec<&Key> = known.iter().filter(|key| key.name().0 == section).collect();
        let variable = variables.iter().find(|(path, _)| path.split('.').next() == Some(section));
        let ValueKind::Table(table) = &values.kind else {
            return Err(no_section(section, values, variable.map(|(_, found)| found), known));
        };
        if keys.is_empty() {
            return Err(no_section(section, values, variable.map(|(_, found)| found), known));
        }
        let mut names: Vec<_> = table.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, value) in names {
            let variable = variables.get(&format!("{section}.{name}"));
            match keys.iter().find(|key| key.name().1 == name) {
                None => return Err(no_key((section, name), value, variable, &keys)),
                Some(key) => {
                    if let Some(error) = (key.misfit)(layers, key.path) {
                        return Err(no_value(key, value, variable, &error));
                    }
                }
            }
        }
    }
    Ok(())
}

fn no_section(section: &str, value: &Value, variable: Option<&FromEnvironment>, known: &[Key]) -> SettingsError {
    let what = match variable {
        Some(found) => format!("{} names a section {section}, which is none of the settings", found.name),
        None => format!("{section} is no section of the settings{}", place(value)),
    };
    let mut sections: Vec<&str> = known.iter().map(|key| key.name().0).collect();
    sections.dedup();
    let hint = match nearest(section, sections.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the sections are {}", sections.join(", ")),
    };
    SettingsError::Layer(format!("{what}; {hint}"))
}

fn no_key(
    (section, name): (&str, &str),
    value: &Value,
    variable: Option<&FromEnvironment>,
    keys: &[&Key],
) -> SettingsError {
    let what = match variable {
        Some(found) => format!("{} sets {section}.{name}, which is no setting", found.name),
        None => format!("{section}.{name} is no setting{}", place(value)),
    };
    let hint = match nearest(name, keys.iter().map(|key| key.name().1)) {
        Some(near) if variable.is_some() => {
            format!("did you mean ARK__{}__{}?", section.to_ascii_uppercase(), near.to_ascii_uppercase())
        }
        Some(near) => format!("did you mean {section}.{near}?"),
        None => {
            let names: Vec<&str> = keys.iter().map(|key| key.name().1).collect();
            format!("the settings of {section} are {}", names.join(", "))
        }
    };
    SettingsError::Layer(format!("{what}; {hint}"))
}

fn no_value(key: &Key, value: &Value, variable: Option<&FromEnvironment>, error: &ConfigError) -> SettingsError {
    let expected = (key.expected)();
    SettingsError::Layer(match (shown(value), variable) {
        (Some(shown), Some(found)) => format!("{} is {shown}; it takes {expected} (setting {})", found.name, key.path),
        (Some(shown), None) => format!("{} is {shown}{}; it takes {expected}", key.path, place(value)),
        // Which entry is wrong, and in what, is in the cause.
        (None, _) => format!("{} cannot be used{}; it takes {expected} ({error})", key.path, place(value)),
    })
}
