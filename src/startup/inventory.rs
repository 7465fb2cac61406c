//! What a state directory holds. Files that were there once are not taken for files of a first start where they are missing or empty:
//! what they held would be gone without a word.

use super::{StartupError, lock_state};
use crate::{lattice::offline::write_file, settings::Settings};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// Names the files, in the state directory. State directories of before have none: the first start makes it.
const FILE: &str = "state.json";
/// How often it is looked for files that the running service made.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A file whose loss must not go unnoticed.
struct Kind {
    name: &'static str,
    /// What is lost with it.
    lost: &'static str,
    /// It is looked at by these settings.
    counts: fn(&Settings) -> bool,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "identity.key",
        lost: "the key of this instance: with a new one it is another instance, which no peer knows",
        counts: |settings| {
            let instance = &settings.instance;
            instance.private_key.is_none() && instance.key_file.is_none() && instance.public_key.is_none()
        },
    },
    Kind {
        name: "node_id",
        lost: "the id of this instance: with another one it is another instance for its peers",
        counts: |settings| settings.instance.node_id.is_none(),
    },
    Kind {
        name: "lattice.redb",
        lost: "conflicts and lost versions with their contents, deleted nodes, and what was exchanged with whom",
        counts: |_| true,
    },
    Kind {
        name: "registry.redb",
        lost: "which key each id has: every id is open to the first key that registers it",
        counts: |settings| !settings.registry.uses_redis(),
    },
    // Its companions are looked at where it is opened.
    Kind { name: "audit.log", lost: "whom the admin verified and revoked, and who was refused", counts: |_| true },
    Kind { name: "peers.json", lost: "the peers that commands added, and their keys", counts: |_| true },
    Kind { name: "control.json", lost: "that the admin stopped the federation, or auto-sync", counts: |_| true },
    Kind { name: "invites.json", lost: "the invites that are open", counts: |_| true },
];

impl Kind {
    fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

/// A file that was in the state directory, and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFile {
    /// Its name.
    pub name: &'static str,
    /// It is there, without a byte.
    pub is_empty: bool,
    /// What is lost with it.
    pub lost: &'static str,
}

impl MissingFile {
    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> String {
        let state = if self.is_empty { "is empty" } else { "is missing" };
        format!("{} {state}; lost with it: {}", self.name, self.lost)
    }

    /// What to do.
    #[must_use]
    pub fn next(&self) -> String {
        format!("restore it from a backup, or go on without it: ark-lattice state forget {}", self.name)
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Inventory {
    /// Also names of later versions.
    files: BTreeSet<String>,
    /// Files that somebody moved out of the way, as `NAME.old`.
    #[serde(default)]
    set_aside: BTreeSet<String>,
}

impl Inventory {
    fn path(state: &Path) -> PathBuf {
        state.join(FILE)
    }

    /// `None`: there is none yet.
    fn read(state: &Path) -> Result<Option<Self>, StartupError> {
        let bytes = match fs::read(Self::path(state)) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(state, format!("{FILE}: {error}"))),
        };
        let shown = Self::path(state).display().to_string();
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let problem = format!(
                "{FILE}, the list of its files, cannot be read: {error}; to have it made anew: mv {shown} {shown}.old"
            );
            failed(state, problem)
        })
    }

    /// What is here now, and what was noted before.
    fn with_present(mut self, state: &Path) -> Self {
        self.files.extend(KINDS.iter().filter(|kind| length(state, kind.name) > 0).map(|kind| kind.name.to_owned()));
        self.set_aside = KINDS.iter().map(old).filter(|old| state.join(old).exists()).collect();
        self
    }

    fn missing(&self, settings: &Settings) -> Vec<MissingFile> {
        let state = &settings.state.path;
        let is_gone = |kind: &&Kind| {
            let is_aside = state.join(old(kind)).exists() && !self.set_aside.contains(&old(kind));
            self.files.contains(kind.name) && (kind.counts)(settings) && length(state, kind.name) == 0 && !is_aside
        };
        let found = KINDS.iter().filter(is_gone);
        found
            .map(|kind| MissingFile { name: kind.name, is_empty: state.join(kind.name).exists(), lost: kind.lost })
            .collect()
    }

    fn write(&self, state: &Path) -> Result<(), StartupError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(state, error.to_string()))?;
        write_file(&Self::path(state), text.as_bytes()).map_err(|error| failed(state, error.to_string()))
    }
}

