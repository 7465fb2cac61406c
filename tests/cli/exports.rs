use crate::bed::{Bed, answer, canned};
use serde_json::Value;

/// Nodes with what is easily lost on the way: digits, escapes, order of keys, no `updated_at`, odd ids.
fn odd_nodes(bed: &Bed) {
    for (name, text) in [
        ("a", r#"{ "z": 1.50, "id": "a", "big": 123456789012345678901234567890 }"#),
        ("b", "{\n  \"id\": \"b\",\n  \"type\": \"note\",\n  \"text\": \"a  b \\u00fc \\\" \\\\ \u{1F600}\"\n}\n"),
        ("c%2Fd", r#"{"id": "c/d", "type": "note", "updated_at": 1699564800.25}"#),
        ("nothing", r#"{"id":"nothing","type":"other","x":[{},[],null,1e-7]}"#),
    ] {
        bed.file(&format!("lattice_data/{name}.json"), text);
    }
}

fn hash_in(text: &str) -> &str {
    let at = text.find("sha256:").unwrap();
    &text[at..at + 71]
}

fn hashes(bed: &Bed, lattice: &str) -> Vec<(String, String)> {
    let listed = bed.run(&["node", "list", "--json", "--lattice", lattice]).ok_json();
    let text = |node: &Value, key: &str| node[key].as_str().unwrap().to_owned();
    listed["nodes"].as_array().unwrap().iter().map(|node| (text(node, "id"), text(node, "hash"))).collect()
}

#[test]
fn what_is_exported_is_imported_with_the_same_hashes() {
    let bed = Bed::new();
    odd_nodes(&bed);
    let built: Value = serde_json::from_str(&bed.run(&["manifest", "build"]).ok()).unwrap();
    for (out, more) in [("all.ndjson", &[][..]), ("all.json", &[]), ("forced", &["--format", "json"])] {
        let said = bed.run(&[&["export", "--out", out], more].concat()).ok();
        assert!(said.starts_with(&format!("{out}: 4 nodes, ")), "{said}");
        let copy = format!("copy-{out}");
        std::fs::create_dir(bed.path(&copy)).unwrap();
        let imported = bed.run(&["import", "--exact", out, "--lattice", &copy]).ok();
        assert!(imported.starts_with("4 added, 0 changed, 0 unchanged, 0 refused\n"), "{imported}");
        assert_eq!(hash_in(&imported), hash_in(&said));
        assert_eq!(hashes(&bed, &copy), hashes(&bed, "lattice_data"));
        let again = bed.run(&["import", "--exact", out, "--lattice", &copy]).ok();
        assert!(again.starts_with("0 added, 0 changed, 4 unchanged"), "{again}");
        assert_eq!(hash_in(&again), hash_in(&said));
        if let Some(hash) = built["manifest_hash"].as_str() {
            assert_eq!(hash, hash_in(&said));
        }
    }
    assert!(bed.read("all.ndjson").contains(r#""big":123456789012345678901234567890"#));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&bed.read("all.json")).unwrap().len(), 4);
}

#[test]
fn nodes_are_selected_by_id_and_type_and_nothing_else_is_printed() {
    let bed = Bed::new();
    odd_nodes(&bed);
    let ids = |more: &[&str]| -> Vec<String> {
        let run = bed.run(&[&["export"], more].concat());
        assert!(run.stderr.contains("manifest hash sha256:"), "{run:?}");
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        run.ok().lines().map(id).collect()
    };
    assert_eq!(ids(&[]), ["a", "b", "c/d", "nothing"]);
    assert_eq!(ids(&["--type", "note"]), ["b", "c/d"]);
    assert_eq!(ids(&["--id", "?", "--id", "no*"]), ["a", "b", "nothing"]);
    assert_eq!(ids(&["--id", "c*", "--type", "other"]), [""; 0]);
    let quiet = bed.run(&["export", "--quiet", "--format", "json", "--id", "none"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("[]\n", ""));
    let json = bed.run(&["export", "--json", "--out", "x.ndjson"]).ok_json();
    assert_eq!(
        (&json["nodes"], &json["format"], &json["broken"]),
        (&4.into(), &"ndjson".into(), &Value::Array(vec![]))
    );
    assert_eq!(json["bytes"], bed.read("x.ndjson").len());
}

#[test]
fn a_broken_file_is_named_and_the_rest_exported() {
    let bed = Bed::new();
    odd_nodes(&bed);
    bed.file("lattice_data/half.json", r#"{"id": "ha"#);
    let run = bed.run(&["export", "--out", "x.ndjson"]);
    assert_eq!((run.code, bed.read("x.ndjson").lines().count()), (5, 4));
    assert!(run.stderr.contains("left out half.json: ") && run.stderr.contains("1 broken file left out"), "{run:?}");
    bed.run(&["export", "--quiet"]).fails(5);
    // Also where somebody else reads the directory.
    let service = bed.serve();
    let run = bed.run(&["export", "--from", &service.url, "--json", "--out", "y.ndjson"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &report["broken"][0]["file"], &report["nodes"]), (5, &"half.json".into(), &4.into()));
}

#[test]
fn a_running_service_is_exported_page_by_page() {
    let bed = Bed::new().set("ARK__LIMITS__PAGE_ITEMS", "3");
    odd_nodes(&bed);
    let service = bed.serve();
    let here = bed.run(&["export", "--out", "here.ndjson"]).ok();
    let there = bed.run(&["export", "--from", &service.url, "--out", "there.ndjson"]).ok();
    assert_eq!(hash_in(&here), hash_in(&there));
    let sorted = |name: &str| {
        let text = bed.read(name);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted("here.ndjson"), sorted("there.ndjson"));
    bed.run(&["export", "--from", &service.url, "--lattice", "copy"]).fails(2);
    bed.run(&["export", "--from", "http://127.0.0.1:1", "--out", "z.ndjson"]).fails(4);
    assert!(!bed.path("z.ndjson").exists());
}

#[test]
fn a_peer_whose_nodes_are_not_what_it_states_is_not_believed() {
    let bed = Bed::new();
    let hash = format!("sha256:{}", "0".repeat(64));
    let headers = format!("Content-Type: application/x-ndjson\r\nArk-Manifest-Hash: {hash}\r\nArk-Delta-Count: 1\r\n");
    let json = |body: &str| answer("200 OK", "Content-Type: application/json\r\n", body);
    let health = json(r#"{"lattice":{"broken_total":0,"broken":[]}}"#);
    let url = canned(vec![json(r#"{"nodes":[],"total":1}"#), answer("200 OK", &headers, "{\"id\":\"a\"}\n"), health]);
    assert!(bed.run(&["export", "--from", &url, "--out", "x.ndjson", "--quiet"]).fails(5).contains("export again"));
    let url = canned(vec![json(r#"{"nodes":[],"total":1}"#), answer("200 OK", &headers, "[1]\n")]);
    bed.run(&["export", "--from", &url, "--out", "y.ndjson"]).fails(3);
    assert!(!bed.path("y.ndjson").exists());
}

#[test]
fn a_file_that_cannot_be_written_is_said_in_one_line_and_an_old_one_stays() {
    let bed = Bed::new();
    odd_nodes(&bed);
    bed.run(&["export", "--out", "no/such/folder/x.ndjson"]).fails(1);
    bed.run(&["export", "--out", "lattice_data"]).fails(1);
    bed.file("old.ndjson", "old");
    bed.run(&["export", "--out", "old.ndjson", "--lattice", "nowhere"]).fails(1);
    assert_eq!(bed.read("old.ndjson"), "old");
    let left: Vec<_> = std::fs::read_dir(bed.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    let script = format!("set -o pipefail; '{}' export | head -c 10", env!("CARGO_BIN_EXE_ark-lattice"));
    let output = std::process::Command::new("bash").args(["-c", &script]).current_dir(bed.path("")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
