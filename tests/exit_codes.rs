//! One table of exit codes (README) for the command and the three clients: each case is tried with all of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;

use serde_json::json;
use service::Place;
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAMS: [&str; 4] = ["ark-lattice", "python", "node", "shell"];

fn run(program: &str, folder: &Path, args: &[&str]) -> Output {
    let client = |file: &str| Path::new(REPOSITORY).join("clients").join(file);
    let mut command = match program {
        "ark-lattice" => Command::new(env!("CARGO_BIN_EXE_ark-lattice")),
        "python" => {
            let mut command = python::python();
            command.arg(client("python/ark_lattice.py"));
            command
        }
        "node" => {
            let mut command = Command::new("node");
            command.arg(client("node/ark_lattice.mjs"));
            command
        }
        _ => {
            let mut command = Command::new("bash");
            command.arg(client("bash/ark-lattice.sh"));
            command
        }
    };
    for name in ["ARK_FED_PRIVKEY", "ARK_NODE_ID", "ARK_INSTANCE_TYPE", "http_proxy"] {
        command.env_remove(name);
    }
    command.args(args).current_dir(folder).output().unwrap()
}

/// Discovers, publishes and signs, in each program's own words.
fn discover(url: &str) -> Vec<&str> {
    vec!["discover", "--from", url]
}

fn sign<'a>(program: &str, key: &'a str) -> Vec<&'a str> {
    match program {
        "ark-lattice" => vec!["manifest", "sign", "m.json", "--key", key],
        _ => vec!["sign", "m.json", "--key", key],
    }
}

fn publish<'a>(program: &str, url: &'a str, key: &'a str) -> Vec<&'a str> {
    match program {
        "ark-lattice" => vec!["manifest", "publish", "--to", url, "--key", key, "m.json"],
        _ => vec!["publish", "--to", url, "--key", key, "m.json"],
    }
}

#[tokio::test]
async fn the_command_and_all_clients_end_with_the_same_codes() {
    let place = Place::new();
    let service = place.serve().await;
    let url = service.url.as_str();
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    // A web server that is no ark-lattice.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = format!("http://{}", other.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in other.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]);
            let page = "<html>Sign in</html>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
            let _gone = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        }
    });
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for key in ["one.key", "two.key"] {
            assert!(run(program, folder, &["keygen", "--out", key]).status.success(), "{program}");
        }
        let id = format!("of-{program}");
        fs::write(folder.join("m.json"), json!({"node_id": id, "nodes": []}).to_string()).unwrap();
        let cases: [(&str, i32, Vec<&str>); 8] = [
            ("done", 0, publish(program, url, "one.key")),
            ("listed", 0, discover(url)),
            ("no such key", 1, sign(program, "none.key")),
            ("an option that there is not", 2, vec!["discover", "--nonsense"]),
            ("no address", 2, discover("ftp://example.org")),
            ("another key", 3, publish(program, url, "two.key")),
            ("no ark-lattice", 3, discover(&web)),
            ("nothing there", 4, discover(&nobody)),
        ];
        for (case, code, args) in cases {
            let output = run(program, folder, &args);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{program}, {case}: {said}");
            assert!(code == 0 || !said.trim().is_empty(), "{program}, {case}");
        }
    }
}

#[test]
fn a_private_key_goes_into_no_pipe_unless_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS.into_iter().skip(1) {
        let refused = run(program, folder.path(), &["keygen"]);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{program}: {refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--print-secret"), "{program}: {refused:?}");
        let printed = run(program, folder.path(), &["keygen", "--print-secret"]);
        assert!(printed.status.success(), "{program}: {printed:?}");
        assert_eq!(String::from_utf8(printed.stdout).unwrap().lines().count(), 2, "{program}");
    }
}

#[test]
fn there_is_one_table_of_exit_codes_and_the_clients_point_to_it() {
    let read = |file: &str| fs::read_to_string(Path::new(REPOSITORY).join(file)).unwrap();
    assert!(read("README.md").contains("### Exit codes\n"));
    for client in ["python", "node", "bash"] {
        let text = read(&format!("clients/{client}/README.md"));
        assert!(text.contains("(../../README.md#exit-codes)") && !text.contains("| exit code |"), "{client}");
    }
}
