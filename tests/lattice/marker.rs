//! The data directory is known by its marker (DESIGN 4.8), and files that break delete nothing.

use crate::bed::{Bed, DEADLINE, arrival, has, id, node, put, until};
use ark_lattice::lattice::{
    Ancestry, Applied, Arrival, Arrived, DeletionBudget, Lattice, LatticeError, Written,
    directory::{DirectoryOptions, OpenError, adopt},
};
use ark_lattice::types::Timestamp;
use std::{fs, io::Write as _, sync::Arc, time::Duration};

#[tokio::test]
async fn an_empty_directory_in_its_place_deletes_nothing_at_start_and_while_it_runs() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    fs::rename(bed.path("data"), bed.path("disk")).unwrap();
    fs::create_dir(bed.path("data")).unwrap();
    until("the service is degraded", DEADLINE, || lattice.status().fault.is_some()).await;
    lattice.rescan().await.unwrap_err();
    assert!(lattice.status().fault.unwrap().contains("mounted"));
    assert_eq!((lattice.status().nodes, lattice.status().tombstones), (1, 0));
    lattice.put(node(r#"{"id":"b"}"#), Default::default()).await.unwrap_err();
    lattice.close().await;
    assert!(matches!(bed.try_open(), Err(OpenError::NoMarker { .. })), "nor at a start");
    fs::remove_dir(bed.path("data")).unwrap();
    fs::rename(bed.path("disk"), bed.path("data")).unwrap();
    let lattice = bed.open().await;
    assert_eq!((has(&lattice, "a"), lattice.status().tombstones), (true, 0));
}

#[tokio::test]
async fn an_older_copy_that_takes_its_place_while_the_service_runs_is_read_as_at_a_start() {
    for replace in
        ["mv data old; sleep 1.3; mv backup data", "mv data old; mv backup data", "rm -rf data; cp -a backup data"]
    {
        let bed = Bed::new();
        bed.write("a.json", r#"{"id":"a","v":1}"#);
        bed.age_files();
        let lattice = bed.open().await;
        let shell = |command: &str| {
            let done = std::process::Command::new("sh").args(["-c", command]).current_dir(bed.path("")).status();
            assert!(done.unwrap().success(), "{command}");
        };
        let first = lattice.entry(&id("a")).unwrap().unwrap().updated_at;
        shell("cp -a data backup; touch -d '-50 seconds' backup");
        put(&lattice, node(r#"{"id":"a","v":2}"#)).await;
        put(&lattice, node(r#"{"id":"new"}"#)).await;
        let newer = lattice.entry(&id("a")).unwrap().unwrap();
        shell(replace);
        let entry = || lattice.entry(&id("a")).ok().flatten().map(|entry| entry.updated_at);
        until("what is there now is known", DEADLINE, || entry() == Some(first)).await;
        assert_eq!((has(&lattice, "new"), lattice.status().tombstones), (false, 0), "{replace}");
        assert!(lattice.status().fault.is_none() && lattice.status().ready);
        // A peer's newer version counts, and edits are seen in the directory that is there now.
        let applied = lattice.apply(vec![arrival(r#"{"id":"a","v":2}"#, newer.updated_at)]).await.unwrap();
        assert!(matches!(applied[..], [Applied::Taken(_)]), "{applied:?}");
        bed.write("later.json", r#"{"id":"later"}"#);
        until("an edit is seen", DEADLINE, || has(&lattice, "later")).await;
        bed.check(&lattice);
    }
}

#[tokio::test]
async fn a_marker_that_is_overwritten_in_its_place_deletes_nothing() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    let marker = fs::read_to_string(bed.data(".ark-lattice")).unwrap();
    let other = r#"{"lattice":"00000000000000000000000000000000","layout":"flat"}"#;
    for (text, reason) in [(other, "another lattice"), ("", "cannot be used")] {
        bed.write(".ark-lattice", text);
        fs::remove_file(bed.data("a.json")).unwrap();
        until("the service is degraded", DEADLINE, || lattice.status().fault.is_some_and(|it| it.contains(reason)))
            .await;
        lattice.rescan().await.unwrap_err();
        assert_eq!((lattice.status().nodes, lattice.status().tombstones), (1, 0));
        bed.write("a.json", r#"{"id":"a"}"#);
        bed.write(".ark-lattice", &marker);
        until("the service is well again", DEADLINE, || lattice.status().fault.is_none()).await;
    }
    assert!(has(&lattice, "a"));
}

#[tokio::test]
async fn a_copied_pair_of_directories_starts_with_its_deletions_and_conflicts() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a","v":1}"#)).await;
    put(&lattice, node(r#"{"id":"b"}"#)).await;
    lattice.delete(&id("b"), Default::default()).await.unwrap();
    let later = Timestamp::from_micros(lattice.entry(&id("a")).unwrap().unwrap().updated_at.micros() + 5);
    lattice.apply(vec![arrival(r#"{"id":"a","v":2}"#, later)]).await.unwrap();
    lattice.close().await;
    fs::create_dir(bed.path("copy")).unwrap();
    for part in ["data", "state"] {
        let copied = std::process::Command::new("cp").arg("-a").args([bed.path(part), bed.path("copy")]).status();
        assert!(copied.unwrap().success());
    }
    let options = DirectoryOptions {
        directory: bed.path("copy/data"),
        journal: bed.path("copy/state/lattice.redb"),
        ..bed.options()
    };
    let copy = ark_lattice::lattice::directory::DirectoryLattice::open(options).unwrap();
    until("the index is built", DEADLINE, || copy.status().ready).await;
    assert_eq!((copy.status().nodes, copy.status().tombstones, copy.conflict_count().unwrap()), (1, 1, 1));
}

#[tokio::test]
async fn an_adopted_directory_loses_no_node_for_good() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    put(&lattice, node(r#"{"id":"b"}"#)).await;
    lattice.close().await;
    // Restored by a program that leaves hidden files out, and one file with them.
    fs::remove_file(bed.data(".ark-lattice")).unwrap();
    fs::remove_file(bed.data("b.json")).unwrap();
    assert!(matches!(bed.try_open(), Err(OpenError::NoMarker { .. })));
    assert_eq!(adopt(&bed.path("data"), &bed.journal()).unwrap().known_nodes, 2);
    let lattice = bed.open().await;
    assert_eq!((has(&lattice, "a"), has(&lattice, "b"), lattice.status().tombstones), (true, false, 0));
    lattice.close().await;
    fs::remove_file(bed.data("a.json")).unwrap();
    let lattice = bed.open().await;
    assert_eq!(lattice.status().tombstones, 1, "from the second start on, missing is deleted");
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_version_and_only_its_content_cannot_be_had() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a","v":1}"#)).await;
    put(&lattice, node(r#"{"id":"b"}"#)).await;
    let (set, seq) = (lattice.snapshot().unwrap().set_hash(), lattice.status().seq);
    bed.write("a.json", r#"{"id":"a","v":"#);
    until("the file is broken", DEADLINE, || lattice.is_unavailable(&id("a"))).await;
    assert_eq!((lattice.snapshot().unwrap().set_hash(), lattice.status().nodes), (set, 2));
    assert!(matches!(lattice.read(&id("a")).await, Err(LatticeError::Unavailable(_))));
    let both = lattice.entries(&[&id("a"), &id("b")]).unwrap().into_iter().flatten().collect();
    assert_eq!(lattice.read_many(both).await.unwrap().len(), 1, "the other one is read all the same");
    lattice.close().await;
    let lattice = bed.open().await;
    assert!(lattice.is_unavailable(&id("a")), "also after a start");
    assert_eq!(lattice.snapshot().unwrap().set_hash(), set);
    bed.write("a.json", r#"{"id":"a","v":1}"#);
    until("it is repaired", DEADLINE, || !lattice.is_unavailable(&id("a"))).await;
    assert_eq!(lattice.snapshot().unwrap().set_hash(), set);
    assert!(lattice.entry(&id("a")).unwrap().unwrap().seq > seq, "its content can be had again: peers are told");
}

#[tokio::test]
async fn a_deletion_from_elsewhere_keeps_the_bytes_of_a_broken_file_and_its_edit_counts_once_it_is_whole() {
    for deleted_later in [false, true] {
        let bed = Bed::new();
        let lattice = bed.open().await;
        put(&lattice, node(r#"{"id":"a","v":1}"#)).await;
        put(&lattice, node(r#"{"id":"b"}"#)).await;
        let mut editor = fs::File::create(bed.data("a.json")).unwrap();
        editor.write_all(br#"{"id":"a","v":"#).unwrap();
        until("the file is broken", DEADLINE, || lattice.is_unavailable(&id("a"))).await;
        let ahead = Duration::from_secs(if deleted_later { 60 } else { 0 });
        let at = Timestamp::from_system_time(std::time::SystemTime::now()).plus(ahead);
        let gone = || Arrival {
            change: Arrived::Deleted { id: id("a"), at, content_hash: node(r#"{"id":"a","v":1}"#).content_hash() },
            ancestry: Ancestry::default(),
            from: "peer".into(),
            given: 0,
        };
        // Where the guard lets nothing through it waits like any other.
        let none = Arc::new(DeletionBudget::new(0, false));
        assert_eq!(lattice.apply_within(vec![gone()], &none).await.unwrap(), [Applied::Waiting]);
        assert!(lattice.is_unavailable(&id("a")));
        let applied = lattice.apply(vec![gone()]).await.unwrap();
        assert!(matches!(applied[..], [Applied::Taken(Some(_))]), "the acknowledged version is kept: {applied:?}");
        let lost = lattice.conflicts(0, 9).unwrap().remove(0);
        assert_eq!(lattice.conflict(lost.number).unwrap().unwrap().1, r#"{"id":"a","v":1}"#);
        let status = lattice.status();
        assert_eq!((status.nodes, status.tombstones, status.broken_total), (1, 1, 0));
        assert!(lattice.unavailable().is_empty() && !bed.data("a.json").exists());
        assert_eq!(fs::read(bed.data(".a.json.broken")).unwrap(), br#"{"id":"a","v":"#);
        bed.check(&lattice);
        editor.write_all(br#""edited"}"#).unwrap();
        if deleted_later {
            until("the edit is kept", DEADLINE, || lattice.conflicts(0, 9).unwrap().len() == 2).await;
        } else {
            until("the edit counts", DEADLINE, || has(&lattice, "a")).await;
        }
        assert_eq!(has(&lattice, "a"), !deleted_later);
        lattice.close().await;
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_so_that_it_does_not_fit_its_id_is_broken_and_not_deleted() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    fs::rename(bed.data("a.json"), bed.data("renamed.json")).unwrap();
    until("the file is broken", DEADLINE, || lattice.is_unavailable(&id("a"))).await;
    assert_eq!((lattice.status().nodes, lattice.status().tombstones), (1, 0));
    lattice.rescan().await.unwrap();
    lattice.close().await;
    let lattice = bed.open().await;
    assert_eq!((lattice.status().nodes, lattice.status().tombstones), (1, 0), "nor at a start");
    // With an id that fits, it was renamed on purpose.
    bed.write("renamed.json", r#"{"id":"renamed"}"#);
    until("the old node is deleted", DEADLINE, || lattice.status().tombstones == 1).await;
    assert!(has(&lattice, "renamed") && !has(&lattice, "a") && lattice.unavailable().is_empty());
}

#[tokio::test]
async fn a_copy_under_another_name_does_not_keep_its_node_from_being_deleted() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    fs::copy(bed.data("a.json"), bed.data("backup.json")).unwrap();
    until("the copy is reported", DEADLINE, || lattice.status().broken_total == 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    fs::remove_file(bed.data("a.json")).unwrap();
    until("the node is deleted", DEADLINE, || lattice.status().tombstones == 1).await;
}

#[tokio::test]
async fn an_edit_that_was_half_written_when_it_was_replaced_counts_once_it_is_whole() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    for name in ["a", "b"] {
        put(&lattice, node(&format!(r#"{{"id":"{name}","v":1}}"#))).await;
        let mut editor = fs::File::create(bed.data(&format!("{name}.json"))).unwrap();
        editor.write_all(format!(r#"{{"id":"{name}","v":"#).as_bytes()).unwrap();
        until("the file is broken", DEADLINE, || lattice.is_unavailable(&id(name))).await;
        // Of b, the version that comes is later than the end of the edit.
        let ahead = Duration::from_secs(if name == "b" { 60 } else { 0 });
        let at = Timestamp::from_system_time(std::time::SystemTime::now()).plus(ahead);
        let applied = lattice.apply(vec![arrival(&format!(r#"{{"id":"{name}","v":"peer"}}"#), at)]).await.unwrap();
        assert!(matches!(applied[..], [Applied::Taken(_)]), "{applied:?}");
        editor.write_all(br#""edited"}"#).unwrap();
    }
    let content = |name: &str| fs::read_to_string(bed.data(&format!("{name}.json"))).unwrap();
    let kept = |count| lattice.conflicts(0, 9).unwrap().len() == count;
    // Beside the two versions of before, of which the peer knew nothing.
    until("both edits are seen", DEADLINE, || kept(4)).await;
    until("the later one counts", DEADLINE, || content("a") == r#"{"id":"a","v":"edited"}"#).await;
    assert_eq!(content("b"), r#"{"id":"b","v":"peer"}"#);
    let of = |name: &str| lattice.conflicts(0, 9).unwrap().into_iter().rfind(|it| it.id == id(name)).unwrap();
    assert_eq!(of("a").lost.content, Some(node(r#"{"id":"a","v":"peer"}"#).content_hash()));
    assert_eq!(of("b").lost.content, Some(node(r#"{"id":"b","v":"edited"}"#).content_hash()));
    bed.check(&lattice);
    // Both are known: a start takes neither again.
    lattice.close().await;
    let lattice = bed.open().await;
    let again = put(&lattice, node(r#"{"id":"a","v":"later"}"#)).await;
    assert!(matches!(again, Written::Replaced(_)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((lattice.conflicts(0, 9).unwrap().len(), content("a").as_str()), (4, r#"{"id":"a","v":"later"}"#));
}

#[tokio::test]
async fn what_is_written_into_a_file_that_was_replaced_or_removed_meanwhile_is_an_edit() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    let open = |name: &str| fs::OpenOptions::new().write(true).open(bed.data(&format!("{name}.json"))).unwrap();
    let now = || Timestamp::from_system_time(std::time::SystemTime::now());
    for name in ["a", "b"] {
        put(&lattice, node(&format!(r#"{{"id":"{name}","v":"first"}}"#))).await;
    }
    let (mut of_a, mut of_b) = (open("a"), open("b"));
    let content_hash = node(r#"{"id":"b","v":"first"}"#).content_hash();
    let gone = Arrived::Deleted { id: id("b"), at: now(), content_hash };
    let gone = Arrival { change: gone, ancestry: Ancestry::default(), from: "peer".into(), given: u64::MAX };
    lattice.apply(vec![arrival(r#"{"id":"a","v":"peer"}"#, now()), gone]).await.unwrap();
    for (editor, name) in [(&mut of_a, "a"), (&mut of_b, "b")] {
        editor.write_all(format!(r#"{{"id":"{name}","v":"#).as_bytes()).unwrap();
        editor.set_len(14).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    for editor in [&mut of_a, &mut of_b] {
        editor.write_all(br#""late"}"#).unwrap();
    }
    let content = |name: &str| fs::read_to_string(bed.data(&format!("{name}.json"))).unwrap_or_default();
    for name in ["a", "b"] {
        let late = format!(r#"{{"id":"{name}","v":"late"}}"#);
        until("the edit counts", DEADLINE, || content(name) == late && has(&lattice, name)).await;
    }
    let lost = lattice.conflicts(0, 9).unwrap();
    assert!(lost.iter().any(|it| it.lost.content == Some(node(r#"{"id":"a","v":"peer"}"#).content_hash())), "{lost:?}");
    bed.check(&lattice);
}

#[tokio::test]
async fn an_edit_that_was_half_written_counts_also_where_the_service_was_restarted_meanwhile() {
    for while_down in [true, false] {
        let bed = Bed::new();
        let lattice = bed.open().await;
        put(&lattice, node(r#"{"id":"a","v":1}"#)).await;
        let mut editor = fs::File::create(bed.data("a.json")).unwrap();
        editor.write_all(br#"{"id":"a","v":"#).unwrap();
        until("the file is broken", DEADLINE, || lattice.is_unavailable(&id("a"))).await;
        let at = Timestamp::from_system_time(std::time::SystemTime::now());
        lattice.apply(vec![arrival(r#"{"id":"a","v":"peer"}"#, at)]).await.unwrap();
        lattice.close().await;
        if while_down {
            editor.write_all(br#""edited"}"#).unwrap();
        }
        let lattice = bed.open().await;
        editor.write_all(if while_down { b"" } else { br#""edited"}"# }).unwrap();
        let content = || fs::read_to_string(bed.data("a.json")).unwrap();
        until("the edit counts", DEADLINE, || content() == r#"{"id":"a","v":"edited"}"#).await;
        until("what it replaced is kept", DEADLINE, || lattice.conflicts(0, 9).unwrap().len() == 2).await;
    }
}

#[tokio::test]
async fn a_directory_in_the_place_of_a_file_is_broken_and_moved_aside_for_a_newer_version() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a","v":1}"#)).await;
    fs::remove_file(bed.data("a.json")).unwrap();
    fs::create_dir(bed.data("a.json")).unwrap();
    bed.write("a.json/inside", "kept");
    // One where there never was a file.
    fs::create_dir(bed.data("b.json")).unwrap();
    until("it is broken", DEADLINE, || lattice.is_unavailable(&id("a"))).await;
    lattice.rescan().await.unwrap();
    assert_eq!((lattice.status().nodes, lattice.status().tombstones, lattice.status().broken_total), (1, 0, 1));
    lattice.close().await;
    let lattice = bed.open().await;
    assert!(lattice.is_unavailable(&id("a")), "also after a start");
    let at = lattice.entry(&id("a")).unwrap().unwrap().updated_at.plus(Duration::from_secs(1));
    let arrivals = ["a", "b", "c"].map(|name| arrival(&format!(r#"{{"id":"{name}","v":2}}"#), at));
    let applied = lattice.apply(arrivals.into()).await.unwrap();
    assert!(applied.iter().all(|applied| matches!(applied, Applied::Taken(_))), "{applied:?}");
    assert_eq!(fs::read_to_string(bed.data(".a.json.broken/inside")).unwrap(), "kept");
    assert!(bed.data(".b.json.broken").is_dir() && lattice.unavailable().is_empty());
    assert_eq!(lattice.status().broken_total, 0);
    bed.check(&lattice);
}

#[tokio::test]
async fn a_version_that_comes_while_an_editor_has_moved_the_file_aside_is_not_judged_against_a_deletion() {
    let bed = Bed::new();
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a","v":1}"#)).await;
    let at = lattice.entry(&id("a")).unwrap().unwrap().updated_at.plus(Duration::from_micros(1));
    fs::rename(bed.data("a.json"), bed.data("a.json~")).unwrap();
    let arrival = arrival(r#"{"id":"a","v":2}"#, at);
    let applying = tokio::spawn({
        let lattice = std::sync::Arc::clone(&lattice);
        async move { lattice.apply(vec![arrival]).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    fs::rename(bed.data("a.json~"), bed.data("a.json")).unwrap();
    assert!(matches!(applying.await.unwrap().unwrap()[..], [Applied::Taken(_)]));
    assert_eq!(lattice.status().tombstones, 0);
}
