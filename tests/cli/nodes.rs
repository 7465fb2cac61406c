use crate::bed::Bed;

#[test]
fn a_node_is_put_listed_shown_hashed_and_removed() {
    let bed = Bed::new();
    let put = bed.run_with(&["node", "put", "-"], r#"{"id": "a/b", "type": "note", "n": 1}"#).ok();
    assert!(put.starts_with("created a/b sha256:"), "{put}");
    let again = bed.run_with(&["node", "put", "-", "--id", "a/b"], r#"{"id": "a/b", "type": "note", "n": 1}"#).ok();
    assert!(again.starts_with("unchanged a/b"), "{again}");
    let shown = bed.run(&["node", "show", "a/b"]).ok();
    assert_eq!(shown, bed.read("lattice_data/a%2Fb.json") + "\n");
    assert_eq!(shown.trim_end(), r#"{"id": "a/b", "type": "note", "n": 1}"#, "byte for byte");

    let listed = bed.run(&["node", "list"]).ok();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[1].starts_with("a/b  note  20"), "{listed}");
    assert_eq!(bed.run(&["node", "list", "--type", "other"]).ok().lines().count(), 1);
    let listed = bed.run(&["node", "list", "--json"]).ok_json();
    assert_eq!(listed["count"], 1);

    let hash = bed.run(&["node", "hash", "a/b"]).ok();
    assert_eq!(listed["nodes"][0]["hash"], hash.trim_end());
    assert!(bed.run(&["node", "list", "--long"]).ok().contains(hash.trim_end()));
    assert_eq!(bed.run_with(&["node", "hash", "-"], &shown).ok(), hash);
    assert_eq!(bed.run(&["node", "hash", "lattice_data/a%2Fb.json", "--json"]).ok_json()["hash"], hash.trim_end());
    assert!(bed.run(&["node", "verify"]).ok().contains("1 node"));

    assert_eq!(bed.run(&["node", "rm", "a/b"]).ok(), "deleted a/b\n");
    assert!(bed.run(&["node", "rm", "a/b"]).fails(1).contains("node list"));
    assert!(bed.run(&["node", "show", "a/b"]).fails(1).contains("a/b"));
    assert!(bed.run(&["node", "hash", "a/b"]).fails(1).contains("a/b"));
}

#[test]
fn what_is_no_node_is_refused_with_the_rule_that_it_breaks() {
    let bed = Bed::new();
    for (text, reason) in [
        (r#"{"id": "a", "id": "a"}"#, "id"),
        (r#"{"id": 1}"#, "string"),
        ("[]", "object"),
        ("", "empty"),
        (r#"{"id": "a", "n": NaN}"#, "standard input"),
    ] {
        let said = bed.run_with(&["node", "put", "-"], text).fails(1);
        assert!(said.contains(reason), "{text}: {said}");
    }
    assert!(bed.run_with(&["node", "put", "-", "--id", "b"], r#"{"id": "a"}"#).fails(1).contains("\"b\""));
    assert!(bed.run(&["node", "put", "nowhere.json"]).fails(1).contains("nowhere.json"));
    assert!(bed.run(&["node", "show", ""]).fails(1).contains("empty"));
    assert_eq!(std::fs::read_dir(bed.path("lattice_data")).unwrap().count(), 0);
}

#[test]
fn broken_files_are_named_by_verify_and_left_out_elsewhere() {
    let bed = Bed::new();
    bed.file("lattice_data/good.json", r#"{"id": "good"}"#);
    bed.file("lattice_data/half.json", r#"{"id": "ha"#);
    bed.file("lattice_data/other.json", r#"{"id": "another"}"#);
    let run = bed.run(&["node", "verify"]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("FILE        REASON") && lines[1].starts_with("half.json   "), "{run:?}");
    assert!(lines[2].starts_with("other.json  ") && lines.len() == 3, "{run:?}");
    assert!(run.fails(5).contains("2 broken files"));
    let run = bed.run(&["node", "verify", "--json"]);
    assert_eq!(run.code, 5);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()["broken"].as_array().unwrap().len(), 2);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&run.stderr).unwrap()["exit_code"], 5);
    assert_eq!(bed.run(&["node", "list", "--quiet"]).ok().lines().count(), 2);
    assert!(bed.run(&["node", "show", "half"]).fails(1).contains("half.json is broken"));
}

#[test]
fn a_directory_that_is_missing_or_cannot_be_written_is_said_in_one_line() {
    let bed = Bed::new();
    let file = bed.file("plain", "");
    for command in [&["node", "list"][..], &["node", "verify"], &["node", "show", "a"], &["manifest", "build"]] {
        let with = |directory: &str| bed.run(&[command, &["--lattice", directory]].concat()).fails(1);
        assert!(with("nowhere").contains("does not exist"));
        assert!(with(&file).contains("not a directory"));
    }
    // Nobody, not even root, makes files there.
    if cfg!(target_os = "linux") {
        bed.run_with(&["node", "put", "-", "--lattice", "/sys/kernel"], r#"{"id": "a"}"#).fails(1);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bed = Bed::new();
    for number in 0..200 {
        bed.file(&format!("lattice_data/n{number}.json"), &format!(r#"{{"id": "n{number}"}}"#));
    }
    let script = format!("set -o pipefail; '{}' node list | head -n 1", env!("CARGO_BIN_EXE_ark-lattice"));
    let output = std::process::Command::new("bash").args(["-c", &script]).current_dir(bed.path("")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn names_that_do_not_look_like_what_they_are_are_shown_with_escapes() {
    let bed = Bed::new();
    let peer = Bed::new().set("ARK_NODE_ID", "ark-2\u{200b}");
    for (id, kind) in [("\u{202e}evil\u{2066}", "note"), ("l\u{2028}sep", "a\u{1b}[2J\nb"), ("plain", "\u{feff}x")] {
        let node = serde_json::json!({"id": id, "type": kind}).to_string();
        assert_eq!(bed.run_with(&["node", "put", "-"], &node).code, 0);
    }
    bed.file("lattice_data/bad\u{202e}\u{1b}name.json", "{");
    let service = bed.serve();
    let (bed, url) = (bed.set("FEDERATION_PORT", &service.port.to_string()), service.url.clone());
    assert_eq!(peer.run(&["keygen", "--out", "peer.key"]).code, 0);
    assert_eq!(peer.run(&["manifest", "publish", "--to", &url, "--key", "peer.key"]).code, 0);
    assert!(peer.run(&["manifest", "publish", "--to", &url, "--key", "peer.key"]).ok().contains("ark-2\\u{200b}"));
    for args in [
        &["node", "list"][..],
        &["node", "list", "--long"],
        &["node", "verify"],
        &["node", "show", "no\u{202e}"],
        &["discover", "--from", &url],
        &["federation", "status"],
        &["federation", "trust", "list"],
        &["federation", "trust", "show", "ark-2\u{200b}"],
        &["federation", "trust", "revoke", "ark-2\u{200b}", "--reason", "why"],
        &["audit", "list"],
        &["doctor"],
    ] {
        let run = bed.run(args);
        let shown = format!("{}{}", run.stdout, run.stderr);
        let bare = shown.chars().find(|c| *c != '\n' && ark_lattice::types::is_unprintable(*c));
        assert_eq!(bare, None, "{args:?}: {shown:?}");
    }
    assert!(bed.run(&["node", "list"]).ok().contains("\\u{202e}evil\\u{2066}"));
    assert!(bed.run(&["audit", "list"]).ok().contains("ark-2\\u{200b}"));
    // Programs are given what is there.
    let listed = bed.run(&["node", "list", "--json"]).ok_json();
    assert!(listed["nodes"].as_array().unwrap().iter().any(|node| node["id"] == "\u{202e}evil\u{2066}"));
}
