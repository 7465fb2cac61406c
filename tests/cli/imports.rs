use crate::bed::Bed;
use std::path::Path;

/// The first line.
fn counts(printed: &str) -> &str {
    printed.lines().next().unwrap()
}

#[test]
fn a_tree_is_imported_once_and_unchanged_after_that() {
    let bed = Bed::new();
    let node = |number: usize| format!(r#"{{ "id": "n{number}", "value": {{"deep": [{number}, 1.50]}} }}"#);
    let nodes = |from: usize| (from..from + 300).map(node).collect::<Vec<_>>().join(",\n");
    let tree = format!(
        r#"{{"meta": {{"id": "no node"}}, "topics": [{{"name": "x", "nodes": [{}]}}, {{"id": "t", "nodes": [{}]}}]}}"#,
        nodes(0),
        nodes(300)
    );
    let file = bed.file("tree.json", &tree);
    let dry = bed.run(&["import", &file, "--dry-run"]).ok();
    assert!(dry.starts_with("Dry run: 600 added"), "{dry}");
    assert_eq!(std::fs::read_dir(bed.path("lattice_data")).unwrap().count(), 0);
    assert_eq!(counts(&bed.run(&["import", &file]).ok()), "600 added, 0 changed, 0 unchanged, 0 refused");
    let stored = bed.read("lattice_data/n7.json");
    assert_eq!(stored, node(7), "byte for byte");
    assert_eq!(counts(&bed.run(&["import", &file]).ok()), "0 added, 0 changed, 600 unchanged, 0 refused");
    assert_eq!(bed.read("lattice_data/n7.json"), stored);
    let changed = bed.run_with(&["import", "-", "--json"], r#"[{"id": "n7", "value": 8}, {"id": "new"}]"#).ok_json();
    assert_eq!((&changed["added"], &changed["changed"]), (&1.into(), &1.into()));
    assert_eq!(bed.run_with(&["import", "-"], r#"{"id": "single"}"#).ok().split(' ').next(), Some("1"));
}

#[test]
fn the_complete_sample_is_imported_where_it_is_at_hand() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/code-lattice-complete-nodes.json");
    if !sample.is_file() {
        return;
    }
    let bed = Bed::new();
    let file = sample.to_str().unwrap();
    assert_eq!(counts(&bed.run(&["import", file]).ok()), "300 added, 0 changed, 0 unchanged, 0 refused");
    assert_eq!(counts(&bed.run(&["import", file]).ok()), "0 added, 0 changed, 300 unchanged, 0 refused");
    assert!(bed.run(&["node", "verify"]).ok().starts_with("300 nodes"));
}

#[test]
fn bad_nodes_are_refused_by_place_and_the_rest_is_imported() {
    let bed = Bed::new();
    let file = r#"{"nodes": [{"id": "a"}, {"no": "id"}, {"id": "a", "n": 2}, {"id": "\u0001"}, {"id": "b"}]}"#;
    let run = bed.run_with(&["import", "-"], file);
    assert!(run.stdout.starts_with("2 added, 0 changed, 0 unchanged, 3 refused"), "{run:?}");
    assert!(run.stdout.contains("nodes[2]") && run.stdout.contains("nodes[3]"), "{run:?}");
    assert!(run.fails(1).contains("nodes[1]"));
    assert!(!bed.read("lattice_data/a.json").contains("\"n\""));
}

#[test]
fn a_file_without_nodes_or_that_is_no_json_imports_nothing() {
    let bed = Bed::new();
    assert!(bed.run_with(&["import", "-"], r#"{"topics": []}"#).fails(1).contains("no node"));
    assert!(bed.run_with(&["import", "-"], r#"{"nodes": [{"id": "a"},]}"#).fails(1).contains("standard input"));
    assert!(bed.run(&["import", "nowhere.json"]).fails(1).contains("nowhere.json"));
    assert_eq!(std::fs::read_dir(bed.path("lattice_data")).unwrap().count(), 0);
}

#[test]
fn one_node_a_line_is_taken_line_by_line() {
    let bed = Bed::new();
    let long = format!(r#"{{"id": "long", "x": "{}"}}"#, "x".repeat(6 << 20));
    let lines =
        format!("{{\"id\": \"a\"}}\r\n\n{{\"no\": \"id\"}}\n{long}\n{{\"id\": \"a\", \"n\": 2}}\n{{\"id\": \"b\"}}");
    let run = bed.run_with(&["import", "-", "--json"], &lines);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &report["added"], &report["refused"]), (1, &2.into(), &3.into()));
    let places: Vec<_> =
        report["refusals"].as_array().unwrap().iter().map(|it| it["place"].as_str().unwrap()).collect();
    assert_eq!(places, ["line 3", "line 4", "line 5"]);
    // The file's name says what it is where its first line does not.
    let file = bed.file("odd.ndjson", "{\"no\": \"id\"}\n{\"id\": \"c\"}\n");
    let run = bed.run(&["import", &file]);
    assert!(run.stdout.starts_with("1 added, 0 changed, 0 unchanged, 1 refused"), "{run:?}");
    assert!(bed.run(&["import", &bed.file("empty.jsonl", "\n")]).fails(1).contains("no node"));
    bed.run(&["import", "lattice_data"]).fails(1);
}

#[test]
fn exact_nodes_are_taken_as_they_are() {
    let bed = Bed::new();
    bed.run_with(&["import", "--exact", "-"], r#"[{"id": "a", "n": 1, "updated_at": 1700000000}]"#).ok();
    assert_eq!(bed.read("lattice_data/a.json"), r#"{"id": "a", "n": 1, "updated_at": 1700000000}"#);
    let later = r#"{"id": "a", "n": 2, "updated_at": "2025-01-01T00:00:00"}"#;
    let dry = bed.run_with(&["import", "--exact", "-", "--dry-run"], later).ok();
    assert!(dry.starts_with("Dry run: 0 added, 1 changed"), "{dry}");
    assert_eq!(bed.read("lattice_data/a.json"), r#"{"id": "a", "n": 1, "updated_at": 1700000000}"#);
    let done = bed.run_with(&["import", "--exact", "-", "--json"], later).ok_json();
    let kept = done["kept_as"][0].as_str().unwrap();
    assert!(kept.starts_with(".ark-overruled/a.json~"), "{done}");
    assert_eq!(bed.read(&format!("lattice_data/{kept}")), r#"{"id": "a", "n": 1, "updated_at": 1700000000}"#);
    let changed_at = std::fs::metadata(bed.path("lattice_data/a.json")).unwrap().modified().unwrap();
    assert_eq!(changed_at, std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_735_689_600));
}

#[test]
fn an_exact_version_that_is_older_or_not_dated_leaves_what_is_there_and_an_edit_does_not() {
    let bed = Bed::new();
    let here = r#"{"id": "a", "n": "here", "updated_at": 1700000000}"#;
    bed.file("lattice_data/a.json", here);
    for file in [r#"{"id": "a", "n": "older", "updated_at": 1600000000}"#, r#"{"id": "a", "n": "undated"}"#] {
        let report = bed.run_with(&["import", "--exact", "-", "--json"], file).ok_json();
        assert_eq!((&report["changed"], &report["kept_ids"][0]), (&0.into(), &"a".into()), "{report}");
        assert_eq!(bed.read("lattice_data/a.json"), here);
        assert!(bed.run_with(&["import", "--exact", "-"], file).ok().contains("without --exact the file wins: a"));
        assert!(bed.run_with(&["import", "-"], file).ok().starts_with("0 added, 1 changed"));
        assert_eq!(bed.read("lattice_data/a.json"), file);
        bed.file("lattice_data/a.json", here);
    }
    assert!(!bed.path("lattice_data/.ark-overruled").exists());
}
