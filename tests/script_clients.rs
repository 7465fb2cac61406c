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
        let place = Place::new().with_default_trust();
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
        let names = fs::read_dir(folder.path().join("copy")).unwrap().map(|name| name.unwrap().file_name());
        let hidden: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
        assert_eq!(hidden, [".ark-overruled"], "nothing temporary is left");
        let kept: Vec<_> = fs::read_dir(folder.path().join("copy/.ark-overruled")).unwrap().collect();
        assert_eq!((kept.len(), Kind::count(&third, "kept_as")), (1, 1), "{third}");
        let kept: Value = serde_json::from_slice(&fs::read(kept[0].as_ref().unwrap().path()).unwrap()).unwrap();
        assert_eq!(kept["value"], "Grüß Gott");
    }
}

/// What every client hashes as the binary does: `v` of a node.
const HASHED: &[&str] = &[
    "[0,-1,123456789012345,-999999999999999]",
    "{\n  \"z\": {}, \"y\": [],\r\n\t\"list\" : [ ]\n}",
    r#""Grüß \u0001 \n \u007f \ud83d\ude00 / \" \\ <&>' \/\b\f\r\t \u00E9""#,
    r#"{"\u00e9":1,"e":2,"E":3,"":4,"_":5,"10":6,"9":7}"#,
    r#""1.5 and 12345678901234567890 and -0""#,
    r#""\" 1.5, \\\" 12345678901234567890 \\""#,
    r#"{"a\\":"b\\","c:":":,{[","":"nan","d":[{},[],"true"]}"#,
    "\"\u{7f}\"",
    r#""\\u007f""#,
    r#""\\\u007f""#,
    r#""\\\\u007f \u007F\\u007f""#,
    "{\"\u{7f}\":1,\"\\u0080\":2,\"~\":3,\"\\\\u007f\":4}",
    r#"["\\ud800","\\\\udc00","\uD83D\uDE00","\\ud83d\\ude00"]"#,
    r#"{"\u0000":1,"\u0000a":2,"a\u0000c":3,"a\u0000b":4,"v":"\u0000"}"#,
    "\"\u{ffff}\u{fffe}\u{fdd0}\u{10ffff}\u{2028}\u{85}\u{fffd}e\u{301}\"",
    "{\"\u{ff61}\":1,\"\u{e000}\":2,\"\u{d7ff}\":3}",
];

/// What jq would hash otherwise: the shell client says so.
const BEYOND_JQ: &[&str] = &[
    "-0",
    "0.1",
    "1.0",
    "-0.0",
    "1e2",
    "1E5",
    "1e21",
    "100e-2",
    "5e-324",
    "1.7976931348623157e308",
    "1000000000000000",
    "9007199254740993",
    "-123456789012345678901234567890",
    r#"["a\\",1.5,"b"]"#,
    r#"["\"",9007199254740993,"\""]"#,
    "{\"\u{1f600}\":1}",
    r#"{"\ud83d\ude00":1,"\uff61":2}"#,
];

/// What no client hashes, nor the binary: `v` of a node.
const NOT_HASHED: &[&str] = &[
    "nan",
    "NaN",
    "-Infinity",
    "01",
    "-01",
    "00",
    "+1",
    ".5",
    "1.",
    "1e",
    "1e999",
    "0x10",
    "TRUE",
    "tru",
    "S",
    "'a'",
    "[1,]",
    "[1 2]",
    "[\"a\" \"b\"]",
    "{\"a\":1,}",
    "{1:2}",
    "1 // one",
    "1\u{a0}",
    "1\u{b}",
    r#"{"a":1,"a":1}"#,
    r#"{"a":1,"\u0061":2}"#,
    r#"[{"a":{"b":1},"a":{"c":2}}]"#,
    r#""\ud800""#,
    r#""\udc00""#,
    r#""\uDC00\uD800""#,
    r#""\ud800\ud800\udc00""#,
    r#""\\\ud800""#,
    r#""\ud83dx\ude00""#,
    r#"{"\ud800":1}"#,
    r#""\x""#,
    r#""\u12g4""#,
    r#""\U0041""#,
    "\"\t\"",
    "\"\n\"",
    "\"\0\"",
];