fn old(kind: &Kind) -> String {
    format!("{}.old", kind.name)
}

fn failed(state: &Path, problem: String) -> StartupError {
    StartupError::State { path: state.to_owned(), problem }
}

/// One that cannot be looked at counts as there: whoever opens it says what is wrong.
fn length(state: &Path, name: &str) -> u64 {
    match fs::metadata(state.join(name)) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(_) => 1,
    }
}

/// The files that were in the state directory of the settings and are missing or empty.
///
/// # Errors
/// [`StartupError::State`]: the list of its files cannot be read.
pub fn missing_files(settings: &Settings) -> Result<Vec<MissingFile>, StartupError> {
    Ok(Inventory::read(&settings.state.path)?.unwrap_or_default().missing(settings))
}

/// Refuses a state directory from which files were lost.
///
/// # Errors
/// [`StartupError::State`]: one is missing or empty, what is lost with it, and the command that goes on without it.
pub fn check_files(settings: &Settings) -> Result<(), StartupError> {
    let missing = missing_files(settings)?;
    let Some(first) = missing.first() else { return Ok(()) };
    let more = match missing.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more: ark-lattice state list)"),
    };
    Err(failed(&settings.state.path, format!("{}{more}. {}", first.problem(), first.next())))
}

/// Refuses a state directory from which this file was lost.
///
/// # Errors
/// [`StartupError::State`], as there.
pub fn check_file(settings: &Settings, name: &str) -> Result<(), StartupError> {
    match missing_files(settings)?.into_iter().find(|missing| missing.name == name) {
        Some(missing) => Err(failed(&settings.state.path, format!("{}. {}", missing.problem(), missing.next()))),
        None => Ok(()),
    }
}

/// Notes what is in the state directory now. Writes only where something came.
fn note(settings: &Settings) -> Result<(), StartupError> {
    let state = &settings.state.path;
    let known = Inventory::read(state)?;
    let present = known.clone().unwrap_or_default().with_present(state);
    if known.as_ref() == Some(&present) { Ok(()) } else { present.write(state) }
}

/// As [`note`], where a full disk is no reason not to go on.
pub(super) fn note_files(settings: &Settings) {
    if let Err(error) = note(settings) {
        tracing::warn!(%error, "what the state directory holds cannot be noted: a file that is lost later may go unnoticed");
    }
}

/// Notes the files that the running service makes. Never ends.
pub(super) async fn watch(settings: Settings) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let settings = settings.clone();
        // A task that panics says so by itself.
        drop(tokio::task::spawn_blocking(move || note_files(&settings)).await);
    }
}

/// A file of a state directory, as `state list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// Its name.
    pub name: &'static str,
    /// What it holds, and what is lost with it.
    pub holds: &'static str,
    /// Its length in bytes; `None`: it is not there.
    pub bytes: Option<u64>,
    /// It was there, and is missing or empty.
    pub is_missing: bool,
}

/// The files of the state directory of the settings whose loss would not go unnoticed.
///
/// # Errors
/// [`StartupError::State`]: the list of its files cannot be read.
pub fn state_files(settings: &Settings) -> Result<Vec<StateFile>, StartupError> {
    let missing = missing_files(settings)?;
    let file = |kind: &Kind| StateFile {
        name: kind.name,
        holds: kind.lost,
        bytes: fs::metadata(settings.state.path.join(kind.name)).ok().map(|metadata| metadata.len()),
        is_missing: missing.iter().any(|missing| missing.name == kind.name),
    };
    Ok(KINDS.iter().map(file).collect())
}

