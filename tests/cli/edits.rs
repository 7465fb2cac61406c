//! `node put`, `node rm` and `import` on a directory with a journal: an edit is written down whether or not a service runs, and a directory
//! that was restored from a backup is recognised before it.

use crate::{
    bed::{Bed, get},
    federation::Instance,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

const GRACE: Duration = Duration::from_secs(20);
/// Times of directories and of the journal are told apart by less.
const LATER: Duration = Duration::from_millis(300);

/// Runs a service on the folder while `work` goes on.
fn served(bed: Bed, work: impl FnOnce(&Bed, u16)) -> Bed {
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    work(&bed, service.port);
    assert!(service.terminate(GRACE).0.success());
    bed
}

/// What `/health` says of the lattice.
fn health(port: u16) -> Value {
    let answer = get(port, "/health");
    let mut health: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    health["lattice"].take()
}

fn ids(port: u16) -> BTreeSet<String> {
    let answer = get(port, "/nodes");
    let list: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    list["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn sh(bed: &Bed, command: &str) {
    assert!(
        Command::new("sh").args(["-c", command]).current_dir(bed.path("")).status().unwrap().success(),
        "{command}"
    );
}

fn modified(bed: &Bed, name: &str) -> SystemTime {
    bed.path(name).metadata().unwrap().modified().unwrap()
}

/// Every file and the directory as in the backup, put there anew.
const COPIED: &str = "rm -r lattice_data && cp -a backup lattice_data";
/// As programs do that copy only what differs, and delete what the backup has not: of a directory in which no file was edited since.
const SYNCED: &str = "rm lattice_data/new.json && touch -r backup lattice_data";

/// Two nodes, a backup of their directory, then another one made, and one of them edited. All of it is on the peer too. Stopped.
fn backed_up(peer: &Instance, is_edited: bool) -> Bed {
    let bed = Bed::new().set("ARK_NODE_ID", "ark-laptop");
    bed.file("lattice_data/a.json", r#"{"id":"a","v":1}"#);
    bed.file("lattice_data/other.json", r#"{"id":"other"}"#);
    let bed = served(bed, |bed, _| {
        bed.run(&["federation", "add-peer", peer.url()]).ok();
        bed.run(&["federation", "sync"]).ok();
    });
    sh(&bed, "cp -a lattice_data backup");
    std::thread::park_timeout(LATER);
    let bed = served(bed, |bed, port| {
        bed.file("lattice_data/new.json", r#"{"id":"new"}"#);
        if is_edited {
            bed.file("lattice_data/a.json", r#"{"id":"a","v":2}"#);
        }
        bed.wait_until("the edits are seen", || {
            health(port)["nodes"] == 3 && (!is_edited || get(port, "/nodes/a").contains("\"v\":2"))
        });
        bed.run(&["federation", "sync"]).ok();
    });
    assert_eq!(ids(peer.service.port), names(&["a", "new", "other"]));
    std::thread::park_timeout(LATER);
    bed
}

/// Edits the directory while no service runs, in one of three ways; the nodes that there are to be then.
fn edit(bed: &Bed, way: &str) -> BTreeSet<String> {
    match way {
        "put" => assert!(bed.run_with(&["node", "put", "-"], r#"{"id":"late"}"#).ok().starts_with("created late ")),
        "rm" => assert_eq!(bed.run(&["node", "rm", "other"]).ok(), "deleted other\n"),
        _ => {
            let report = bed.run_with(&["import", "-", "--json"], r#"[{"id":"late"},{"id":"other","v":2}]"#).ok_json();
            assert_eq!((&report["added"], &report["changed"]), (&1.into(), &1.into()), "{report}");
        }
    }
    names(if way == "rm" { &["a", "new"] } else { &["a", "late", "new", "other"] })
}

#[test]
fn an_edit_in_a_restored_directory_deletes_no_node_that_was_made_after_the_backup() {
    let restores = [(COPIED, true), (COPIED, false), (SYNCED, false)];
    for (way, (restore, is_edited)) in ["put", "import", "rm"].into_iter().flat_map(|way| restores.map(|it| (way, it)))
    {
        let case = format!("{way} after {restore} ({is_edited})");
        let peer = Instance::start("ark-peer", &[]);
        let bed = backed_up(&peer, is_edited);
        sh(&bed, restore);
        let expected = edit(&bed, way);
        served(bed, |bed, port| {
            bed.run(&["federation", "sync"]).ok();
            assert_eq!(ids(port), expected, "{case}: here");
            assert!(!is_edited || get(port, "/nodes/a").contains("\"v\":2"), "{case}");
        });
        assert_eq!(ids(peer.service.port), expected, "{case}: on the peer");
        assert_eq!(health(peer.service.port)["tombstones"], u64::from(way == "rm"), "{case}");
    }
}

#[test]
fn an_edit_beside_a_restored_file_stays_and_reaches_the_peer() {
    for way in ["rm", "put", "import"] {
        let peer = Instance::start("ark-peer", &[]);
        let bed = backed_up(&peer, true);
        sh(&bed, "cp -a backup/a.json lattice_data/");
        let said = bed.run(&["node", "hash", "a"]).ok();
        let expected = edit(&bed, way);
        assert_eq!(bed.run(&["node", "hash", "a"]).ok(), said, "{way}: the restored file is not touched");
        served(bed, |bed, port| {
            assert_eq!(ids(port), expected, "{way}: at the start");
            bed.run(&["federation", "sync"]).ok();
            assert_eq!(ids(port), expected, "{way}: after a round");
        });
        assert_eq!(ids(peer.service.port), expected, "{way}: on the peer");
        assert_eq!(health(peer.service.port)["tombstones"], u64::from(way == "rm"), "{way}");
    }
}

#[test]
fn what_a_restored_directory_lacks_is_reported_by_the_command_that_finds_it() {
    let peer = Instance::start("ark-peer", &[]);
    let bed = backed_up(&peer, true);
    sh(&bed, COPIED);
    let put = bed.run_with(&["node", "put", "-"], r#"{"id":"late"}"#);
    assert!(put.stdout.starts_with("created late sha256:") && put.code == 0, "{put:?}");
    assert!(put.stderr.contains("1 files are older") && put.stderr.contains("1 nodes are missing"), "{put:?}");
    let again = bed.run_with(&["node", "put", "-"], r#"{"id":"late"}"#);
    assert!(again.stdout.starts_with("unchanged late") && again.stderr.is_empty(), "once: {again:?}");
    served(bed, |_, port| assert_eq!(health(port)["tombstones"], 0));
}

#[test]
fn an_edit_beside_a_running_service_is_seen_by_it() {
    let bed = Bed::new();
    bed.file("lattice_data/gone.json", r#"{"id":"gone"}"#);
    served(bed, |bed, port| {
        assert!(bed.run_with(&["node", "put", "-"], r#"{"id":"a"}"#).ok().starts_with("created a"));
        assert!(bed.run_with(&["import", "-"], r#"[{"id":"b"},{"id":"c"}]"#).ok().starts_with("2 added"));
        assert_eq!(bed.run(&["node", "rm", "gone"]).ok(), "deleted gone\n");
        bed.wait_until("the service has seen it", || {
            ids(port) == names(&["a", "b", "c"]) && health(port)["tombstones"] == 1
        });
        // One that has another journal, named by its directory alone.
        let elsewhere = Bed::new();
        let lattice = bed.path("lattice_data").to_str().unwrap().to_owned();
        elsewhere.run_with(&["node", "put", "-", "--lattice", &lattice], r#"{"id":"d"}"#).ok();
        bed.wait_until("the service has seen that too", || ids(port).contains("d"));
    });
}

#[test]
fn without_a_journal_an_edit_is_one_of_the_files_and_makes_none() {
    let bed = Bed::new();
    assert!(bed.run_with(&["node", "put", "-"], r#"{"id":"a"}"#).ok().starts_with("created a"));
    assert!(bed.run_with(&["import", "-"], r#"[{"id":"a","v":2},{"id":"b"}]"#).ok().starts_with("1 added, 1 changed"));
    assert_eq!(bed.run(&["node", "rm", "b"]).ok(), "deleted b\n");
    let entries = std::fs::read_dir(bed.path("")).unwrap().chain(std::fs::read_dir(bed.path("lattice_data")).unwrap());
    let found: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, names(&["a.json", "lattice_data"]));

    // Nor does a copy elsewhere that no service was started on, beside a directory that has one.
    let bed = served(bed, |_, _| {});
    std::fs::create_dir(bed.path("copy")).unwrap();
    bed.run_with(&["node", "put", "-", "--lattice", "copy"], r#"{"id":"c"}"#).ok();
    assert_eq!(std::fs::read_dir(bed.path("copy")).unwrap().count(), 1);
    served(bed, |_, port| assert_eq!(ids(port), names(&["a"])));
}

#[test]
fn an_edit_in_a_copy_that_lies_beside_the_directory_is_one_of_its_files() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
    let bed = served(bed, |_, _| {});
    sh(&bed, "cp -a lattice_data backup");
    std::thread::park_timeout(LATER);
    let mut before = Value::Null;
    let bed = served(bed, |bed, port| {
        bed.file("lattice_data/new.json", r#"{"id":"new"}"#);
        bed.wait_until("the edit is seen", || ids(port).contains("new"));
        before = health(port)["seq"].take();
    });
    bed.run_with(&["node", "put", "-", "--lattice", "backup"], r#"{"id":"late"}"#).ok();
    bed.run(&["node", "rm", "a", "--lattice", "backup"]).ok();
    bed.run_with(&["import", "--exact", "-", "--lattice", "backup"], r#"{"id":"old","updated_at":1}"#).ok();
    let has = |name: &str| bed.path(&format!("backup/{name}.json")).exists();
    assert!(has("late") && has("old") && !has("a"));
    served(bed, |_, port| {
        assert_eq!((ids(port), &health(port)["seq"]), (names(&["a", "new"]), &before));
    });

    // The directory itself, moved to where the settings do not name it.
    let bed = served(Bed::new(), |_, _| {});
    sh(&bed, "mv lattice_data moved");
    bed.run_with(&["node", "put", "-", "--lattice", "moved"], r#"{"id":"a"}"#).ok();
    bed.run(&["node", "rm", "a", "--lattice", "moved"]).ok();
    sh(&bed, "mv moved lattice_data");
    served(bed, |_, port| assert_eq!(health(port)["tombstones"], 1));
}

#[test]
fn a_broken_file_is_removed_with_the_node_that_it_was() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
    let bed = served(bed, |_, _| {});
    bed.file("lattice_data/a.json", "{half");
    bed.file("lattice_data/unknown.json", "{half");
    for id in ["a", "unknown"] {
        assert_eq!(bed.run(&["node", "rm", id]).ok(), format!("deleted {id}\n"));
        assert!(!bed.path(&format!("lattice_data/{id}.json")).exists());
        assert!(bed.run(&["node", "rm", id]).fails(1).contains("there is no node"));
    }
    served(bed, |_, port| {
        let health = health(port);
        assert_eq!((&health["nodes"], &health["tombstones"]), (&0.into(), &1.into()), "{health}");
    });
}

#[test]
fn a_dry_run_of_an_import_leaves_directory_and_journal_as_they_are() {
    let peer = Instance::start("ark-peer", &[]);
    let bed = backed_up(&peer, true);
    sh(&bed, COPIED);
    let times = |bed: &Bed| ["lattice_data", "ark_state/lattice.redb"].map(|name| modified(bed, name));
    let before = times(&bed);
    let dry = bed.run_with(&["import", "-", "--dry-run"], r#"[{"id":"late"},{"id":"a","v":3}]"#).ok();
    assert!(dry.starts_with("Dry run: 1 added, 1 changed"), "{dry}");
    assert_eq!(times(&bed), before);
}

#[test]
fn a_node_that_cannot_be_imported_does_not_stop_the_others() {
    for has_journal in [false, true] {
        let mut bed = Bed::new().set("ARK__LIMITS__NODE_BYTES", "2000");
        if has_journal {
            bed = served(bed, |_, _| {});
        }
        let large = "x".repeat(2000);
        let run = bed.run_with(&["import", "-"], &format!(r#"[{{"id":"a"}},{{"id":"b","x":"{large}"}},{{"id":"c"}}]"#));
        assert!(run.stdout.starts_with("2 added, 0 changed, 0 unchanged, 1 refused"), "{run:?}");
        assert!(run.stdout.contains("refused [1]: the node b has 2017 bytes; the limit is 2000"), "{run:?}");
        run.fails(1);
        assert!(bed.path("lattice_data/c.json").exists());
    }
}

#[test]
fn commands_that_come_at_once_wait_for_each_other() {
    let bed = served(Bed::new(), |_, _| {});
    let put = |number: usize| {
        let file = bed.file(&format!("{number}.json"), &format!(r#"{{"id":"n{number}"}}"#));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ark-lattice"));
        command.args(["node", "put", &file]).current_dir(bed.path("")).env_clear();
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = (0..6).map(put).collect();
    for command in running {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    served(bed, |_, port| assert_eq!(ids(port).len(), 6));
}

#[test]
fn a_service_that_starts_during_an_edit_waits_for_it() {
    let bed = served(Bed::new(), |_, _| {});
    let mut import = Command::new(env!("CARGO_BIN_EXE_ark-lattice"));
    import.args(["import", "-"]).current_dir(bed.path("")).env_clear();
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    bed.wait_until("the journal is open", || bed.run(&["node", "accept", "a"]).stderr.contains("in use by another"));
    let mut stdin = import.stdin.take().unwrap();
    let end = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_secs(1));
        stdin.write_all(br#"{"id":"a"}"#).unwrap();
    });
    served(bed, |_, port| assert_eq!(ids(port), names(&["a"])));
    end.join().unwrap();
    assert!(import.wait().unwrap().success());
}

#[test]
fn a_journal_that_cannot_be_opened_stops_the_edit() {
    let bed = served(Bed::new(), |_, _| {});
    bed.file("ark_state/lattice.redb", "not a journal");
    for args in [&["node", "put", "-"][..], &["import", "-"], &["node", "rm", "a"]] {
        let said = bed.run_with(args, r#"{"id":"a"}"#).fails(1);
        assert!(
            said.contains("the journal") && said.contains("to build a new one, without") && said.contains(": mv "),
            "{args:?}: {said}"
        );
    }
    assert!(!bed.path("lattice_data/a.json").exists());
}
