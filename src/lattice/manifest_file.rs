//! `manifest.json` in the data directory: written for the seeds' services, unless there is a foreign file of that name (DESIGN 4.8).

use super::{Entry, atomic_file, file_name, index::Snapshot, reader::FileStamp};
use crate::types::{Timestamp, is_lower_hex};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
};

/// What `manifest.json` says of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHeader {
    /// The instance's id.
    pub node_id: String,
    /// The instance's type.
    pub instance_type: String,
}

/// What people are told of a file of that name that is not ours.
pub(super) const FOREIGN: &str = "manifest.json in the data directory was not written by this service and is left as it is; to write none, \
     set lattice.write_manifest = false; to have it written, move that file away";

/// The longest header, bytes.
const MAX_HEADER_BYTES: u64 = 64 << 10;
/// The longest line of a node, bytes: a node's `type` may be long.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Whose `manifest.json` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// There is none.
    Nobody,
    /// It is as it was written, by this process or another one of ours.
    Ours,
    /// It is another program's or a person's.
    Foreign,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManifestWritten {
    /// It is there, durably.
    Written,
    /// There is a foreign file, which is left as it is.
    Foreign,
}

/// `manifest.json` of a data directory.
#[derive(Debug, Default)]
pub(super) struct ManifestFile {
    /// The file that was looked at last, and whose it is.
    known: Option<(FileStamp, Owner)>,
    /// The size of what was written last.
    pub(super) bytes: u64,
}

impl ManifestFile {
    /// Writes the manifest of this set, durably, one node at a time, unless there is a foreign file of that name.
    ///
    /// # Errors
    /// Those of the file system; the file that was there stays then.
    pub(super) fn write(
        &mut self,
        directory: &Path,
        header: &ManifestHeader,
        set: &Snapshot,
        now: Timestamp,
    ) -> io::Result<ManifestWritten> {
        let path = directory.join(file_name::MANIFEST);
        if self.owner(&path)? == Owner::Foreign {
            return Ok(ManifestWritten::Foreign);
        }
        let temp = atomic_file::filled(directory, 0o644, |file| {
            let mut out = BufWriter::with_capacity(64 << 10, file);
            stream(&mut out, header, set, now)?;
            out.flush()
        })?;
        // Writing it took a while.
        let placed = match self.owner(&path)? {
            Owner::Foreign => return Ok(ManifestWritten::Foreign),
            Owner::Ours => temp.rename(&path),
            Owner::Nobody => temp.rename_new(&path),
        };
        match placed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(ManifestWritten::Foreign),
            placed => placed?,
        }
        let metadata = path.symlink_metadata()?;
        self.known = Some((FileStamp::of(&metadata), Owner::Ours));
        atomic_file::sync_directory(directory)?;
        self.bytes = metadata.len();
        Ok(ManifestWritten::Written)
    }

    fn owner(&mut self, path: &Path) -> io::Result<Owner> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Owner::Nobody),
            Err(error) => return Err(error),
        };
        let stamp = FileStamp::of(&metadata);
        if let Some((_, owner)) = self.known.filter(|(known, _)| *known == stamp) {
            return Ok(owner);
        }
        // What cannot be read is not known to be ours.
        let is_ours =
            metadata.is_file() && File::open(path).and_then(|file| is_generated(BufReader::new(file))).unwrap_or(false);
        let owner = if is_ours { Owner::Ours } else { Owner::Foreign };
        self.known = Some((stamp, owner));
        Ok(owner)
    }
}

/// Is there a `manifest.json` in the directory that is not ours?
pub(super) fn is_foreign(directory: &Path) -> bool {
    ManifestFile::default().owner(&directory.join(file_name::MANIFEST)).is_ok_and(|owner| owner == Owner::Foreign)
}

/// Is this exactly what [`stream`] writes, of any instance and at any time? Release 0.1.0 wrote the same.
fn is_generated(mut text: impl BufRead) -> io::Result<bool> {
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>, most| {
        line.clear();
        text.by_ref().take(most).read_until(b'\n', line)
    };
    next(&mut line, MAX_HEADER_BYTES)?;
    let Some(count) = read_header(&line) else { return Ok(false) };
    for number in 1..=count {
        next(&mut line, MAX_LINE_BYTES)?;
        let end: &[u8] = if number == count { b"\n" } else { b",\n" };
        if read_node(&line).is_none_or(|rest| rest != end) {
            return Ok(false);
        }
    }
    next(&mut line, MAX_HEADER_BYTES)?;
    let is_end = line == b"]}\n";
    Ok(is_end && next(&mut line, 1)? == 0)
}

