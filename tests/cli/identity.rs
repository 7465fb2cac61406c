//! Who an instance is where no setting names it.

use crate::{
    bed::{Bed, Service, get},
    federation::Instance,
};
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
    // Nor had it a list of its files.
    for name in ["node_id", "state.json"] {
        fs::remove_file(bed.path("ark_state").join(name)).unwrap();
    }
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

/// What the service lists of ids that two machines use: their ids and how, and what its doctor finds.
fn shared(instance: &Instance) -> (Vec<(String, String, String)>, Vec<String>) {
    let status = instance.federation(&["status", "--json"]).ok_json();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let listed = status["sharedIds"].as_array().unwrap().iter();
    let listed = listed.map(|it| (text(it, "nodeId"), text(it, "sharing"), text(it, "next"))).collect();
    let report: Value = serde_json::from_str(&instance.bed.run(&["doctor", "--json"]).stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let codes = findings.map(|it| text(it, "code")).filter(|code| code == "id_shared" || code == "key_copied");
    (listed, codes.collect())
}

fn health_lists(instance: &Instance) -> Vec<String> {
    let answer = get(instance.service.port, "/health");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    serde_json::from_value(body["shared_ids"].clone()).unwrap()
}

fn put(instance: &Instance, id: &str) {
    instance.bed.run_with(&["node", "put", "-"], &format!("{{\"id\":\"{id}\"}}")).ok();
}

#[test]
fn two_machines_with_one_id_are_named_on_the_hub_and_on_the_one_that_it_refuses() {
    let hub = Instance::start("hub", &[]);
    let (one, mut two) = (Instance::start("pi", &[]), Instance::start("pi", &[]));
    for pi in [&one, &two] {
        pi.federation(&["add-peer", hub.url()]).ok();
    }
    put(&one, "of-one");
    one.federation(&["sync"]).ok();
    put(&two, "of-two");
    let refused = two.federation(&["sync"]);
    assert!(refused.code == 3 && refused.stdout.contains("ARK_NODE_ID=<new id> ark-lattice serve"), "{refused:?}");

    let next = "start it with another id: ARK_NODE_ID=<new id> ark-lattice serve";
    let (listed, codes) = shared(&two);
    assert_eq!((listed[0].0.as_str(), listed[0].1.as_str(), codes), ("pi", "other_key", vec!["id_shared".to_owned()]));
    assert!(listed[0].2.contains(next) && !listed[0].2.contains("accept"), "{listed:?}");
    assert_eq!(health_lists(&two), ["pi"]);
    let logged = two.service.log_line();
    assert!(logged.contains("another machine uses the id of this one, pi") && logged.contains(next), "{logged}");

    let (listed, codes) = shared(&hub);
    assert_eq!((listed[0].0.as_str(), listed[0].1.as_str(), codes), ("pi", "other_key", vec!["id_shared".to_owned()]));
    let accept = "ark-lattice federation accept pi --key ";
    assert!(listed[0].2.contains(next) && listed[0].2.contains(accept), "{listed:?}");
    assert_eq!(health_lists(&hub), ["pi"]);
    let shown = hub.federation(&["status"]).ok();
    assert!(shown.contains("two machines use the id pi, with two keys (last seen at 127.0.0.1)"), "{shown}");
    assert_eq!(shared(&one), (vec![], vec![]), "nothing refused it");

    // The named ways out: the second one is another machine,
    let renamed = restarted(two, |bed| bed.without("ARK_NODE_ID").set("ARK_NODE_ID", "pi-2"));
    renamed.federation(&["sync"]).ok();
    assert!(hub.bed.path("lattice_data/of-two.json").is_file());
    assert_eq!((shared(&renamed), health_lists(&renamed)), ((vec![], vec![]), vec![]));
    // or it is the only one, with a new key.
    let only = restarted(renamed, |bed| bed.without("ARK_NODE_ID").set("ARK_NODE_ID", "pi"));
    put(&only, "of-the-only-one");
    only.federation(&["sync"]).fails(3);
    let next = shared(&hub).0[0].2.clone();
    let command: Vec<&str> = next[next.find(accept).unwrap()..].split(' ').skip(1).collect();
    hub.bed.run(&command).ok();
    only.federation(&["sync"]).ok();
    assert_eq!((shared(&only), shared(&hub)), ((vec![], vec![]), (vec![], vec![])));
}

fn restarted(instance: Instance, change: impl FnOnce(Bed) -> Bed) -> Instance {
    let Instance { bed, service } = instance;
    drop(service);
    let bed = change(bed.without("FEDERATION_PORT"));
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    Instance { bed, service }
}

#[test]
fn two_machines_with_one_id_that_meet_name_each_other() {
    let (one, two) = (Instance::start("pi", &[]), Instance::start("pi", &[]));
    let added = one.federation(&["add-peer", two.url()]).ok();
    assert!(added.contains("another instance, with another key, has the id of this one: pi"), "{added}");
    assert!(added.contains("ARK_NODE_ID=<new id> ark-lattice serve") && !added.contains("not answer"), "{added}");
    let failed = one.federation(&["sync", "--json"]);
    assert!(failed.code == 5 && failed.stdout.contains("same_id"), "{failed:?}");
    for pi in [&one, &two] {
        let (listed, codes) = shared(pi);
        assert_eq!((listed[0].0.as_str(), codes), ("pi", vec!["id_shared".to_owned()]), "{listed:?}");
        assert_eq!(health_lists(pi), ["pi"]);
    }
}

#[test]
fn a_copied_state_directory_is_named_on_the_hub_and_on_both_machines() {
    let hub = Instance::start("hub", &[]);
    let one = Instance::start("pi", &[]);
    one.federation(&["add-peer", hub.url()]).ok();
    put(&one, "first");
    one.federation(&["sync"]).ok();
    let two = Bed::new().set("ARK_NODE_ID", "pi");
    for name in ["ark_state", "lattice_data"] {
        let (from, to) = (one.bed.path(name).join("."), two.path(name));
        assert!(std::process::Command::new("cp").arg("-R").args([from, to]).status().unwrap().success());
    }
    let service = two.serve();
    let two = Instance { bed: two.set("FEDERATION_PORT", &service.port.to_string()), service };
    for turn in 0..4 {
        for (name, pi) in [("one", &one), ("two", &two)] {
            put(pi, &format!("{name}-{turn}"));
            let _fails_once_it_is_known = pi.federation(&["sync"]);
        }
    }
    for instance in [&hub, &one, &two] {
        let (listed, codes) = shared(instance);
        assert_eq!((listed[0].1.as_str(), codes), ("copied_key", vec!["key_copied".to_owned()]), "{listed:?}");
        assert!(
            listed[0].2.contains("ARK_NODE_ID=<new id> ARK_STATE_PATH=<new directory> ark-lattice serve"),
            "{listed:?}"
        );
        assert_eq!(health_lists(instance), ["pi"]);
    }
}
