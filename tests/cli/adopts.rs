//! `adopt`, and the starts that need it: a directory is known by its marker.

use crate::{
    bed::{Bed, get},
    conflicts::two,
};
use serde_json::Value;
use std::{fs, path::Path, process::Command, time::Duration};

const GRACE: Duration = Duration::from_secs(10);

fn health(port: u16) -> Value {
    let answer = get(port, "/health");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Copies the data directory and the state directory, as a backup program does that leaves hidden files out.
fn copy_without_hidden_files(from: &Bed, to: &Bed) {
    for part in ["lattice_data", "ark_state"] {
        let copied = Command::new("cp").arg("-a").args([from.path(part), to.path("")]).status().unwrap();
        assert!(copied.success());
    }
    fs::remove_file(to.path("lattice_data/.ark-lattice")).unwrap();
}

fn refusal(bed: &Bed) -> String {
    bed.run(&["serve", "--port", "0"]).fails(1)
}

#[test]
fn a_copy_without_hidden_files_starts_after_it_was_adopted_with_its_deletions_and_conflicts() {
    let (a, b) = two();
    b.bed.run_with(&["node", "put", "-"], r#"{"id":"gone"}"#).ok();
    b.sees(2);
    b.bed.run(&["node", "rm", "gone"]).ok();
    b.sees(1);
    assert!(a.service.terminate(GRACE).0.success() && b.service.terminate(GRACE).0.success());
    let copy = Bed::new().set("ARK_NODE_ID", "ark-b").set("ARK__LOG__LEVEL", "warn");
    copy_without_hidden_files(&b.bed, &copy);

    let said = refusal(&copy);
    assert!(said.contains("no marker .ark-lattice") && said.contains("run: ark-lattice adopt"), "{said}");
    let doctor = copy.run(&["doctor"]);
    assert!(doctor.code == 1 && doctor.stdout.contains("fail  marker"), "{doctor:?}");
    let adopted = copy.run(&["adopt"]);
    assert!(adopted.stderr.contains("ark-lattice serve"), "{adopted:?}");
    assert!(adopted.ok().contains(": 1 known node, 0 of them without a file here"));
    assert!(!copy.run(&["doctor"]).stdout.contains("marker"));

    let service = copy.serve();
    let lattice = &health(service.port)["lattice"];
    assert_eq!((&lattice["nodes"], &lattice["tombstones"]), (&1.into(), &1.into()), "{lattice}");
    assert!(get(service.port, "/nodes/gone").starts_with("HTTP/1.1 404"));
    let conflicts = get(service.port, "/conflicts");
    assert!(conflicts.contains("\"total\":1") && conflicts.contains("\"kind\":\"conflict\""), "{conflicts}");
    assert!(service.terminate(GRACE).0.success());
}

#[test]
fn a_node_without_a_file_counts_as_lost_after_its_directory_was_adopted() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
    bed.file("lattice_data/b.json", r#"{"id":"b"}"#);
    assert!(bed.serve().terminate(GRACE).0.success());
    fs::remove_file(bed.path("lattice_data/.ark-lattice")).unwrap();
    fs::remove_file(bed.path("lattice_data/b.json")).unwrap();
    let adopted = bed.run(&["adopt", "--json"]).ok_json();
    assert_eq!((&adopted["known_nodes"], &adopted["missing_nodes"]), (&2.into(), &1.into()), "{adopted}");
    let service = bed.serve();
    let lattice = &health(service.port)["lattice"];
    assert_eq!((&lattice["nodes"], &lattice["tombstones"]), (&1.into(), &0.into()), "{lattice}");
}

#[test]
fn an_empty_directory_in_place_of_the_right_one_is_refused() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
    assert!(bed.serve().terminate(GRACE).0.success());
    fs::rename(bed.path("lattice_data"), bed.path("disk")).unwrap();
    fs::create_dir(bed.path("lattice_data")).unwrap();
    let said = refusal(&bed);
    assert!(said.contains("is the disk mounted?") && said.contains("ark-lattice adopt"), "{said}");
    assert!(fs::read_dir(bed.path("lattice_data")).unwrap().next().is_none(), "nothing is written to it");
    fs::remove_dir(bed.path("lattice_data")).unwrap();
    fs::rename(bed.path("disk"), bed.path("lattice_data")).unwrap();
    let service = bed.serve();
    assert_eq!(health(service.port)["lattice"]["tombstones"], 0);
}

#[test]
fn the_directory_of_another_lattice_is_refused_and_named_by_doctor() {
    let (bed, other) = (Bed::new(), Bed::new());
    for bed in [&bed, &other] {
        bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
        assert!(bed.serve().terminate(GRACE).0.success());
    }
    let foreign = other.path("lattice_data").to_str().unwrap().to_owned();
    let bed = bed.set("LATTICE_PATH", &foreign);
    assert!(refusal(&bed).contains("another lattice"));
    let report = bed.run(&["doctor"]).stdout;
    assert!(report.contains("fail  marker") && report.contains("another lattice"), "{report}");
    bed.file("marker", "{");
    fs::rename(bed.path("marker"), Path::new(&foreign).join(".ark-lattice")).unwrap();
    assert!(refusal(&bed).contains("cannot be used"));
    assert!(bed.run(&["doctor"]).stdout.contains("fail  marker"));
    assert!(bed.run(&["adopt"]).fails(1).contains("move it away"));
}

#[test]
fn nothing_is_adopted_while_a_service_runs_and_a_second_service_is_refused() {
    let bed = Bed::new();
    assert!(bed.run(&["adopt"]).fails(1).contains("nothing has to be adopted"));
    let _service = bed.serve();
    assert!(bed.run(&["adopt"]).fails(1).contains("stop that service first"));
    let said = bed.run(&["serve", "--port", "0", "--state", "other"]).fails(1);
    assert!(said.contains("is served by another process"), "{said}");
}