/// The number of nodes that a header announces.
fn read_header(line: &[u8]) -> Option<u64> {
    let rest = read_text(line.strip_prefix(b"{\"node_id\": ")?)?;
    let rest = read_text(rest.strip_prefix(b", \"instance_type\": ")?)?;
    let rest = read_number(rest.strip_prefix(b", \"version\": \"1.0.0\", \"last_updated\": ")?)?;
    let rest = read_hash(rest.strip_prefix(b", \"manifest_hash\": ")?)?;
    let count = rest.strip_prefix(b", \"count\": ")?.strip_suffix(b", \"nodes\": [\n")?;
    std::str::from_utf8(count).ok()?.parse().ok()
}

/// What follows a node.
fn read_node(line: &[u8]) -> Option<&[u8]> {
    let rest = read_text(line.strip_prefix(b"{\"id\": ")?)?;
    let rest = match rest.strip_prefix(b", \"type\": ") {
        Some(rest) => read_text(rest)?,
        None => rest,
    };
    let rest = read_hash(rest.strip_prefix(b", \"hash\": ")?)?;
    read_number(rest.strip_prefix(b", \"updated_at\": ")?)?.strip_prefix(b"}")
}

/// What follows a JSON string, as it is written here.
fn read_text(bytes: &[u8]) -> Option<&[u8]> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<String>();
    let value = values.next()?.ok()?;
    let (written, rest) = bytes.split_at_checked(values.byte_offset())?;
    (text(&value).to_string().as_bytes() == written).then_some(rest)
}

/// What follows a hash.
fn read_hash(bytes: &[u8]) -> Option<&[u8]> {
    let (digits, rest) = bytes.strip_prefix(b"\"sha256:")?.split_at_checked(64)?;
    rest.strip_prefix(b"\"").filter(|_| is_lower_hex(digits))
}

/// What follows a number of seconds.
fn read_number(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-'))?;
    let (number, rest) = bytes.split_at_checked(end)?;
    let number = std::str::from_utf8(number).ok()?;
    let written = Timestamp::from_seconds_text(number).filter(|_| !number.is_empty())?.to_seconds_text();
    (written == number).then_some(rest)
}

fn stream(out: &mut impl Write, header: &ManifestHeader, set: &Snapshot, now: Timestamp) -> io::Result<()> {
    write!(
        out,
        "{{\"node_id\": {}, \"instance_type\": {}, \"version\": \"1.0.0\", \"last_updated\": {}, \"manifest_hash\": \"{}\", \
         \"count\": {}, \"nodes\": [",
        text(&header.node_id),
        text(&header.instance_type),
        now.to_seconds_text(),
        set.set_hash(),
        set.len()
    )?;
    for (number, entry) in set.iter_after(None).enumerate() {
        out.write_all(if number == 0 { b"\n" } else { b",\n" })?;
        node(out, entry)?;
    }
    out.write_all(b"\n]}\n")
}

fn node(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    write!(out, "{{\"id\": {}", text(entry.id.as_str()))?;
    if let Some(node_type) = &entry.node_type {
        write!(out, ", \"type\": {}", text(node_type))?;
    }
    write!(out, ", \"hash\": \"{}\", \"updated_at\": {}}}", entry.content_hash, entry.updated_at.to_seconds_text())
}

