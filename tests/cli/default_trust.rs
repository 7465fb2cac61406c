//! Who may write where no setting says so: the services as they start without configuration, and the commands that their logs name.

use crate::federation::Instance;
use std::{net::TcpListener, time::Duration};

fn put(instance: &Instance, id: &str) {
    instance.bed.run_with(&["node", "put", "-"], &format!("{{\"id\":\"{id}\"}}")).ok();
}

fn has(instance: &Instance, id: &str) -> bool {
    instance.bed.path(&format!("lattice_data/{id}.json")).is_file()
}

fn arrives(instance: &Instance, id: &str) {
    instance.bed.wait_until("the document arrives", || has(instance, id));
}

/// Runs the command that a text names, on this instance's machine.
fn run_named(instance: &Instance, text: &str, expected: &str) {
    assert!(text.contains(expected), "no command {expected:?} in {text:?}");
    let words: Vec<&str> = expected.split(' ').skip(1).collect();
    instance.bed.run(&words).ok();
}

#[test]
fn an_unknown_instance_is_listed_and_reads_and_its_log_names_the_command_that_lets_it_write() {
    let hub = Instance::start_with_default_trust("hub", &[]);
    put(&hub, "of-hub");
    hub.sees(1);
    let recipe = [("FEDERATION_HUB_URL", hub.url()), ("FEDERATION_AUTO_SYNC", "true")];
    let mut spoke = Instance::start_with_default_trust("spoke", &recipe);
    put(&spoke, "of-spoke");

    arrives(&spoke, "of-hub");
    let command = "ark-lattice federation accept spoke";
    let first = spoke.service.log_line();
    assert!(first.contains(command) && first.contains("not verified"), "{first}");
    let listed = hub.bed.run(&["discover", "--from", hub.url(), "--json"]).ok_json();
    let peers = listed["peers"].as_array().unwrap();
    assert!(peers.iter().any(|peer| peer["node_id"] == "spoke" && peer["trust_level"] == "pending"), "{listed}");
    let refused = spoke.federation(&["sync"]);
    assert!(refused.stdout.contains(&format!("on that machine: {command}")), "{refused:?}");
    assert!(refused.stdout.contains("not_trusted"), "{refused:?}");
    refused.fails(3);
    assert!(!has(&hub, "of-spoke"));
    let audit = hub.bed.run(&["audit", "list", "--json"]).ok();
    assert!(audit.contains("not_trusted") && audit.contains("spoke"), "{audit}");

    run_named(&hub, &first, command);
    spoke.federation(&["sync"]).ok();
    arrives(&hub, "of-spoke");
}

#[test]
fn instances_with_one_network_key_write_to_each_other() {
    let key = ("FEDERATION_NETWORK_KEY", "one secret that all of them have, long enough");
    let hub = Instance::start_with_default_trust("hub", &[key]);
    let recipe = [key, ("FEDERATION_HUB_URL", hub.url()), ("FEDERATION_AUTO_SYNC", "true")];
    let (pi, laptop) =
        (Instance::start_with_default_trust("pi", &recipe), Instance::start_with_default_trust("laptop", &recipe));
    put(&hub, "of-hub");
    put(&pi, "of-pi");
    for (instance, id) in [(&pi, "of-hub"), (&hub, "of-pi"), (&laptop, "of-hub"), (&laptop, "of-pi")] {
        arrives(instance, id);
    }
}

#[test]
fn a_hub_takes_changes_of_the_peers_in_its_setting() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to_hub = format!("http://{free}");
    let recipe = [("FEDERATION_HUB_URL", to_hub.as_str()), ("FEDERATION_AUTO_SYNC", "true")];
    let spoke = Instance::start_with_default_trust("spoke", &recipe);
    let peers = [("FEDERATION_TRUSTED_PEERS", spoke.url()), ("FEDERATION_AUTO_SYNC", "true")];
    let hub = Instance::start_with_default_trust_on(free.port(), "hub", &peers);
    put(&hub, "of-hub");
    put(&spoke, "of-spoke");
    arrives(&spoke, "of-hub");
    arrives(&hub, "of-spoke");
    // The spoke pushes as well: its key is pinned since the hub met it.
    spoke.federation(&["sync"]).ok();
}

#[test]
fn after_an_upgrade_the_log_names_who_is_refused_now_and_the_command() {
    let hub = Instance::start("hub", &[]);
    let spoke = Instance::start("spoke", &[]);
    put(&spoke, "of-spoke");
    spoke.sees(1);
    spoke.federation(&["add-peer", hub.url()]).ok();
    spoke.federation(&["sync"]).ok();
    arrives(&hub, "of-spoke");

    let Instance { bed, service } = hub;
    let port = service.port;
    assert!(service.terminate(Duration::from_secs(30)).0.success());
    let bed = bed.with_default_trust();
    let mut service = bed.serve_on(port);
    let command = "ark-lattice federation accept spoke";
    let line = loop {
        let line = service.log_line();
        if line.contains(command) {
            break line;
        }
        assert!(!line.is_empty(), "the service ended");
    };
    let hub = Instance { bed, service };
    put(&spoke, "later");
    let refused = spoke.federation(&["sync"]);
    assert!(refused.stdout.contains("not_trusted"), "{refused:?}");
    refused.fails(3);
    run_named(&hub, &line, command);
    spoke.federation(&["sync"]).ok();
    arrives(&hub, "later");
}
