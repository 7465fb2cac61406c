//! `state …`: files of the state directory that were lost.

use crate::{bed::Bed, shapes::answers_as_its_help_shows};
use std::{fs, time::Duration};

const BOUND: Duration = Duration::from_secs(20);

/// A state directory with every file that is looked at.
fn lived_in() -> Bed {
    let bed = Bed::new().set("ARK_NODE_ID", "ark-a");
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    bed.run(&["federation", "add-peer", "http://127.0.0.1:9", "--no-probe"]).ok();
    bed.run(&["federation", "auto-sync", "--stop"]).ok();
    bed.run(&["invite"]).ok();
    service.terminate(BOUND);
    bed
}

#[test]
fn a_start_without_a_file_that_was_there_is_refused_and_says_how_it_goes_on() {
    let bed = lived_in();
    let listed = answers_as_its_help_shows(&bed, &["state", "list"], &[]);
    let names: Vec<String> =
        listed["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!((names.len(), &listed["missing"]), (8, &0.into()), "{listed}");
    let whole = bed.path("whole");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let _ = fs::remove_dir_all(to);
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&bed.path("ark_state"), &whole);
    for name in &names {
        assert!(fs::metadata(whole.join(name)).unwrap().len() > 0, "{name} is made");
        for is_empty in [false, true] {
            copy(&whole, &bed.path("ark_state"));
            fs::remove_file(bed.path("ark_state").join(name)).unwrap();
            if name == "audit.log" {
                // Alone it is missed where it is opened.
                fs::remove_file(bed.path("ark_state/audit.head")).unwrap();
            }
            if is_empty {
                bed.file(&format!("ark_state/{name}"), "");
            }
            let next = format!("ark-lattice state forget {name}");
            if name == "node_id" {
                // A setting goes before it.
                bed.run(&["state", "list"]).ok();
                continue;
            }
            let said = bed.run(&["serve", "--port", "0"]).fails(1);
            assert!(said.contains(&next) && said.contains("lost with it"), "{said}");
            assert!(bed.run(&["state", "list"]).fails(1).contains(&next));
            let doctor: serde_json::Value = serde_json::from_str(&bed.run(&["doctor", "--json"]).stdout).unwrap();
            let findings = doctor["findings"].as_array().unwrap();
            assert!(findings.iter().any(|finding| finding["code"] == "state_file_missing"), "{doctor}");
            bed.run(&["state", "forget", name]).ok();
            bed.serve().terminate(BOUND);
            bed.run(&["state", "list"]).ok();
        }
    }
}

#[test]
fn commands_without_a_service_miss_what_they_need() {
    let bed = lived_in();
    fs::remove_file(bed.path("ark_state/lattice.redb")).unwrap();
    let node = bed.file("b.json", r#"{"id": "b"}"#);
    for command in [&["node", "put", &node][..], &["node", "rm", "a"], &["adopt"]] {
        let said = bed.run(command).fails(1);
        assert!(said.contains("lattice.redb is missing") && said.contains("state forget lattice.redb"), "{said}");
    }
    fs::remove_file(bed.path("ark_state/identity.key")).unwrap();
    assert!(bed.run(&["keygen"]).fails(1).contains("state forget identity.key"));
    answers_as_its_help_shows(&bed, &["state", "forget"], &["lattice.redb"]);
    bed.run(&["node", "put", &node]).ok();
    bed.run(&["state", "forget", "identity.key"]).ok();
    bed.run(&["keygen"]).ok();
    bed.serve();
}

#[test]
fn only_what_is_lost_is_forgotten_and_only_without_a_service() {
    let bed = lived_in();
    assert!(bed.run(&["state", "forget", "peers.json"]).fails(1).contains("is there, with something in it"));
    assert!(bed.run(&["state", "forget", "lock"]).fails(1).contains("identity.key, node_id, lattice.redb"));
    let service = bed.serve();
    fs::remove_file(bed.path("ark_state/peers.json")).unwrap();
    assert!(bed.run(&["state", "forget", "peers.json"]).fails(1).contains("another ark-lattice process uses it"));
    drop(service);
    // Moved out of the way, as other messages say, it was moved on purpose.
    let state = bed.path("ark_state");
    fs::rename(state.join("control.json"), state.join("control.json.old")).unwrap();
    bed.run(&["state", "forget", "peers.json"]).ok();
    bed.serve();
}
