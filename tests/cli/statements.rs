use crate::bed::{Bed, answer, canned};
use serde_json::Value;

fn bed_with_key() -> Bed {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    bed.file("lattice_data/b.json", r#"{"id": "b", "type": "note", "updated_at": 5}"#);
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    bed
}

#[test]
fn a_manifest_says_what_the_directory_holds() {
    let bed = bed_with_key();
    let manifest = bed.run(&["manifest", "build", "--seq", "7"]).ok_json();
    assert_eq!(manifest["node_id"], "ark-bed");
    assert_eq!(manifest["version"], "1.0.0");
    assert_eq!(manifest["seq"], 7);
    assert!(manifest["last_updated"].is_u64());
    let hash = bed.run(&["node", "hash", "b"]).ok();
    assert_eq!(manifest["nodes"][0]["id"], "a");
    assert!(manifest["nodes"][0]["updated_at"].is_null());
    assert_eq!(manifest["nodes"][1]["hash"], hash.trim_end());
    assert_eq!(manifest["nodes"][1]["updated_at"], 5);

    bed.run(&["manifest", "build", "--node-id", "other", "--out", "m.json"]).ok();
    let written: Value = serde_json::from_str(&bed.read("m.json")).unwrap();
    assert_eq!((&written["node_id"], &written["seq"]), (&"other".into(), &Value::Null));
    bed.run(&["manifest", "build", "--node-id", ""]).fails(1);
    bed.run(&["manifest", "build", "--out", "nowhere/m.json"]).fails(1);
}

#[test]
fn every_form_is_signed_and_verified_and_a_changed_one_is_not() {
    let bed = bed_with_key();
    bed.run(&["manifest", "build", "--out", "m.json"]).ok();
    for form in ["dsse", "python", "jcs"] {
        let envelope = bed.run(&["manifest", "sign", "m.json", "--form", form]).ok();
        let said = bed.run_with(&["manifest", "verify", "-"], &envelope).ok();
        assert!(said.contains("node id        ark-bed") && said.contains("nodes          2"), "{said}");
        let said = bed.run_with(&["manifest", "verify", "-", "--json"], &envelope).ok_json();
        assert_eq!((&said["node_count"], &said["node_id"]), (&2.into(), &"ark-bed".into()));
    }
    let envelope = bed.run(&["manifest", "sign", "m.json", "--form", "python"]).ok();
    let forged = envelope.replace("ark-bed", "ark-bad");
    assert!(bed.run_with(&["manifest", "verify", "-"], &forged).fails(5).contains("signature"));
    bed.run_with(&["manifest", "verify", "-"], "{}").fails(5);
    bed.run(&["manifest", "verify", "nowhere.json"]).fails(1);
}

#[test]
fn what_cannot_be_signed_says_why() {
    let bed = Bed::new();
    bed.run(&["manifest", "build", "--out", "m.json"]).ok();
    assert!(bed.run(&["manifest", "sign", "m.json"]).fails(1).contains("keygen"));
    bed.run(&["keygen", "--out", "a.key"]).ok();
    assert!(bed.run_with(&["manifest", "sign", "-", "--key", "a.key"], "{}").fails(1).contains("node_id"));
    bed.file("open.key", "x");
    assert!(bed.run(&["manifest", "sign", "m.json", "--key", "open.key"]).fails(1).contains("chmod 600"));
    assert!(bed.run(&["manifest", "sign", "m.json", "--key", "nowhere.key"]).fails(1).contains("nowhere.key"));
}

#[test]
fn the_other_sides_answers_become_exit_codes() {
    let bed = bed_with_key();
    let problem = r#"{"code": "rollback", "detail": "older than the newest"}"#;
    for (answered, code, said) in [
        (answer("409 Conflict", "", problem), 3, "rollback"),
        (answer("401 Unauthorized", "", "<html>"), 3, "401"),
        (answer("503 Service Unavailable", "Retry-After: 2\r\n", "{}"), 4, "in 2 s"),
        (answer("307 Temporary Redirect", "Location: http://127.0.0.2:1/\r\n", ""), 3, "http://127.0.0.2:1/"),
        (String::new(), 4, "cannot be reached"),
        (answer("200 OK", "", "no json"), 3, "answer"),
    ] {
        let url = canned(vec![answered.clone()]);
        let line = bed.run(&["manifest", "publish", "--to", &url]).fails(code);
        assert!(line.contains(said), "{answered}: {line}");
    }
    let run = bed.run(&["manifest", "publish", "--json", "--to", &canned(vec![answer("409 Conflict", "", problem)])]);
    let said: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((run.code, &said["code"], &said["exit_code"]), (3, &"rollback".into(), &3.into()));
    bed.run(&["discover", "--from", "http://127.0.0.1:1"]).fails(4);
}
