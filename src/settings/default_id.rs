//! This instance's id: the setting, or what the state directory remembers.

use super::{Settings, SettingsError, load::bad};
use crate::types::{PeerId, UNSIGNED_PREFIX};
use std::{io, path::PathBuf};

/// The file in the state directory that holds the id.
const ID_FILE: &str = "node_id";

/// Files of a state directory that a service or a command of an earlier version made, which had no file for the id.
const FILES_OF_STATE: [&str; 4] = ["identity.key", "lattice.redb", "registry.redb", "peers.json"];

impl Settings {
    /// This instance's id: the setting, else the one that the state directory holds, else `ark-` and the machine's name, which is the id of a
    /// state directory of an earlier version.
    ///
    /// # Errors
    /// It is not an id, or the file cannot be read.
    pub fn node_id(&self) -> Result<PeerId, SettingsError> {
        let text = match &self.instance.node_id {
            Some(text) => text.clone(),
            None => self.kept_id()?.unwrap_or_else(|| format!("ark-{}", host_name())),
        };
        let id = PeerId::parse(&text).map_err(|error| bad("instance.node_id", error.to_string()))?;
        if id.is_reserved() {
            return Err(bad(
                "instance.node_id",
                format!("must not begin with {UNSIGNED_PREFIX}, which marks senders that sign nothing"),
            ));
        }
        Ok(id)
    }

    /// Where the id is kept.
    #[must_use]
    pub fn id_file(&self) -> PathBuf {
        self.state.path.join(ID_FILE)
    }

    /// The id that the state directory holds.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_id(&self) -> Result<Option<String>, SettingsError> {
        let path = self.id_file();
        let problem = match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => "it is empty".to_owned(),
            Ok(text) => return Ok(Some(text.trim().to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => error.to_string(),
        };
        Err(bad(
            "instance.node_id",
            format!("{}: {problem}; write this instance's id into it, or set ARK_NODE_ID", path.display()),
        ))
    }

    /// Is the id of this instance still to be made, because nothing names it and the state directory is new?
    ///
    /// # Errors
    /// The file of the id cannot be read.
    pub fn has_no_id_yet(&self) -> Result<bool, SettingsError> {
        let is_named = self.instance.node_id.is_some() || self.kept_id()?.is_some();
        Ok(!is_named && !FILES_OF_STATE.iter().any(|name| self.state.path.join(name).symlink_metadata().is_ok()))
    }
}

/// An id that no other machine has, also one of the same name: `ark-`, the machine's name, and eight digits of `random`.
#[must_use]
pub fn unique_id(random: [u8; 4]) -> String {
    format!("{}{:08x}", id_prefix(), u32::from_be_bytes(random))
}

/// What [`unique_id`] begins with.
#[must_use]
pub fn id_prefix() -> String {
    // The id becomes part of commands and file names.
    let plain = |it: &char| it.is_ascii_alphanumeric() || "-._".contains(*it);
    let host: String = host_name().chars().filter(plain).take(64).collect();
    if host.is_empty() { "ark-".to_owned() } else { format!("ark-{host}-") }
}

fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn put(path: impl AsRef<Path>, text: &str) {
        crate::lattice::offline::write_file(path.as_ref(), text.as_bytes()).unwrap();
    }

    #[test]
    fn the_setting_goes_before_the_file_and_the_file_before_the_name_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.state.path = folder.path().join("state");
        assert!(settings.has_no_id_yet().unwrap(), "no directory");
        std::fs::create_dir(&settings.state.path).unwrap();
        put(settings.state.path.join("lock"), "");
        assert!(settings.has_no_id_yet().unwrap(), "a lock is no state");
        put(settings.state.path.join("identity.key"), "");
        assert!(!settings.has_no_id_yet().unwrap(), "the state of an earlier version");
        assert_eq!(settings.node_id().unwrap().as_str(), format!("ark-{}", host_name()));
        put(settings.id_file(), "kept\n");
        assert_eq!(settings.node_id().unwrap().as_str(), "kept");
        settings.instance.node_id = Some("named".to_owned());
        assert_eq!(settings.node_id().unwrap().as_str(), "named");
    }

    #[test]
    fn a_file_without_an_id_is_named_and_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.state.path = folder.path().to_owned();
        for text in [" \n", "a\u{7}b", "unsigned:x"] {
            put(settings.id_file(), text);
            assert!(settings.node_id().is_err(), "{text:?}");
        }
        put(settings.id_file(), "");
        let error = settings.node_id().unwrap_err().to_string();
        assert!(error.contains("node_id: it is empty") && error.contains("ARK_NODE_ID"), "{error}");
    }

    #[test]
    fn ids_of_machines_with_one_name_differ() {
        assert_ne!(unique_id([0, 0, 0, 1]), unique_id([0, 0, 0, 2]));
        assert!(unique_id([0, 0, 0, 10]).ends_with("-0000000a"));
        assert!(PeerId::parse(&unique_id([255; 4])).is_ok());
    }
}