/// Lets the next start do without a file that is missing or empty. Answers what is lost with it.
///
/// # Errors
/// [`StartupError::State`]: a service uses the directory, the name is none of [`state_files`], or the file is there and holds something.
pub fn forget_file(settings: &Settings, name: &str) -> Result<&'static str, StartupError> {
    let state = &settings.state.path;
    let Some(kind) = Kind::named(name) else {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(failed(state, format!("{name} is none of its files that are looked at: {}", names.join(", "))));
    };
    let _lock = lock_state(state)?;
    let mut inventory = Inventory::read(state)?.unwrap_or_default();
    if length(state, kind.name) > 0 {
        let shown = state.join(kind.name).display().to_string();
        let problem = format!("{name} is there, with something in it. To go on without it: mv {shown} {shown}.old");
        return Err(failed(state, problem));
    }
    match fs::remove_file(state.join(kind.name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(state, format!("{name}: {error}"))),
        _ => {}
    }
    inventory.files.remove(kind.name);
    inventory.write(state)?;
    Ok(kind.lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        settings: Settings,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut settings = Settings::default();
            settings.state.path = folder.path().to_owned();
            Self { folder, settings }
        }

        fn put(&self, name: &str, text: &str) {
            write_file(&self.folder.path().join(name), text.as_bytes()).unwrap();
        }

        fn missing(&self) -> Vec<(&'static str, bool)> {
            let missing = missing_files(&self.settings).unwrap();
            missing.into_iter().map(|missing| (missing.name, missing.is_empty)).collect()
        }
    }

    #[test]
    fn each_file_that_was_there_is_missed_and_can_be_forgotten() {
        for kind in KINDS {
            for is_empty in [false, true] {
                let place = Place::new();
                assert_eq!(place.missing(), [], "a first start");
                place.put(kind.name, "something");
                assert_eq!(place.missing(), [], "not noted yet: a state directory of before");
                note(&place.settings).unwrap();
                assert!(forget_file(&place.settings, kind.name).unwrap_err().to_string().contains(": mv "));
                if is_empty {
                    place.put(kind.name, "");
                } else {
                    fs::remove_file(place.folder.path().join(kind.name)).unwrap();
                }
                assert_eq!(place.missing(), [(kind.name, is_empty)]);
                let refused = check_files(&place.settings).unwrap_err().to_string();
                let next = format!("ark-lattice state forget {}", kind.name);
                assert!(refused.contains(kind.lost) && refused.contains(&next), "{refused}");
                note(&place.settings).unwrap();
                assert_eq!(place.missing(), [(kind.name, is_empty)], "to look again forgets nothing");
                assert_eq!(forget_file(&place.settings, kind.name).unwrap(), kind.lost);
                check_files(&place.settings).unwrap();
            }
        }
    }

    #[test]
    fn what_was_moved_out_of_the_way_was_moved_on_purpose_once() {
        let place = Place::new();
        let at = |name: &str| place.folder.path().join(name);
        place.put("lattice.redb", "first");
        note(&place.settings).unwrap();
        fs::rename(at("lattice.redb"), at("lattice.redb.old")).unwrap();
        assert_eq!(place.missing(), []);
        place.put("lattice.redb", "second");
        note(&place.settings).unwrap();
        fs::remove_file(at("lattice.redb")).unwrap();
        assert_eq!(place.missing(), [("lattice.redb", false)]);
    }

    #[test]
    fn files_that_the_settings_do_without_are_not_missed() {
        let mut place = Place::new();
        place.put("identity.key", "key");
        note(&place.settings).unwrap();
        fs::remove_file(place.folder.path().join("identity.key")).unwrap();
        assert_eq!(place.missing(), [("identity.key", false)]);
        place.settings.instance.key_file = Some("elsewhere".into());
        assert_eq!(place.missing(), []);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_refused_and_names_of_later_versions_stay() {
        let place = Place::new();
        place.put(FILE, "");
        assert!(check_files(&place.settings).unwrap_err().to_string().contains("state.json.old"));
        place.put(FILE, r#"{"files":["of_later.db"]}"#);
        place.put("peers.json", "{}");
        note(&place.settings).unwrap();
        let text = fs::read_to_string(place.folder.path().join(FILE)).unwrap();
        assert!(text.contains("of_later.db") && text.contains("peers.json"), "{text}");
        let forgotten = forget_file(&place.settings, "of_later.db").unwrap_err().to_string();
        assert!(forgotten.contains("identity.key"), "{forgotten}");
    }
}
