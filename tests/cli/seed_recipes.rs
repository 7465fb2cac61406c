//! The recipes of the older systems' documents with their own variables, ports and commands, on machines with networks of their own.

use crate::{
    bed::{Bed, Service},
    networks::Network,
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// What the documents leave out, and the greeting of `serve` names.
const OPEN: (&str, &str) = ("ARK__SERVER__HOST", "0.0.0.0");

/// A machine with one address, and a service on it. All have the same host name, and none a variable beside those of the document.
struct Machine {
    network: Network,
    bed: Bed,
    _service: Service,
}

impl Machine {
    /// `variables`: those of the terminal in which the service is started; the commands run in another one.
    fn start(network: Network, port: u16, variables: &[(&str, &str)]) -> Self {
        let bed = Bed::new().with_default_trust().without("ARK_NODE_ID");
        let bed = variables.iter().fold(bed, |bed, (name, value)| bed.set(name, value));
        let service = network.within(|| bed.serve_on(port));
        let bed = variables.iter().fold(bed, |bed, (name, _)| bed.without(name));
        Self { network, bed, _service: service }
    }

    fn run(&self, command: &[&str]) -> String {
        self.network.within(|| self.bed.run(command)).ok()
    }

    fn put(&self, id: &str) {
        let node = format!("{{\"id\":\"{id}\"}}");
        self.network.within(|| self.bed.run_with(&["node", "put", "-"], &node)).ok();
    }

    fn has(&self, id: &str) -> bool {
        self.bed.path(&format!("lattice_data/{id}.json")).is_file()
    }

    fn receives(&self, id: &str) {
        self.bed.wait_until(&format!("{id} arrives"), || self.has(id));
    }
}

fn network_pair() -> (Network, Network) {
    let (one, other) = (Network::new(), Network::new());
    one.connect("cable", &["10.78.1.1/24"], &other, &["10.78.1.2/24"]);
    (one, other)
}

/// The whole answer to a GET that comes from this network.
fn get(from: &Network, address: &str, path: &str) -> String {
    from.within(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

#[test]
fn ark_scenario_1_a_local_machine_and_a_cloud_server() {
    let (here, there) = network_pair();
    let local = Machine::start(here, 9000, &[("ARK_INSTANCE_TYPE", "local"), ("FEDERATION_PORT", "9000"), OPEN]);
    let cloud = Machine::start(there, 9000, &[("ARK_INSTANCE_TYPE", "cloud"), ("FEDERATION_PORT", "9000"), OPEN]);
    local.put("of-local");
    cloud.put("of-cloud");
    for machine in [&local, &cloud] {
        assert!(machine.run(&["federation", "start"]).contains("on port 9000"));
    }
    cloud.run(&["federation", "add-peer", "http://10.78.1.1:9000"]);
    local.run(&["federation", "add-peer", "http://10.78.1.2:9000"]);
    let synced = local.run(&["federation", "sync"]);
    assert!(synced.contains("1 sent, 1 received") && synced.contains("in step"), "{synced}");
    assert!(local.has("of-cloud") && cloud.has("of-local"));
    assert!(local.run(&["federation", "status"]).contains("online"));
    // `curl http://cloud-server-ip:9000/federation/info`, as the document checks it.
    let info = get(&local.network, "10.78.1.2:9000", "/federation/info");
    assert!(info.starts_with("HTTP/1.1 200") && info.contains("\"instanceType\":\"cloud\""), "{info}");
}

#[test]
fn ark_scenario_2_a_hub_with_spokes() {
    let (hub, first, second) = (Network::new(), Network::new(), Network::new());
    hub.connect("first", &["10.78.1.1/24"], &first, &["10.78.1.2/24"]);
    hub.connect("second", &["10.78.2.1/24"], &second, &["10.78.2.2/24"]);
    let hub_variables = [("ARK_INSTANCE_TYPE", "cloud"), ("FEDERATION_MODE", "hub"), ("FEDERATION_PORT", "9000"), OPEN];
    let hub = Machine::start(hub, 9000, &hub_variables);
    let spoke = |network, url| {
        let variables = [
            ("ARK_INSTANCE_TYPE", "local"),
            ("FEDERATION_MODE", "hub"),
            ("FEDERATION_HUB_URL", url),
            ("FEDERATION_AUTO_SYNC", "true"),
        ];
        // The document exports no port here.
        Machine::start(network, 9001, &variables)
    };
    let spokes = [spoke(first, "http://10.78.1.1:9000"), spoke(second, "http://10.78.2.1:9000")];
    spokes[0].put("of-first");
    spokes[1].put("of-second");
    // The hub lets nobody write whom its admin does not know, and names the command for each.
    let pending = || {
        let listed: Value = serde_json::from_str(&hub.run(&["federation", "pending", "--json"])).unwrap();
        listed["pending"].as_array().unwrap().clone()
    };
    hub.bed.wait_until("both ask to write", || pending().len() == 2);
    for asks in pending() {
        let text = |name: &str| asks[name].as_str().unwrap();
        hub.run(&["federation", "accept", text("nodeId"), "--key", text("publicKey")]);
    }
    for id in ["of-first", "of-second"] {
        hub.receives(id);
        spokes.iter().for_each(|spoke| spoke.receives(id));
    }
    let status = hub.run(&["federation", "status"]);
    assert_eq!(status.matches("online").count(), 2, "{status}");
}

#[test]
fn logline_containers_with_the_variables_of_the_compose_file() {
    let (here, there) = network_pair();
    let key = ("FEDERATION_NETWORK_KEY", "one-key-of-the-whole-network");
    let start = |network, name, peers| {
        let variables = [
            ("FEDERATION_NODE_NAME", name),
            key,
            ("FEDERATION_TRUSTED_PEERS", peers),
            ("FEDERATION_BIND_PORT", "8080"),
            ("FEDERATION_AUTO_SYNC", "true"),
            OPEN,
        ];
        Machine::start(network, 8080, &variables)
    };
    let alpha = start(here, "logline-id://node/alpha", "http://10.78.1.2:8080");
    let beta = start(there, "logline-id://node/beta", "http://10.78.1.1:8080");
    alpha.put("of-alpha");
    beta.put("of-beta");
    alpha.receives("of-beta");
    beta.receives("of-alpha");

    // From outside the container, as through its published port: `curl http://localhost:8084/…`.
    let health = get(&beta.network, "10.78.1.1:8080", "/health");
    assert!(health.contains("\"node_id\":\"logline-id://node/alpha\"") && health.contains("\"status\":\"healthy\""));
}

#[test]
fn logline_containers_that_keep_the_default_name_are_told_that_they_have_one_name() {
    let (here, there) = network_pair();
    let start = |network, peers| {
        let variables = [("FEDERATION_NODE_NAME", "local-node"), ("FEDERATION_TRUSTED_PEERS", peers), OPEN];
        Machine::start(network, 8080, &variables)
    };
    let alpha = start(here, "http://10.78.1.2:8080");
    let beta = start(there, "http://10.78.1.1:8080");
    let failed = alpha.network.within(|| alpha.bed.run(&["federation", "sync"]));
    assert!(failed.code != 0 && failed.stdout.contains("ARK_NODE_ID=<new id> ark-lattice serve"), "{failed:?}");
    for machine in [&alpha, &beta] {
        let status = machine.run(&["federation", "status"]);
        assert!(status.contains("another machine uses the id of this one, local-node"), "{status}");
    }
}
