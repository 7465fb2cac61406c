//! What `make fuzz` found interesting once, held for ever: every file of `fuzz/corpus` and `fuzz/regressions` through the
//! targets' own code, without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a finding ends the test where it stands"
)]

#[path = "../fuzz/targets/canonical.rs"]
mod canonical;
// As `fuzz/fuzz_targets/dns.rs` does: the module is private to its room.
#[allow(dead_code, reason = "what the target does not call")]
#[path = "../src/federation/lan/dns.rs"]
mod dns;
#[path = "../fuzz/targets/dns.rs"]
mod dns_messages;
#[path = "../fuzz/targets/envelope.rs"]
mod envelope;
// As `fuzz/fuzz_targets/file_name.rs` does: the module is private to its room.
#[allow(dead_code, reason = "what the target does not call")]
#[path = "../src/lattice/file_name.rs"]
mod file_name;
#[path = "../fuzz/targets/file_name.rs"]
mod file_names;
#[path = "../fuzz/targets/gate.rs"]
mod gate;
#[path = "../fuzz/targets/invite_line.rs"]
mod invite_line;
#[path = "../fuzz/targets/sync_body.rs"]
mod sync_body;

use ark_lattice::types;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

fn hold(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut files = Vec::new();
    for folder in ["corpus", "regressions"] {
        let folder = root.join(folder).join(target);
        // A target without findings has no folder for them.
        if folder.exists() {
            files.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(files.len() > 20, "the corpus of {target} is not there: {} files", files.len());
    for file in files {
        let data = fs::read(&file).unwrap();
        let held = catch_unwind(AssertUnwindSafe(|| run(&data)));
        assert!(held.is_ok(), "{} breaks {target}: {:?}", file.display(), String::from_utf8_lossy(&data));
    }
}

#[test]
fn the_gate_holds() {
    hold("gate", gate::run);
}

#[test]
fn the_canonical_forms_hold() {
    hold("canonical", canonical::run);
}

#[test]
fn envelopes_hold() {
    hold("envelope", envelope::run);
}

#[test]
fn the_sync_request_holds() {
    hold("sync_body", sync_body::run);
}

#[test]
fn file_names_hold() {
    hold("file_name", file_names::run);
}

#[test]
fn multicast_dns_holds() {
    hold("dns", dns_messages::run);
}

#[test]
fn invite_lines_hold() {
    hold("invite_line", invite_line::run);
}
