//! The clients for Node.js and for the shell, run against the live service beside the Python client and the binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;

use python::{REPOSITORY, Run, python};
use serde_json::{Value, json};
use service::{BINARY, Place};
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    thread,
};

/// A client, as a script runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Node,
    Shell,
}

const KINDS: [Kind; 2] = [Kind::Node, Kind::Shell];

impl Kind {
    fn run(self, folder: &Path, args: &[&str]) -> Run {
        let (program, file) = match self {
            Self::Node => ("node", "clients/node/ark_lattice.mjs"),
            Self::Shell => ("bash", "clients/bash/ark-lattice.sh"),
        };
        let mut command = Command::new(program);
        command.arg(Path::new(REPOSITORY).join(file)).args(args).current_dir(folder);
        for name in ["ARK_FED_PRIVKEY", "ARK_NODE_ID", "ARK_INSTANCE_TYPE", "http_proxy"] {
            command.env_remove(name);
        }
        Run::of(command.output().unwrap())
    }

    /// Asserts a failure as scripts may expect it: this exit code, and what is wrong on standard error.
    fn fails(self, folder: &Path, args: &[&str], code: i32) -> String {
        let run = self.run(folder, args);
        assert_eq!(run.code, Some(code), "{self:?} {args:?} {run:?}");
        let said = run.stderr.trim_end();
        assert!(!said.is_empty() && !said.contains("    at "), "{run:?}");
        if code != 5 {
            assert!(said.lines().count() == 1 && (said.starts_with("error: ") || said.starts_with('{')), "{run:?}");
        }
        run.stderr
    }

    fn json(self, folder: &Path, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(folder, &[args, &["--json"]].concat()).ok()).unwrap()
    }

    /// How many of a kind a pull tells of: one client lists ids, the other counts.
    fn count(report: &Value, what: &str) -> u64 {
        let value = &report[what];
        value.as_u64().unwrap_or_else(|| u64::try_from(value.as_array().unwrap().len()).unwrap())
    }
}

fn write_node(place: &Place, id: &str, text: &str) {
    fs::write(place.lattice().join(format!("{id}.json")), text).unwrap();
}

