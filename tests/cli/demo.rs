use crate::bed::{Bed, get};
use serde_json::Value;
use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// A bed whose temporary directory is its own, so that what is left behind can be seen.
fn bed() -> (Bed, std::path::PathBuf) {
    let bed = Bed::new();
    let temporary = bed.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let bed = bed.set("TMPDIR", temporary.to_str().unwrap());
    (bed, temporary)
}

fn is_empty(folder: &std::path::Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn the_demo_shows_every_step_and_leaves_nothing() {
    let (bed, temporary) = bed();
    let printed = bed.run(&["demo", "--json"]).ok();
    let steps: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |step: &str| steps.iter().filter(|value| value["step"] == step).collect::<Vec<_>>();
    let texts = |step: &str, key: &str| of(step).iter().map(|value| value[key].to_string()).collect::<Vec<_>>();
    assert_eq!(texts("instance", "name"), ["\"laptop\"", "\"cloud\"", "\"pi\""]);
    assert_eq!(texts("instance", "public_key").into_iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(texts("refused", "code"), ["\"bad_signature\"", "\"key_mismatch\"", "\"rollback\""]);
    assert_eq!(of("peer").len(), 3);
    // Each lacked a third, and one of the edits lost.
    let added: u64 = of("pull").iter().map(|pull| pull["added"].as_u64().unwrap()).sum();
    assert_eq!(added, 32);
    let hashes = texts("in_step", "manifest_hash");
    assert!(hashes.len() == 2 && hashes[0] != hashes[1] && hashes[0].starts_with("\"sha256:"), "{hashes:?}");
    assert_eq!(steps.last().unwrap()["ok"], true);
    assert!(is_empty(&temporary) && is_empty(&bed.path("lattice_data")));

    let text = bed.run(&["demo"]).ok();
    assert!(text.contains("409 key_mismatch") && text.contains("In step, all three"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours are for terminals");
    assert_eq!(bed.run(&["demo", "--quiet"]).ok(), "");
}

/// Ends with the test, whatever happens.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn the_demo_stays_until_it_is_told_to_go() {
    let (bed, temporary) = bed();
    let demo = Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
        .args(["demo", "--stay", "--json"])
        .current_dir(bed.path(""))
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .spawn();
    let mut demo = Running(demo.unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines();
    let stay: Value = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .find(|value| value["step"] == "stay")
        .unwrap();
    let port = stay["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    assert!(get(port, "/discover").contains("\"count\":3"));
    assert!(Command::new("kill").args(["-INT", &demo.0.id().to_string()]).status().unwrap().success());
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
    assert!(lines.next().is_none() && is_empty(&temporary));
}