#[test]
fn hashes_are_those_of_the_binary_or_there_is_none() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Expected {
        Hash,
        NotByJq,
        None,
    }
    let node = |value: &&str| format!("{{\"id\":\"a\",\"v\":{value}}}").into_bytes();
    let nested = |depth: usize| node(&&*format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1)));
    // More than a pipe holds, so that whoever reads it does not see its end before its middle.
    let texts: Vec<String> = (0..10_000).map(|n| format!("\"text {n}\"")).collect();
    let long = |value: &str| node(&&*format!("[{value},{}]", texts.join(",")));
    let mut documents: Vec<(Expected, Vec<u8>)> = Vec::new();
    documents.extend(HASHED.iter().map(|value| (Expected::Hash, node(value))));
    documents.extend(BEYOND_JQ.iter().map(|value| (Expected::NotByJq, node(value))));
    documents.extend(NOT_HASHED.iter().map(|value| (Expected::None, node(value))));
    documents.extend([
        (Expected::Hash, b"\r\n{\"id\":\"a\"}\n\t ".to_vec()),
        (Expected::Hash, nested(64)),
        (Expected::None, nested(65)),
        (Expected::None, nested(5000)),
        (Expected::Hash, long("1")),
        (Expected::NotByJq, long("1.5")),
        (Expected::None, long("\"\\ud800\"")),
    ]);
    let whole: [&[u8]; 12] = [
        b"",
        b" ",
        b"\n",
        b"{",
        b"{\"id\":\"a\"",
        b"{\"id\":\"a",
        b"{\"id\":\"a\"} {}",
        b"{\"id\":\"a\"}}",
        b"{\"id\":\"a\"}\0",
        b"{\"id\":\"a\",\"id\":\"a\"}",
        b"\xef\xbb\xbf{\"id\":\"a\"}",
        b"{\0\"\0i\0d\0\"\0:\0\"\0a\0\"\0}\0",
    ];
    documents.extend(whole.map(|text| (Expected::None, text.to_vec())));
    let not_utf8: [&[u8]; 7] =
        [b"\xff", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xc3("];
    documents.extend(not_utf8.map(|raw| (Expected::None, [b"{\"id\":\"a\",\"v\":\"", raw, b"\"}"].concat())));

    let check = |&(expected, ref document): &(Expected, Vec<u8>)| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("d.json"), document).unwrap();
        let shown = String::from_utf8_lossy(&document[..document.len().min(100)]).into_owned();
        let ours = Command::new(BINARY).args(["node", "hash", "d.json"]).current_dir(folder.path()).output().unwrap();
        let ours = Run::of(ours);
        assert_eq!(ours.code == Some(0), expected != Expected::None, "{shown}: {ours:?}");
        let script = Path::new(REPOSITORY).join("clients/python/ark_lattice.py");
        let by_python = python().arg(script).args(["hash", "d.json"]).current_dir(folder.path()).output().unwrap();
        let by_script = KINDS.map(|kind| (kind == Kind::Shell, kind.run(folder.path(), &["hash", "d.json"])));
        for (shell, run) in by_script.into_iter().chain([(false, Run::of(by_python))]) {
            if expected == Expected::Hash || (expected == Expected::NotByJq && !shell) {
                assert_eq!(run.ok().trim(), ours.stdout.trim(), "{shown}");
                continue;
            }
            assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{shown}: {run:?}");
            assert_eq!(run.stderr.trim_end().lines().count(), 1, "{shown}: {run:?}");
            assert!(!shell || run.stderr.contains("ark-lattice node hash"), "{shown}: {run:?}");
        }
    };
    thread::scope(|scope| {
        for part in documents.chunks(documents.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(check));
        }
    });
}

#[tokio::test]
async fn failures_have_exit_codes_that_scripts_can_act_on() {
    let place = Place::new().with_default_trust();
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

/// What a stranger calls himself is shown as the service shows it, and a long id stops nobody: its file has the service's own name.
#[tokio::test]
async fn names_of_strangers_are_shown_as_escapes_and_long_ids_have_the_services_file_names() {
    let place = Place::new();
    let service = place.serve().await;
    let folder = tempfile::tempdir().unwrap();
    let type_name = "l\u{1b}[31m\u{202e}\u{13441}\u{f0000}\tx";
    let manifest = json!({"node_id": "e\u{200b}vil", "instance_type": type_name}).to_string();
    fs::write(folder.path().join("m.json"), manifest).unwrap();
    KINDS[0].run(folder.path(), &["keygen", "--out", "a.key"]).ok();
    KINDS[0].run(folder.path(), &["publish", "--to", &service.url, "--key", "a.key", "m.json"]).ok();
    for long in [
        format!("0{}", "é".repeat(200)),
        "n".repeat(251),
        format!("{}\u{3000}", "n".repeat(183)),
        "\u{2066}n".to_owned(),
    ] {
        service.put(&long, &json!({"id": long})).await;
    }
    service.put("zz", &json!({"id": "zz"})).await;
    let names = |directory: &Path| -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|name| name.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "manifest.json" && !name.starts_with('.')).collect();
        names.sort();
        names
    };
    assert_eq!(names(&place.lattice()).len(), 5);
    let by_python = |args: &[&str]| {
        let script = Path::new(REPOSITORY).join("clients/python/ark_lattice.py");
        Run::of(python().arg(script).args(args).current_dir(folder.path()).output().unwrap())
    };
    type Client<'a> = &'a dyn Fn(&[&str]) -> Run;
    let clients: [(&str, Client<'_>); 3] = [
        ("node", &|args| Kind::Node.run(folder.path(), args)),
        ("shell", &|args| Kind::Shell.run(folder.path(), args)),
        ("python", &by_python),
    ];
    for (name, run) in clients {
        let shown = run(&["discover", "--from", &service.url]).ok();
        assert!(shown.contains("e\\u{200b}vil\tl\\u{1b}[31m\\u{202e}\\u{13441}\\u{f0000}\\tx\t"), "{name}: {shown:?}");
        fs::create_dir(folder.path().join(name)).unwrap();
        let pulled = run(&["pull", "--from", &service.url, "--dir", name]);
        assert_eq!(names(&folder.path().join(name)), names(&place.lattice()), "{name}");
        for text in [&pulled.stdout, &pulled.stderr] {
            assert!(!text.contains(['\u{2066}', '\u{3000}']), "{name}: {text:?}");
        }
        pulled.ok();
    }
}

#[test]
fn the_shell_client_is_clean() {
    let script = Path::new(REPOSITORY).join("clients/bash/ark-lattice.sh");
    let checked = Command::new("shellcheck").arg(script).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
