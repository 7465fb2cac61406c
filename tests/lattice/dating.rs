//! When edits count as made: noticed late, found at start, brought back from backups with and without their mtimes (DESIGN 4.7).

use crate::bed::{Bed, DEADLINE, arrival, has, id, node, put, until};
use ark_lattice::{
    lattice::{Ancestry, Applied, Arrival, Arrived, Entry, Lattice, directory::DirectoryLattice},
    ops::{Fate, Offered, TakeOptions, take_versions},
    types::{Clock, Limits, Timestamp},
};
use std::{
    fs::{self, File, FileTimes},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn date(path: &Path, at: SystemTime) {
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(at)).unwrap();
}

fn stamp(at: SystemTime) -> Timestamp {
    Timestamp::from_micros(i64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap())
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

fn entry(lattice: &DirectoryLattice, name: &str) -> Arc<Entry> {
    lattice.entry(&id(name)).unwrap().unwrap()
}

#[tokio::test]
async fn an_edit_made_while_the_service_was_down_counts_from_its_mtime() {
    let bed = Bed::new();
    bed.write("plan.json", r#"{"id":"plan","v":1}"#);
    date(&bed.data("plan.json"), ago(100));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "plan").updated_at, stamp_of(&bed, "plan.json"));
    lattice.close().await;
    bed.write("plan.json", r#"{"id":"plan","v":2}"#);
    date(&bed.data("plan.json"), ago(50));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "plan").updated_at, stamp_of(&bed, "plan.json"));
    // Made at a peer since: it counts, although this instance came to know of its own edit later.
    let newer = stamp(ago(20));
    let applied = lattice.apply(vec![arrival(r#"{"id":"plan","v":3}"#, newer)]).await.unwrap();
    assert!(matches!(applied[..], [Applied::Taken(_)]), "{applied:?}");
    assert_eq!(stamp_of(&bed, "plan.json"), newer, "its file is dated like its version");
}

fn stamp_of(bed: &Bed, name: &str) -> Timestamp {
    stamp(bed.data(name).metadata().unwrap().modified().unwrap())
}

#[tokio::test]
async fn a_file_that_is_older_than_the_journal_steps_back_and_a_newer_version_replaces_it() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a","v":1}"#);
    date(&bed.data("a.json"), ago(300));
    let lattice = bed.open().await;
    let first = entry(&lattice, "a").updated_at;
    put(&lattice, node(r#"{"id":"a","v":2}"#)).await;
    let (second, before) = (entry(&lattice, "a").updated_at, lattice.status().seq);
    lattice.close().await;
    // The backup brings the file back with its mtime.
    bed.write("a.json", r#"{"id":"a","v":1}"#);
    date(&bed.data("a.json"), ago(300));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "a").updated_at, first, "the version that it is, with the time that it had");
    assert!(lattice.status().seq > before);
    let applied = lattice.apply(vec![arrival(r#"{"id":"a","v":2}"#, second)]).await.unwrap();
    assert!(matches!(applied[..], [Applied::Taken(_)]), "{applied:?}");
    assert_eq!(entry(&lattice, "a").updated_at, second);
    let kept = [lattice.conflicts(0, 9).unwrap(), lattice.overruled(0, 9).unwrap()].concat();
    assert_eq!(kept.len(), 1, "the file of the backup is kept: {kept:?}");
}

#[tokio::test]
async fn a_file_of_a_backup_whose_document_states_an_earlier_date_than_its_mtime_steps_back_too() {
    let (made, written) = (ago(500), ago(300));
    let text = format!(r#"{{"id":"a","v":1,"updated_at":"{}"}}"#, stamp(made).to_rfc3339());
    // What takes its place lies between the two: a later edit of somebody else, or a deletion, which is dated just after it.
    let edit = arrival(r#"{"id":"a","v":2}"#, stamp(ago(400)));
    let change = Arrived::Deleted { id: id("a"), at: stamp(ago(400)), content_hash: node(&text).content_hash() };
    let deletion = Arrival { change, ancestry: Ancestry::default(), from: "peer".into(), given: 0 };
    for arrived in [edit, deletion] {
        // With the whole mtime, and as programs bring it back that keep seconds.
        for keeps in [
            Duration::ZERO,
            Duration::from_nanos(u64::from(written.duration_since(UNIX_EPOCH).unwrap().subsec_nanos())),
        ] {
            let bed = Bed::new();
            bed.write("a.json", &text);
            bed.write("beside.json", r#"{"id":"beside"}"#);
            date(&bed.data("a.json"), written);
            let lattice = bed.open().await;
            assert_eq!(entry(&lattice, "a").updated_at, stamp(made));
            lattice.apply(vec![arrived.clone()]).await.unwrap();
            lattice.close().await;
            bed.write("a.json", &text);
            date(&bed.data("a.json"), written - keeps);
            let lattice = bed.open().await;
            assert_eq!(entry(&lattice, "a").updated_at, stamp(made), "the version that it was: {arrived:?}");
            let applied = lattice.apply(vec![arrived.clone()]).await.unwrap();
            assert!(matches!(applied[..], [Applied::Taken(_)]), "what came later counts: {applied:?}");
        }
    }
}

#[tokio::test]
async fn of_restores_that_lose_mtimes_ten_files_are_a_backup_and_one_is_an_undo() {
    for (count, restored) in [(10, true), (1, false)] {
        let bed = Bed::new();
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        for name in &names {
            bed.write(&format!("{name}.json"), &format!(r#"{{"id":"{name}","v":1}}"#));
            date(&bed.data(&format!("{name}.json")), ago(300));
        }
        let lattice = bed.open().await;
        for name in &names {
            put(&lattice, node(&format!(r#"{{"id":"{name}","v":2}}"#))).await;
        }
        let newest = entry(&lattice, "n0").updated_at;
        lattice.close().await;
        for name in &names {
            bed.write(&format!("{name}.json"), &format!(r#"{{"id":"{name}","v":1}}"#));
        }
        let lattice = bed.open().await;
        let at = entry(&lattice, "n0").updated_at;
        if restored {
            assert!(at < newest, "the old version with its old time");
            assert!(lattice.status().nodes == count);
        } else {
            assert!(at > newest, "an edit that brings the earlier content back");
        }
        let accepted = lattice.accept(vec![id("n0"), id("nobody")]).await.unwrap();
        assert_eq!(accepted, [id("n0")]);
        assert!(entry(&lattice, "n0").updated_at > newest, "accepted: it counts as edited now");
    }
}

#[tokio::test]
async fn what_is_missing_in_an_older_copy_of_the_directory_is_lost_and_not_deleted() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a"}"#);
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"b"}"#)).await;
    put(&lattice, node(r#"{"id":"c"}"#)).await;
    lattice.close().await;
    // Deleted while the service was down: that is what it was.
    fs::remove_file(bed.data("c.json")).unwrap();
    let lattice = bed.open().await;
    assert_eq!((has(&lattice, "c"), lattice.status().tombstones), (false, 1));
    lattice.close().await;
    // An older copy, in which b was not yet: as a backup restores a directory, with its times.
    fs::remove_file(bed.data("b.json")).unwrap();
    File::open(bed.path("data")).unwrap().set_times(FileTimes::new().set_modified(ago(600))).unwrap();
    let lattice = bed.open().await;
    assert_eq!((has(&lattice, "b"), lattice.status().tombstones), (false, 1), "no deletion of b is known");
}

#[tokio::test]
async fn what_is_missing_in_an_older_copy_is_lost_also_where_its_version_only_got_a_later_time() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a"}"#);
    let lattice = bed.open().await;
    // Of a peer, dated long before the copy: its file has that mtime.
    for at in [ago(86_400), ago(80_000)] {
        lattice.apply(vec![arrival(r#"{"id":"b"}"#, stamp(at))]).await.unwrap();
    }
    lattice.close().await;
    fs::remove_file(bed.data("b.json")).unwrap();
    File::open(bed.path("data")).unwrap().set_times(FileTimes::new().set_modified(ago(600))).unwrap();
    let lattice = bed.open().await;
    assert_eq!((has(&lattice, "b"), lattice.status().tombstones), (false, 0), "no deletion of b is known");
    lattice.close().await;
}

#[tokio::test]
async fn a_file_from_before_the_known_one_is_older_also_where_both_documents_state_the_same_date() {
    let made = ago(500);
    let texts = ["one", "another"]
        .map(|text| format!(r#"{{"id":"a","text":"{text}","updated_at":"{}"}}"#, stamp(made).to_rfc3339()));
    // Whichever hash is the greater one.
    for [earlier, later] in [[&texts[0], &texts[1]], [&texts[1], &texts[0]]] {
        let bed = Bed::new();
        bed.write("a.json", later);
        date(&bed.data("a.json"), ago(200));
        bed.write("b.json", r#"{"id":"b"}"#);
        let lattice = bed.open().await;
        assert_eq!(entry(&lattice, "a").updated_at, stamp(made));
        lattice.close().await;
        // From a backup that is older than the journal: this journal never saw that content.
        bed.write("a.json", earlier);
        date(&bed.data("a.json"), made);
        fs::remove_file(bed.data("b.json")).unwrap();
        let lattice = bed.open().await;
        assert!(entry(&lattice, "a").updated_at < stamp(made), "older than the version that was here");
        assert_eq!((has(&lattice, "b"), lattice.status().tombstones), (false, 0), "no deletion of b is known");
        let applied = lattice.apply(vec![arrival(later, stamp(made))]).await.unwrap();
        assert!(matches!(applied[..], [Applied::Taken(_)]), "the later one counts: {applied:?}");
        lattice.close().await;
    }
}

#[tokio::test]
async fn what_is_dated_too_far_ahead_is_dated_now_where_it_is_accepted() {
    let now = Timestamp::from_seconds(1_763_696_494);
    let (bed, clock) = Bed::at(now.plus(Duration::from_secs(3600)));
    let lattice = bed.open().await;
    put(&lattice, node(r#"{"id":"a"}"#)).await;
    clock.set_wall(now);
    assert_eq!(lattice.accept(vec![id("a")]).await.unwrap(), [id("a")]);
    assert_eq!(entry(&lattice, "a").updated_at, now);
    bed.check(&lattice);
    // What peers take is dated after itself, as ever.
    put(&lattice, node(r#"{"id":"b"}"#)).await;
    clock.set_wall(now.minus(Duration::from_secs(60)));
    lattice.accept(vec![id("b")]).await.unwrap();
    assert!(entry(&lattice, "b").updated_at > now);
}

#[tokio::test]
async fn a_file_from_before_its_forgotten_deletion_does_not_bring_the_node_back() {
    let (bed, clock) = Bed::at(stamp(ago(60 * 24 * 3600)));
    bed.write("a.json", r#"{"id":"a"}"#);
    date(&bed.data("a.json"), ago(60 * 24 * 3600));
    bed.write("b.json", r#"{"id":"b"}"#);
    let lattice = bed.open().await;
    sh(&bed, "cp -a data backup");
    clock.advance(Duration::from_secs(10));
    let deleted_at = lattice.delete(&id("a"), Default::default()).await.unwrap().unwrap().deleted_at;
    let seq = lattice.status().seq;
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    until("the tombstone is forgotten", DEADLINE, || lattice.status().tombstones == 0).await;
    // Somebody still offers the version of before: the deletion is known again, and goes to everybody.
    let at = deleted_at.minus(Duration::from_secs(1));
    assert_eq!(lattice.apply(vec![arrival(r#"{"id":"a"}"#, at)]).await.unwrap(), [Applied::Kept]);
    assert_eq!(lattice.tombstone(&id("a")).unwrap().unwrap().deleted_at, deleted_at);
    assert!(lattice.status().seq > seq);
    bed.check(&lattice);
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    until("the tombstone is forgotten again", DEADLINE, || lattice.status().tombstones == 0).await;
    // The same where a command offers it.
    let options = TakeOptions { from: "backup.ndjson", now: clock.now(), limits: Limits::default(), dry: false };
    let offered = |at| vec![Offered { node: node(r#"{"id":"a"}"#), at, ancestry: Ancestry::default() }];
    for (dry, tombstones) in [(true, 0), (false, 1)] {
        let taken = take_versions(&*lattice, offered(Some(at)), TakeOptions { dry, ..options }).await.unwrap();
        assert_eq!((taken.fates, lattice.status().tombstones), (vec![Fate::KeptDeleted], tombstones));
    }
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    until("the tombstone is forgotten once more", DEADLINE, || lattice.status().tombstones == 0).await;
    lattice.close().await;
    // A backup of before is put in place: the file counts as the older version that it is, and a peer that knows of the deletion wins.
    sh(&bed, "rm -rf data; cp -a backup data");
    let lattice = bed.open().await;
    assert!(entry(&lattice, "a").updated_at < deleted_at);
    let gone = Arrived::Deleted { id: id("a"), at: deleted_at, content_hash: node(r#"{"id":"a"}"#).content_hash() };
    let gone = Arrival { change: gone, ancestry: Ancestry::default(), from: "peer".into(), given: 0 };
    let applied = lattice.apply(vec![gone]).await.unwrap();
    assert!(matches!(applied[..], [Applied::Taken(Some(_))]), "what was in the file is kept: {applied:?}");
    assert!(!has(&lattice, "a"));
}

#[tokio::test]
async fn a_whole_directory_that_lost_its_mtimes_is_a_backup_also_where_it_is_small() {
    for edited in 1..=3 {
        let bed = backed_up(edited).await;
        sh(&bed, "rm -rf data; cp -r backup data");
        let lattice = bed.open().await;
        let at = entry(&lattice, "a").updated_at;
        assert!(at < stamp(SystemTime::now()).minus(Duration::from_secs(200)), "{edited}: the old time, {at:?}");
    }
}

fn sh(bed: &Bed, command: &str) {
    let done = std::process::Command::new("sh").args(["-c", command]).current_dir(bed.path("")).status();
    assert!(done.unwrap().success(), "{command}");
}

/// Three nodes, a backup of their files, then `edited` of them edited and one node more. Stopped.
async fn backed_up(edited: usize) -> Bed {
    let bed = Bed::new();
    for name in ["a", "b", "c"] {
        bed.write(&format!("{name}.json"), &format!(r#"{{"id":"{name}","v":1}}"#));
        date(&bed.data(&format!("{name}.json")), ago(300));
    }
    let lattice = bed.open().await;
    sh(&bed, "cp -a data backup");
    for name in ["a", "b", "c"].into_iter().take(edited) {
        put(&lattice, node(&format!(r#"{{"id":"{name}","v":2}}"#))).await;
    }
    put(&lattice, node(r#"{"id":"new"}"#)).await;
    lattice.close().await;
    bed
}

#[tokio::test]
async fn a_restore_of_the_files_alone_deletes_no_node_that_was_made_after_the_backup() {
    let restores = [
        "rm data/*.json; cp -a backup/*.json data",
        "rm data/*.json; cp backup/*.json data",
        "rm data/*.json; tar -C backup -cf - a.json b.json c.json | tar -C data -xmf -",
        "rm -rf data; cp -a backup data; echo '{\"id\":\"c\",\"v\":3}' > data/.c; mv data/.c data/c.json",
        // As programs do that copy only what differs, and delete what the backup has not.
        "for id in a b c; do cmp -s backup/$id.json data/$id.json || cp -a backup/$id.json data; done; rm data/new.json",
    ];
    for restore in restores {
        for edited in 0..=3 {
            // Nothing tells a directory in which no other file was touched, and which was changed since, from one in which the node was deleted.
            if restore.starts_with("for") && edited == 0 {
                continue;
            }
            let bed = backed_up(edited).await;
            sh(&bed, restore);
            let lattice = bed.open().await;
            let status = lattice.status();
            assert_eq!((has(&lattice, "new"), status.tombstones), (false, 0), "{restore} ({edited} edited)");
            assert_eq!(status.nodes, 3);
        }
    }
}

#[tokio::test]
async fn what_was_deleted_before_a_directory_was_copied_is_deleted_in_the_copy() {
    let bed = backed_up(1).await;
    // While the service is down; then both directories move to another machine.
    fs::remove_file(bed.data("new.json")).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    sh(&bed, "cp -a data moved; rm -rf data; mv moved data");
    let lattice = bed.open().await;
    assert_eq!((has(&lattice, "new"), lattice.status().tombstones), (false, 1));
}

#[tokio::test]
async fn a_file_that_is_missing_beside_edited_ones_was_deleted() {
    for edit in [
        "echo '{\"id\":\"b\",\"v\":3}' > data/b.json",
        "for id in a b c; do echo \"{\\\"id\\\":\\\"$id\\\",\\\"v\\\":3}\" > data/.$id; mv data/.$id data/$id.json; done",
        "sed -i s/1/7/ data/c.json",
        // One edit is undone.
        "cp backup/a.json data/.a; mv data/.a data/a.json",
        "touch data/b.json; chmod 600 data/c.json",
    ] {
        let bed = backed_up(1).await;
        sh(&bed, edit);
        fs::remove_file(bed.data("new.json")).unwrap();
        let lattice = bed.open().await;
        assert_eq!((has(&lattice, "new"), lattice.status().tombstones), (false, 1), "{edit}");
    }
}

#[tokio::test]
async fn a_deletion_made_while_the_service_was_down_is_dated_before_a_later_edit_of_a_peer() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a"}"#);
    date(&bed.data("a.json"), ago(600));
    let lattice = bed.open().await;
    lattice.close().await;
    fs::remove_file(bed.data("a.json")).unwrap();
    let deleted = stamp(bed.path("data").metadata().unwrap().modified().unwrap());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let edited = stamp(SystemTime::now());
    let lattice = bed.open().await;
    assert_eq!(lattice.tombstone(&id("a")).unwrap().unwrap().deleted_at, deleted);
    let applied = lattice.apply(vec![arrival(r#"{"id":"a","v":2}"#, edited)]).await.unwrap();
    assert!(matches!(applied[..], [Applied::Taken(_)]), "{applied:?}");
}

#[tokio::test]
async fn a_file_that_is_copied_in_with_an_old_mtime_counts_from_when_it_was_put_there() {
    let bed = Bed::new();
    bed.write("a.json", r#"{"id":"a","v":1}"#);
    let lattice = bed.open().await;
    let begun = stamp(SystemTime::now());
    let mut old = File::create(bed.path("old")).unwrap();
    std::io::Write::write_all(&mut old, br#"{"id":"a","v":0}"#).unwrap();
    drop(old);
    date(&bed.path("old"), ago(100_000));
    fs::rename(bed.path("old"), bed.data("a.json")).unwrap();
    let content = node(r#"{"id":"a","v":0}"#).content_hash();
    until("the copy shows", DEADLINE, || entry(&lattice, "a").content_hash == content).await;
    assert!(entry(&lattice, "a").updated_at >= begun.minus(Duration::from_millis(20)));
}

#[tokio::test]
async fn an_own_date_counts_where_the_edit_changed_it_and_not_where_it_stayed() {
    let bed = Bed::new();
    let dated = |at: Timestamp, v: u32| format!(r#"{{"id":"a","updated_at":{},"v":{v}}}"#, at.to_seconds_text());
    let (old, new) = (stamp(ago(1000)), stamp(ago(500)));
    bed.write("a.json", &dated(old, 1));
    date(&bed.data("a.json"), ago(900));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "a").updated_at, old);
    lattice.close().await;
    bed.write("a.json", &dated(old, 2));
    date(&bed.data("a.json"), ago(400));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "a").updated_at, stamp_of(&bed, "a.json"), "the date stayed: the mtime counts");
    lattice.close().await;
    bed.write("a.json", &dated(old, 3));
    date(&bed.data("a.json"), ago(300));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "a").updated_at, stamp_of(&bed, "a.json"), "also the second time");
    lattice.close().await;
    bed.write("a.json", &dated(new, 4));
    let lattice = bed.open().await;
    assert_eq!(entry(&lattice, "a").updated_at, new, "older than the version here: the file is an older version");
}
