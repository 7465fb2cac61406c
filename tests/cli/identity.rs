//! Who an instance is where no setting names it.

use crate::bed::{Bed, Service, get};
use serde_json::Value;
use std::fs;

/// As a new user has it.
fn unnamed() -> Bed {
    Bed::new().without("ARK_NODE_ID")
}

fn id_of(service: &Service) -> String {
    let answer = get(service.port, "/health");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    body["node_id"].as_str().unwrap().to_owned()
}

fn host_id() -> String {
    format!("ark-{}", gethostname::gethostname().to_string_lossy())
}

#[test]
fn the_id_is_made_once_and_no_other_instance_of_the_machine_has_it() {
    let (bed, other) = (unnamed(), unnamed());
    let checked = bed.run(&["config", "check"]).ok();
    assert!(checked.contains("an instance without an id yet (the service makes one: ark-"), "{checked}");
    assert!(!bed.path("ark_state").exists(), "a check changes nothing");
    assert_eq!(bed.run(&["config", "check", "--json"]).ok_json()["node_id"], Value::Null);
    let doctor = bed.run(&["doctor"]).stdout;
    assert!(doctor.contains("serve makes an id at its first start"), "{doctor}");

    let service = bed.serve();
    let id = id_of(&service);
    assert!(id.starts_with(&host_id()) && id.len() == host_id().len() + "-01234567".len(), "{id}");
    assert_ne!(id, id_of(&other.serve()));
    // Commands in another terminal, without any variable, mean this instance.
    assert_eq!(bed.run(&["config", "check", "--json"]).ok_json()["node_id"], id.as_str());
    let manifest: Value = serde_json::from_str(&bed.run(&["manifest", "build"]).ok()).unwrap();
    assert_eq!(manifest["node_id"], id.as_str());
    drop(service);
    assert_eq!(id_of(&bed.serve()), id, "after a kill");
}

#[test]
fn commands_before_the_first_start_and_the_service_speak_of_one_instance() {
    let bed = unnamed();
    bed.run(&["keygen"]).ok();
    let manifest: Value = serde_json::from_str(&bed.run(&["manifest", "build"]).ok()).unwrap();
    let id = manifest["node_id"].as_str().unwrap();
    assert_ne!(id, host_id());
    assert_eq!(id_of(&bed.serve()), id);

    let bed = unnamed();
    let made = bed.run(&["init", "--yes", "--json"]).ok_json();
    assert_ne!(made["node_id"], host_id().as_str());
    assert_eq!(id_of(&bed.serve()), made["node_id"].as_str().unwrap());
}

#[test]
fn a_state_directory_of_an_earlier_version_keeps_its_id() {
    let bed = unnamed();
    drop(bed.serve());
    fs::remove_file(bed.path("ark_state/node_id")).unwrap();
    assert_eq!(id_of(&bed.serve()), host_id());
    assert_eq!(bed.read("ark_state/node_id").trim(), host_id(), "also when the machine gets another name");
}

#[test]
fn an_id_that_was_named_once_is_kept_until_another_one_is_named() {
    let bed = unnamed().set("ARK_NODE_ID", "laptop");
    drop(bed.serve());
    let bed = bed.without("ARK_NODE_ID");
    assert_eq!(id_of(&bed.serve()), "laptop");
    let bed = bed.set("FEDERATION_NODE_NAME", "desk");
    assert_eq!(id_of(&bed.serve()), "desk");
    assert_eq!(id_of(&bed.without("FEDERATION_NODE_NAME").serve()), "desk");
}

#[test]
fn an_id_that_cannot_be_read_is_named_with_what_to_do() {
    let bed = unnamed();
    drop(bed.serve());
    bed.file("ark_state/node_id", "");
    let said = bed.run(&["serve", "--port", "0"]).fails(1);
    assert!(
        said.contains("ark_state/node_id: it is empty; write this instance's id into it, or set ARK_NODE_ID"),
        "{said}"
    );
}
