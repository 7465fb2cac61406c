//! A recorded instance: data directory, state directory, and the answers of its release about them.

use crate::{faketime, service::Place};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::Value;
use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The recorded releases: a folder each.
pub(crate) fn releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("recording.json").is_file());
    found.sort();
    assert!(!found.is_empty(), "no release is recorded");
    found
}

/// Addresses of peers in the recording and what they are now: `127.0.0.1:41234`.
pub(crate) type Addresses = [(String, String)];

pub(crate) struct Pair {
    pub(crate) name: String,
    recorded: Value,
}

impl Pair {
    pub(crate) fn read(release: &Path, name: &str) -> Self {
        let text = fs::read_to_string(release.join(format!("pairs/{name}.json"))).unwrap();
        Self { name: name.to_owned(), recorded: serde_json::from_str(&text).unwrap() }
    }

    /// When it was recorded, seconds since the epoch.
    pub(crate) fn taken_at(&self) -> f64 {
        self.recorded["taken_at"].as_f64().unwrap()
    }

    /// The answers of the release about its content.
    pub(crate) fn expected(&self) -> &Value {
        &self.recorded["expected"]
    }

    /// The private key before the rotation.
    pub(crate) fn replaced_key(&self) -> &str {
        self.recorded["replaced_key"].as_str().unwrap()
    }

    /// The recovery words of its key.
    pub(crate) fn words(&self) -> &str {
        self.recorded["words"].as_str().unwrap()
    }

    /// A text in its state directory.
    pub(crate) fn state_text(&self, name: &str) -> &str {
        self.recorded["state"][name]["text"].as_str().unwrap()
    }

    /// The address that its list of peers has for this instance.
    pub(crate) fn address_of(&self, peer: &str) -> String {
        let peers = self.recorded["peers"].as_object().unwrap();
        peers.iter().find(|(_, name)| *name == peer).map(|(address, _)| address.clone()).unwrap()
    }

    /// The content of its Redis, as commands.
    pub(crate) fn redis(&self) -> Vec<Vec<String>> {
        let commands = self.recorded["redis"].as_array().unwrap().iter();
        commands
            .map(|words| words.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect())
            .collect()
    }

    /// Both directories, with the inode of the new data directory in the journal: as if they had never been moved.
    pub(crate) fn unpack(&self, at: f64, addresses: &Addresses) -> Place {
        let place = self.copy(at, addresses);
        keep_the_directory(&place);
        place
    }

    /// Both directories, as a copy or a restore makes them. Services there start at the time `at`.
    pub(crate) fn copy(&self, at: f64, addresses: &Addresses) -> Place {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let mut place = Place::new()
            .set("LD_PRELOAD", faketime::library().to_str().unwrap())
            .set("FAKETIME", &format!("{:+.3}", at - now))
            .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .set("NO_FAKE_STAT", "1");
        for (name, value) in self.recorded["variables"].as_object().unwrap() {
            place = place.set(name, value.as_str().unwrap());
        }
        for (name, file) in self.recorded["data"].as_object().unwrap() {
            let path = place.lattice().join(name);
            fs::write(&path, file["text"].as_str().unwrap()).unwrap();
            let modified = UNIX_EPOCH + Duration::from_nanos(file["mtime_ns"].as_u64().unwrap());
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        let state = place.path("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        for (name, file) in self.recorded["state"].as_object().unwrap() {
            let content = match file["text"].as_str() {
                // The logs contain addresses too, but are hash chains.
                Some(text) if name == "peers.json" => {
                    addresses.iter().fold(text.to_owned(), |text, (then, now)| text.replace(then, now)).into()
                }
                Some(text) => text.as_bytes().to_vec(),
                None => zstd::decode_all(&*STANDARD.decode(file["zstd"].as_str().unwrap()).unwrap()).unwrap(),
            };
            let path = state.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        place
    }
}

/// Writes the inode of the data directory into the journal, by which 0.1.0 identifies it.
pub(crate) fn keep_the_directory(place: &Place) {
    const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
    let inode = fs::metadata(place.lattice()).unwrap().ino().to_string();
    let database = Database::open(place.path("state/lattice.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        // Absent in releases that use a marker file.
        if meta.get("directory").unwrap().is_some() {
            let _before = meta.insert("directory", inode.as_str()).unwrap();
        }
    }
    transaction.commit().unwrap();
}
