//! What may lie in the directory, and under which names.

use crate::bed::{Bed, DEADLINE, has, id, node, numbered, put, until};
use ark_lattice::lattice::directory::DirectoryOptions;
use ark_lattice::{
    lattice::{
        Lattice, NodeFilter,
        directory::{CaseSensitivity, ManifestHeader, OpenError},
    },
    types::Limits,
};
use std::{fs, os::unix::fs::symlink, process::Command};

#[tokio::test]
async fn odd_ids_are_stored_inside_the_directory_and_read_back() {
    let bed = Bed::new();
    let long = "é".repeat(256);
    let ids = ["a/b", "..", "../../x", "manifest", ".hidden", &long, "a b", "a~b", "%61", "ü:ber", "CON", "x\\y"];
    let lattice = bed.open().await;
    for text in ids {
        put(&lattice, numbered(text, 1)).await;
    }
    drop(lattice);
    let outside = fs::read_dir(bed.path("")).unwrap().count();
    assert_eq!(outside, 2, "data and state, nothing beside them");
    let lattice = bed.open().await;
    assert_eq!(lattice.status().nodes, ids.len());
    assert_eq!(lattice.status().broken_total, 0);
    for text in ids {
        let stored = lattice.read(&id(text)).await.unwrap().unwrap();
        assert_eq!(stored.entry.id.as_str(), text);
        assert!(lattice.delete(&id(text), Default::default()).await.unwrap().is_some());
    }
    assert_eq!(bed.names(), Vec::<String>::new());
    bed.check(&lattice);
}