fn text(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{index::tests::entry, offline::write_file},
        *,
    };

    #[test]
    fn the_file_is_json_with_the_seeds_fields() {
        let directory = tempfile::tempdir().unwrap();
        let header = ManifestHeader { node_id: "a \"quoted\" one".to_owned(), instance_type: "laptop".to_owned() };
        let set = Snapshot::of([entry("x\\y", "22"), entry("z", "1")]);
        let written = ManifestFile::default().write(directory.path(), &header, &set, Timestamp::from_micros(1_500_000));
        assert_eq!(written.unwrap(), ManifestWritten::Written);
        let bytes = std::fs::read(directory.path().join("manifest.json")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["node_id"], "a \"quoted\" one");
        assert_eq!(value["version"], "1.0.0");
        assert_eq!(value["last_updated"], 1.5);
        assert_eq!(value["manifest_hash"], set.set_hash().to_string());
        assert_eq!(value["count"], 2);
        let nodes = value["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["id"] == "x\\y").unwrap();
        assert_eq!((&node["type"], &node["updated_at"]), (&"even".into(), &2.into()));
        assert_eq!(node["hash"], set.get("x\\y").unwrap().content_hash.to_string());
    }

    /// As release 0.1.0 wrote it.
    const OLD: &str = concat!(
        r#"{"node_id": "an \"old\" é", "instance_type": "laptop", "version": "1.0.0", "last_updated": 1763696494.25, "#,
        r#""manifest_hash": "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "count": 2, "nodes": ["#,
        "\n",
        r#"{"id": "a\\b", "type": "note", "hash": "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "updated_at": -1.5},"#,
        "\n",
        r#"{"id": "b", "hash": "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "updated_at": 0}"#,
        "\n]}\n"
    );

    fn set() -> std::sync::Arc<Snapshot> {
        Snapshot::of([entry("x\\y", "22"), entry("z", "1")])
    }

    fn header() -> ManifestHeader {
        ManifestHeader { node_id: "me".to_owned(), instance_type: "laptop".to_owned() }
    }

    fn write(file: &mut ManifestFile, directory: &Path) -> ManifestWritten {
        file.write(directory, &header(), &set(), Timestamp::from_micros(1_500_000)).unwrap()
    }

    #[test]
    fn what_a_service_of_ours_wrote_is_replaced_also_by_another_instance() {
        for there in [None, Some(OLD)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("manifest.json");
            if let Some(text) = there {
                write_file(&path, text.as_bytes()).unwrap();
                assert!(!is_foreign(folder.path()));
            }
            for _ in 0..2 {
                let mut file = ManifestFile::default();
                for _ in 0..2 {
                    assert_eq!(write(&mut file, folder.path()), ManifestWritten::Written);
                    assert!(std::fs::read_to_string(&path).unwrap().contains("\"me\""));
                }
            }
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut file = ManifestFile::default();
        let empty = Snapshot::of([]);
        file.write(folder.path(), &header(), &empty, Timestamp::EPOCH).unwrap();
        assert!(!is_foreign(folder.path()), "no node is no other shape");
    }

    #[test]
    fn a_foreign_file_keeps_its_bytes() {
        let with = |from: &str, to: &str| {
            assert!(OLD.contains(from), "{from}");
            OLD.replacen(from, to, 1)
        };
        for text in [
            String::new(),
            "{}".to_owned(),
            r#"{"name":"My PWA","short_name":"PWA","start_url":"/","icons":[]}"#.to_owned(),
            with("\n", "\r\n"),
            with("{\"node_id\"", " {\"node_id\""),
            with("\"version\": \"1.0.0\"", "\"version\": \"1.0.1\""),
            with("\"count\": 2", "\"count\": 3"),
            with("\"count\": 2", "\"count\": 1"),
            with("\"count\": 2", "\"mine\": 1, \"count\": 2"),
            with("\"id\": \"b\"", "\"id\": \"\\u0062\""),
            with("\"updated_at\": 0}", "\"updated_at\": 0, \"note\": \"mine\"}"),
            with("\"updated_at\": 0}", "\"updated_at\": 0.0}"),
            with("]}\n", "]}"),
            with("]}\n", "]}\n\n"),
            OLD.get(..OLD.len() / 2).unwrap().to_owned(),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("manifest.json");
            write_file(&path, text.as_bytes()).unwrap();
            let mut file = ManifestFile::default();
            for _ in 0..2 {
                assert_eq!(write(&mut file, folder.path()), ManifestWritten::Foreign, "{text}");
            }
            assert!(is_foreign(folder.path()));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
            // Out of the way, it is written again.
            std::fs::remove_file(&path).unwrap();
            assert_eq!(write(&mut file, folder.path()), ManifestWritten::Written);
        }
    }

    #[test]
    fn a_file_that_somebody_put_there_meanwhile_keeps_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let mut file = ManifestFile::default();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Written);
        write_file(&path, b"{\"mine\": 1}").unwrap();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Foreign);
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"mine\": 1}");
        // Also through the same file: edited in place.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Written);
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"mine\n").unwrap();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Foreign);
    }

    #[test]
    fn links_directories_and_what_cannot_be_read_are_left_alone() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        write_file(&target, OLD.as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        symlink(&target, &path).unwrap();
        let mut file = ManifestFile::default();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Foreign);
        assert_eq!(
            (std::fs::read_link(&path).unwrap(), std::fs::read(&target).unwrap()),
            (target, OLD.as_bytes().to_vec())
        );
        std::fs::remove_file(&path).unwrap();
        symlink(elsewhere.path().join("nowhere"), &path).unwrap();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Foreign);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(write(&mut file, folder.path()), ManifestWritten::Foreign);
        std::fs::remove_dir(&path).unwrap();
        write_file(&path, OLD.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser reads it all the same.
        let readable = File::open(&path).is_ok();
        assert_eq!(write(&mut file, folder.path()) == ManifestWritten::Written, readable);
    }
}
