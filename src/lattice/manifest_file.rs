//! `manifest.json` in the data directory: ours to write for the seeds' services, never read (DESIGN 4.8).

use super::{Entry, atomic_file, file_name, index::Snapshot};
use crate::types::Timestamp;
use std::{
    io::{self, BufWriter, Write},
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

/// Writes the manifest of this set, durably, one node at a time.
///
/// # Errors
/// Those of the file system; the file that was there stays then.
pub(super) fn write(directory: &Path, header: &ManifestHeader, set: &Snapshot, now: Timestamp) -> io::Result<()> {
    atomic_file::replace(&directory.join(file_name::MANIFEST), 0o644, |file| {
        let mut out = BufWriter::with_capacity(64 << 10, file);
        stream(&mut out, header, set, now)?;
        out.flush()
    })
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
    use super::{super::index::tests::entry, *};

    #[test]
    fn the_file_is_json_with_the_seeds_fields() {
        let directory = tempfile::tempdir().unwrap();
        let header = ManifestHeader { node_id: "a \"quoted\" one".to_owned(), instance_type: "laptop".to_owned() };
        let set = Snapshot::of([entry("x\\y", "22"), entry("z", "1")]);
        write(directory.path(), &header, &set, Timestamp::from_micros(1_500_000)).unwrap();
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
}