#[tokio::test]
async fn what_is_no_node_is_reported_and_blocks_nothing() {
    let mut bed = Bed::new();
    bed.limits = Limits { node_bytes: 1000, ..Limits::default() };
    bed.write("good.json", r#"{"id":"good"}"#);
    bed.write("half.json", "{\n  \"id\": \"half\",\n");
    bed.write("other.json", r#"{"id":"another"}"#);
    bed.write("list.json", "[]");
    bed.write("huge.json", &format!(r#"{{"id":"huge","x":"{}"}}"#, "x".repeat(2000)));
    bed.write("twice.json", r#"{"id":"twice","id":"twice"}"#);
    symlink(bed.data("good.json"), bed.data("link.json")).unwrap();
    symlink("/etc/passwd", bed.data("passwd.json")).unwrap();
    assert!(Command::new("mkfifo").arg(bed.data("fifo.json")).status().unwrap().success());
    fs::create_dir(bed.data("folder.json")).unwrap();
    for ignored in ["manifest.json", ".dot.json", "note.txt", ".ark-T4194304-9.tmp"] {
        bed.write(ignored, "no node");
    }
    let lattice = bed.open().await;
    let status = lattice.status();
    assert_eq!(status.nodes, 1);
    let broken: Vec<_> = status.broken.iter().map(|it| it.file.as_str()).collect();
    let expected = ["fifo", "half", "huge", "link", "list", "other", "passwd", "twice"].map(|it| format!("{it}.json"));
    assert_eq!(broken, expected);
    assert_eq!(status.broken_total, expected.len());
    let reason = |file: &str| status.broken.iter().find(|it| it.file == file).unwrap().reason.clone();
    assert!(reason("half.json").contains("line 3"), "{}", reason("half.json"));
    assert!(reason("other.json").contains("another.json"), "{}", reason("other.json"));
    assert!(reason("huge.json").contains("1000"), "{}", reason("huge.json"));
    assert!(!bed.data(".ark-T4194304-9.tmp").exists(), "what a killed process left is removed");
    assert!(bed.data(".dot.json").exists());
}

#[tokio::test]
async fn at_most_a_hundred_broken_files_are_listed_and_all_are_counted() {
    let bed = Bed::new();
    for number in 0..150 {
        bed.write(&format!("{number:03}.json"), "{");
    }
    let status = bed.open().await.status();
    assert_eq!((status.broken.len(), status.broken_total), (100, 150));
    assert_eq!(status.broken[99].file, "099.json");
}

#[tokio::test]
async fn ids_that_differ_by_case_do_not_overwrite_each_other() {
    let mut bed = Bed::new();
    bed.case = CaseSensitivity::Insensitive;
    let lattice = bed.open().await;
    let written = vec![numbered("Note", 1), numbered("note", 2), numbered("NOTE", 3)];
    lattice.put_many(written).await.unwrap();
    let names = bed.names();
    assert_eq!(names.len(), 3);
    let mut folded: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    folded.sort();
    folded.dedup();
    assert_eq!(folded.len(), 3, "{names:?}");
    assert!(names.contains(&"Note.json".to_owned()));
    drop(lattice);
    let lattice = bed.open().await;
    assert_eq!((lattice.status().nodes, lattice.status().broken_total), (3, 0));
    put(&lattice, numbered("note", 20)).await;
    assert_eq!(bed.names(), names, "a node stays in its file");
    assert_eq!(lattice.read(&id("Note")).await.unwrap().unwrap().bytes, r#"{"id":"Note","n":1}"#);
    assert!(lattice.delete(&id("note"), Default::default()).await.unwrap().is_some());
    assert!(has(&lattice, "Note") && has(&lattice, "NOTE"));
    bed.check(&lattice);
}

#[tokio::test]
async fn of_two_files_for_one_node_the_plain_name_wins_and_the_other_steps_in_when_it_goes() {
    let mut bed = Bed::new();
    bed.case = CaseSensitivity::Insensitive;
    let lattice = bed.open().await;
    put(&lattice, numbered("A", 1)).await;
    put(&lattice, numbered("a", 2)).await;
    lattice.close().await;
    fs::remove_file(bed.data("A.json")).unwrap();
    bed.write("a.json", r#"{"id":"a","n":3}"#);
    let lattice = bed.open().await;
    let status = lattice.status();
    assert_eq!((status.nodes, status.broken_total), (1, 1));
    assert!(status.broken[0].reason.contains("a.json"), "{}", status.broken[0].reason);
    assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes, r#"{"id":"a","n":3}"#);
    fs::remove_file(bed.data("a.json")).unwrap();
    until("the second file is the node's", DEADLINE, || lattice.status().broken_total == 0).await;
    assert_eq!(lattice.read(&id("a")).await.unwrap().unwrap().bytes, r#"{"id":"a","n":2}"#);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_file_that_breaks_keeps_its_last_good_version_without_its_content() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a","n":1}"#);
    let lattice = bed.open().await;
    let before = lattice.status().seq;
    bed.write("a.json", r#"{"id":"a","n":"#);
    lattice.rescan().await.unwrap();
    assert!(has(&lattice, "a") && lattice.is_unavailable(&id("a")));
    assert_eq!((lattice.status().broken_total, lattice.status().tombstones), (1, 0));
    assert_eq!(lattice.tombstone(&id("a")).unwrap(), None);
    bed.check(&lattice);
    drop(lattice);
    let lattice = bed.open().await;
    assert!(has(&lattice, "a") && lattice.is_unavailable(&id("a")));
    assert_eq!(lattice.status().tombstones, 0);
    bed.write("a.json", r#"{"id":"a","n":1}"#);
    lattice.rescan().await.unwrap();
    assert!(has(&lattice, "a") && !lattice.is_unavailable(&id("a")));
    assert!(lattice.status().seq > before, "who followed the journal meanwhile learns that it is back");
    assert_eq!(lattice.status().broken_total, 0);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_write_over_a_broken_file_keeps_its_bytes() {
    let bed = Bed::new();
    bed.write("a.json", "{ half an edit");
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    assert!(has(&lattice, "a"));
    assert_eq!(lattice.status().broken_total, 0);
    assert_eq!(fs::read_to_string(bed.data(".a.json.broken")).unwrap(), "{ half an edit");
    bed.check(&lattice);
}

#[tokio::test]
async fn the_manifest_is_written_at_the_start_and_at_the_end() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a","type":"note","updated_at":"2025-01-01T00:00:00Z"}"#);
    let header = ManifestHeader { node_id: "here".to_owned(), instance_type: "laptop".to_owned() };
    let options = ark_lattice::lattice::directory::DirectoryOptions { manifest: Some(header), ..bed.options() };
    let lattice = ark_lattice::lattice::directory::DirectoryLattice::open(options).unwrap();
    let manifest =
        || -> serde_json::Value { serde_json::from_slice(&fs::read(bed.data("manifest.json")).unwrap()).unwrap() };
    until("the manifest is written", DEADLINE, || bed.data("manifest.json").exists()).await;
    assert_eq!(manifest()["node_id"], "here");
    assert_eq!(manifest()["nodes"][0]["id"], "a");
    assert_eq!(manifest()["nodes"][0]["updated_at"], 1_735_689_600);
    assert_eq!(lattice.status().broken_total, 0);
    put(&lattice, numbered("b", 1)).await;
    lattice.close().await;
    assert_eq!(manifest()["count"], 2);
    assert_eq!(manifest()["manifest_hash"], bed.set_hash_of_files().to_string());
}

#[tokio::test]
async fn a_foreign_manifest_is_left_alone_from_the_start_and_when_it_comes_later() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a"}"#);
    let foreign = r#"{"id":"manifest"}"#;
    let open = || {
        let header = ManifestHeader { node_id: "here".to_owned(), instance_type: "laptop".to_owned() };
        let options = ark_lattice::lattice::directory::DirectoryOptions { manifest: Some(header), ..bed.options() };
        ark_lattice::lattice::directory::DirectoryLattice::open(options).unwrap()
    };
    let text = || fs::read_to_string(bed.data("manifest.json")).unwrap();
    bed.write("manifest.json", foreign);
    let lattice = open();
    until("it is noticed", DEADLINE, || lattice.status().foreign_manifest).await;
    assert_eq!((lattice.status().broken_total, lattice.status().fault), (0, None));
    fs::remove_file(bed.data("manifest.json")).unwrap();
    lattice.close().await;
    assert!(
        text().starts_with("{\"node_id\": \"here\"") && !lattice.status().foreign_manifest,
        "out of the way, it is written"
    );
    drop(lattice);

    let lattice = open();
    until("the index is built", DEADLINE, || lattice.status().ready).await;
    put(&lattice, numbered("b", 1)).await;
    bed.write("manifest.json", foreign);
    lattice.close().await;
    assert_eq!(text(), foreign);
    assert!(lattice.status().foreign_manifest);
}

#[tokio::test]
async fn pages_and_filters_work_on_the_port() {
    let bed = Bed::new();
    for (name, kind) in [("a", "note"), ("b", "task"), ("c", "note")] {
        bed.write(&format!("{name}.json"), &format!(r#"{{"id":"{name}","type":"{kind}"}}"#));
    }
    let lattice = bed.open().await;
    let notes = NodeFilter { node_type: Some("note".to_owned()), ..NodeFilter::default() };
    let page = lattice.page(None, &notes, 10).unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    let read = lattice.read_many(page.entries).await.unwrap();
    assert_eq!(read.iter().map(|it| it.entry.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
}

#[tokio::test]
async fn what_was_read_of_late_is_what_the_index_has_now() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a","text":"one"}"#);
    bed.write("b.json", r#"{"id":"b"}"#);
    let lattice = bed.open().await;
    let entries = || lattice.snapshot().unwrap().iter_after(None).cloned().collect::<Vec<_>>();
    let read = async |entries: &[_]| lattice.read_many(entries.to_vec()).await.map(|nodes| nodes[0].bytes.clone());
    let before = entries();
    for _ in 0..3 {
        assert_eq!(read(&before).await.unwrap(), fs::read(bed.data("a.json")).unwrap());
    }
    bed.write("a.json", r#"{"id":"a","text":"another"}"#);
    until("the edit shows", DEADLINE, || entries()[0].content_hash != before[0].content_hash).await;
    for asked in [&before, &entries(), &before] {
        assert_eq!(read(asked).await.unwrap(), fs::read(bed.data("a.json")).unwrap(), "not what it was before");
    }
    fs::rename(bed.path("data"), bed.path("away")).unwrap();
    until("the fault shows", DEADLINE, || lattice.status().fault.is_some()).await;
    read(&entries()).await.unwrap_err();
    fs::rename(bed.path("away"), bed.path("data")).unwrap();
    until("the fault is over", DEADLINE, || lattice.status().fault.is_none()).await;
    fs::remove_file(bed.data("a.json")).unwrap();
    until("the deletion shows", DEADLINE, || lattice.status().nodes == 1).await;
    assert_eq!(lattice.read_many(before).await.unwrap().len(), 1, "what is gone is not read from memory either");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_in_one_line() {
    let bed = Bed::new();
    let error = |options| ark_lattice::lattice::directory::DirectoryLattice::open(options).unwrap_err();
    let at =
        |name: &str| ark_lattice::lattice::directory::DirectoryOptions { directory: bed.path(name), ..bed.options() };
    assert!(matches!(error(at("nowhere")), OpenError::Missing(_)));
    fs::File::create(bed.path("file")).unwrap();
    assert!(matches!(error(at("file")), OpenError::NotADirectory(_)));
    bed.write("a.json", r#"{"id":"a"}"#);
    let held = bed.open().await;
    assert!(matches!(error(bed.options()), OpenError::JournalInUse(_)));
    let same = DirectoryOptions { journal: bed.path("other/lattice.redb"), ..bed.options() };
    assert!(matches!(error(same), OpenError::DirectoryInUse(_)), "also with a journal of its own");
    held.close().await;
    fs::create_dir(bed.path("another")).unwrap();
    let other = error(at("another"));
    assert!(matches!(other, OpenError::NoMarker { .. }), "{other}");
    assert!(other.to_string().contains("ark-lattice adopt"), "{other}");
    fs::File::create(bed.journal()).unwrap().set_len(0).unwrap();
    std::io::Write::write_all(&mut fs::File::create(bed.journal()).unwrap(), &[7; 10_000]).unwrap();
    let damaged = error(bed.options());
    assert!(matches!(damaged, OpenError::JournalDamaged(..)), "{damaged}");
    assert!(damaged.to_string().contains("mv ") && !damaged.to_string().contains('\n'), "{damaged}");
}