#[tokio::test]
async fn a_directory_is_announced_discovered_and_pulled() {
    for kind in KINDS {
        let place = Place::new();
        write_node(&place, "a", r#"{"id": "a", "type": "note", "value": "Grüß Gott", "updated_at": 1700000000}"#);
        write_node(&place, "b", r#"{"id":"b","list":[1,2,{"z":null,"a":true}]}"#);
        let service = place.serve().await;
        let (folder, url) = (tempfile::tempdir().unwrap(), service.url.as_str());
        let run = |args: &[&str]| kind.run(folder.path(), args);
        let public = run(&["keygen", "--out", "ark.key"]).ok();
        let key_file = folder.path().join("ark.key");
        assert_eq!(fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
        let key = fs::read(&key_file).unwrap();
        let again = kind.fails(folder.path(), &["keygen", "--out", "ark.key"], 1);
        assert!(again.contains("never overwritten"), "{again}");
        assert_eq!(fs::read(&key_file).unwrap(), key);

        let lattice = place.lattice();
        let lattice = lattice.to_str().unwrap();
        let sent = ["publish", "--to", url, "--key", "ark.key", "--dir", lattice, "--node-id", "ark-script"];
        let published = kind.json(folder.path(), &sent);
        assert_eq!((&published["status"], &published["node_id"]), (&json!("registered"), &json!("ark-script")));
        assert_eq!(published["manifest_hash"], service.set_hash().await, "{kind:?}");
        let peers = kind.json(folder.path(), &["discover", "--from", url]);
        let peer = peers["peers"].as_array().unwrap().iter().find(|peer| peer["node_id"] == "ark-script").unwrap();
        assert_eq!((&peer["pubkey"], &peer["node_count"]), (&json!(public.trim()), &json!(2)));

        // The same key in the other clients' hands speaks for the same instance.
        let script = Path::new(REPOSITORY).join("clients/python/ark_lattice.py");
        for crypto in ["pynacl", "cryptography"] {
            let args = ["publish", "--to", url, "--key", "ark.key", "--dir", lattice, "--node-id", "ark-script"];
            let by_python =
                python().arg(&script).args(args).env("ARK_CRYPTO", crypto).current_dir(folder.path()).output();
            Run::of(by_python.unwrap()).ok();
        }
        let signed = run(&["build", lattice, "--node-id", "ark-script"]).ok();
        fs::write(folder.path().join("m.json"), signed).unwrap();
        fs::write(folder.path().join("e.json"), run(&["sign", "m.json", "--key", "ark.key"]).ok()).unwrap();
        let verified = Command::new(BINARY).args(["manifest", "verify", "e.json"]).current_dir(folder.path()).output();
        assert!(Run::of(verified.unwrap()).ok().contains(public.trim()));

        fs::create_dir(folder.path().join("copy")).unwrap();
        let pull =
            |more: &[&str]| kind.json(folder.path(), &[&["pull", "--from", url, "--dir", "copy"], more].concat());
        assert_eq!(Kind::count(&pull(&["--dry-run"]), "added"), 2);
        assert_eq!(fs::read_dir(folder.path().join("copy")).unwrap().count(), 0, "a dry run writes nothing");
        assert_eq!(Kind::count(&pull(&[]), "added"), 2);
        let again = pull(&[]);
        assert_eq!((Kind::count(&again, "added"), Kind::count(&again, "changed")), (0, 0));
        service.put("a", &json!({"id": "a", "value": "changed"})).await;
        let third = pull(&[]);
        assert_eq!((Kind::count(&third, "added"), Kind::count(&third, "changed")), (0, 1), "{third}");
        let copied: Value = serde_json::from_slice(&fs::read(folder.path().join("copy/a.json")).unwrap()).unwrap();
        assert_eq!(copied["value"], "changed");
        let names = fs::read_dir(folder.path().join("copy")).unwrap();
        assert!(names.into_iter().all(|name| !name.unwrap().file_name().to_string_lossy().starts_with('.')));
    }
}

#[test]
fn hashes_are_those_of_the_binary_or_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let documents = [
        r#"{"id":"a","n":[0,-1,123456789012345]}"#,
        "{\n  \"z\": {}, \"id\": \"a\", \"list\": []\n}",
        r#"{"id":"a","text":"Grüß \u0001 \n \u007f \ud83d\ude00 / \" \\ <&>"}"#,
        r#"{"id":"a","\u00e9":1,"e":2,"E":3,"":4}"#,
        r#"{"id":"a","big":9007199254740993,"bigger":123456789012345678901234567890}"#,
        r#"{"id":"a","f":[1.0,-0,-0.0,1e21,1e-7,0.1,1E5,100e-2,5e-324,1.7976931348623157e308]}"#,
        r#"{"id":"a","\ud83d\ude00":1,"\uff61":2}"#,
        r#"{"id":"a","in a text":"1.5 and 12345678901234567890"}"#,
    ];
    for document in documents {
        fs::write(folder.path().join("d.json"), document).unwrap();
        let ours = Command::new(BINARY).args(["node", "hash", "d.json"]).current_dir(folder.path()).output().unwrap();
        let ours = Run::of(ours).ok();
        assert_eq!(Kind::Node.run(folder.path(), &["hash", "d.json"]).ok().trim(), ours.trim(), "{document}");
        let shell = || Kind::Shell.run(folder.path(), &["hash", "d.json"]);
        let exact = !document.contains("\"big\"") && !document.contains("\"f\"") && !document.contains("uff61");
        if exact {
            assert_eq!(shell().ok().trim(), ours.trim(), "{document}");
        } else {
            let said = Kind::Shell.fails(folder.path(), &["hash", "d.json"], 1);
            assert!(said.contains("ark-lattice node hash"), "{document}: {said}");
        }
    }
    for refused in ["{\"a\":1,\"a\":2}", "[1e999]", "\u{feff}{}", "{\"a\":\"\\ud800\"}", "{} {}", "[01]"] {
        fs::write(folder.path().join("d.json"), refused).unwrap();
        Kind::Node.fails(folder.path(), &["hash", "d.json"], 1);
    }
}

#[tokio::test]
async fn failures_have_exit_codes_that_scripts_can_act_on() {
    let place = Place::new();
    let service = place.serve().await;
    let url = service.url.as_str();
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| kind.run(folder.path(), args);
        let fails = |args: &[&str], code| kind.fails(folder.path(), args, code);
        for key in ["one.key", "two.key"] {
            run(&["keygen", "--out", key]).ok();
        }
        let manifest = format!("{{\"node_id\":\"ark-{kind:?}\"}}");
        fs::write(folder.path().join("m.json"), manifest).unwrap();
        run(&["publish", "--to", url, "--key", "one.key", "m.json"]).ok();
        let said = fails(&["publish", "--to", url, "--key", "two.key", "m.json"], 3);
        assert!(said.contains("key_mismatch"), "{said}");
        let said = fails(&["publish", "--to", url, "--key", "two.key", "m.json", "--json"], 3);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["code"], &said["exit_code"]), (&json!("key_mismatch"), &json!(3)));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(fails(&["discover", "--from", &format!("http://{closed}")], 4).contains("cannot be reached"));
        for wrong in [&["bogus"][..], &[], &["pull", "--from", url], &["discover"], &["discover", "--from", "host:1"]] {
            fails(wrong, 2);
        }
        fails(&["publish", "--to", url, "--key", "none.key", "m.json"], 1);
        fails(&["hash", "m.json", "--frobnicate"], 2);
    }
}

/// A service that answers every request to `/sync` with these lines, announcing so many.
fn canned(lines: &str, announced: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nArk-Delta-Count: {announced}\r\nArk-Manifest-Hash: x\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{lines}",
        lines.len()
    );
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = vec![0; 65536];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_hostile_service_writes_nothing_outside_and_is_named() {
    let hostile = "{\"id\":\"../../outside\"}\n{\"id\":\"/etc/outside\"}\n{\"id\":\".hidden\"}\n{\"id\":\"\"}\n[]\n";
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("copy")).unwrap();
        let fails = |url: &str, code| kind.fails(folder.path(), &["pull", "--from", url, "--dir", "copy"], code);
        fails(&canned(hostile, 5), 5);
        let names = fs::read_dir(folder.path().join("copy")).unwrap();
        let mut names: Vec<String> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["%2E.%2F..%2Foutside.json", "%2Ehidden.json", "%2Fetc%2Foutside.json"], "{kind:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fails(&canned("{\"id\":\"a\"}\n{\"id\":\"b\"}\n", 1), 3);
        fails(&canned("{\"id\":\"a\"}\n{\"id\":", 2), 4);
    }
}

#[test]
fn the_shell_client_is_clean() {
    let script = Path::new(REPOSITORY).join("clients/bash/ark-lattice.sh");
    let checked = Command::new("shellcheck").arg(script).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
