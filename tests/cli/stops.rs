//! Ctrl-C and SIGTERM in the middle of the work.

use crate::bed::Bed;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A command that is killed when it is dropped.
struct Running(Child);

impl Running {
    fn start(bed: &Bed, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ark-lattice"));
        command.args(args).current_dir(bed.path("")).env_clear();
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Sends the signal; exit code and standard error.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let started = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(30), "it goes on");
            thread::park_timeout(Duration::from_millis(10));
        }
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn wait_for(what: &str, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} does not happen");
        thread::park_timeout(Duration::from_millis(10));
    }
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp")
}

fn nodes(count: usize) -> String {
    (0..count).map(|number| format!("{{\"id\":\"n{number:04}\"}}\n")).collect()
}

/// A service that says how many nodes it has, sends `sent` of them on `/sync`, and then nothing more.
fn stalling(sent: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let is_sync = read_head(&mut stream).starts_with("POST /sync");
            let answer = if is_sync {
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nArk-Manifest-Hash: {HASH}\r\n\
                     Ark-Delta-Count: 9999\r\nContent-Length: 99999999\r\n\r\n{}",
                    nodes(sent)
                )
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 25\r\nConnection: close\r\n\r\n{\"nodes\":[],\"total\": 9999}"
                    .to_owned()
            };
            stream.write_all(answer.as_bytes()).unwrap();
            if is_sync {
                open.push(stream);
            }
        }
    });
    url
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    head
}

#[test]
fn a_stopped_export_leaves_no_file() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let bed = Bed::new();
        let url = stalling(3);
        let export = Running::start(&bed, &["export", "--from", &url, "--out", "all.ndjson"]);
        wait_for("the temporary file", || names(&bed.path("")).iter().any(|name| is_temporary(name)));
        let (exit, said) = export.stop(signal);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.starts_with("error: stopped") && said.lines().count() == 1, "{said}");
        assert_eq!(names(&bed.path("")), ["lattice_data"]);
    }
}

#[test]
fn a_stopped_pull_leaves_whole_nodes_only() {
    let bed = Bed::new();
    let pull = Running::start(&bed, &["pull", "--from", &stalling(300), "--json"]);
    wait_for("the first batch", || bed.path("lattice_data/n0255.json").exists());
    let (exit, said) = pull.stop("-INT");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((exit, &said["exit_code"]), (Some(130), &130.into()));
    let left = names(&bed.path("lattice_data"));
    assert!(left.len() == 256 && !left.iter().any(|name| is_temporary(name)), "{left:?}");
    assert!(bed.run(&["node", "verify"]).ok().starts_with("256 nodes"));
}

#[test]
fn a_stopped_import_leaves_whole_nodes_only_and_can_be_repeated() {
    // As versions and as edits, with a journal and without.
    for (args, has_journal) in
        [(&["import", "--exact", "-"][..], false), (&["import", "-"], false), (&["import", "-"], true)]
    {
        let bed = Bed::new();
        if has_journal {
            assert!(bed.serve().terminate(Duration::from_secs(20)).0.success());
        }
        let stored = || names(&bed.path("lattice_data")).iter().filter(|name| name.starts_with('n')).count();
        let mut import = Running::start(&bed, args);
        let mut stdin = import.0.stdin.take().unwrap();
        // More than a pipe and a batch hold, so that some of it is read; the pipe stays open.
        stdin.write_all(nodes(300).as_bytes()).unwrap();
        wait_for("the first batch", || bed.path("lattice_data/n0255.json").exists());
        let (exit, _) = import.stop("-INT");
        assert_eq!(exit, Some(130));
        assert_eq!(stored(), 256);
        assert!(!names(&bed.path("lattice_data")).iter().any(|name| is_temporary(name)));
        let again = bed.run_with(args, &nodes(300)).ok();
        assert!(again.starts_with("44 added, 0 changed, 256 unchanged"), "{again}");
    }
}
