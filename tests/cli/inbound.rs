//! A hub has no peers of its own: it shows the instances that connect to it.

use crate::{bed::get, federation::Instance, shapes::answers_as_its_help_shows};
use serde_json::{Value, json};

fn put(instance: &Instance, id: &str) {
    instance.bed.run_with(&["node", "put", "-"], &format!("{{\"id\":\"{id}\"}}")).ok();
}

fn inbound(hub: &Instance) -> Vec<Value> {
    hub.federation(&["status", "--json"]).ok_json()["inbound"].as_array().unwrap().clone()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_hub_shows_who_connects_to_it_with_direction_lag_trust_and_last_contact() {
    let hub = Instance::start("ark-hub", &[("ARK_TRUST_MODE", "verified")]);
    put(&hub, "of-hub");
    let spoke = Instance::start("ark-spoke", &[]);
    put(&spoke, "of-spoke");
    spoke.sees(1);
    let none = hub.federation(&["list-peers"]);
    assert!(none.stderr.contains("federation add-peer URL"), "{none:?}");

    // One that may not write is shown as one that reads.
    spoke.federation(&["add-peer", hub.url(), "--mirror"]).ok();
    spoke.federation(&["sync"]).ok();
    let [reader] = &inbound(&hub)[..] else { panic!("it is not shown") };
    assert_eq!(
        (&reader["nodeId"], &reader["trust"], &reader["direction"]),
        (&json!("ark-spoke"), &json!("pending"), &json!("pull"))
    );
    assert_eq!((&reader["lag"]["toSend"], &reader["lag"]["toReceive"]), (&json!(0), &Value::Null), "{reader}");
    assert_eq!(body(&get(hub.service.port, "/health"))["peers_connected"], 0, "a stranger does not count");

    let key = spoke.federation(&["status", "--json"]).ok_json()["info"]["publicKey"].as_str().unwrap().to_owned();
    hub.federation(&["trust", "verify", "ark-spoke", "--public-key", &key]).ok();
    spoke.federation(&["add-peer", hub.url()]).ok();
    spoke.federation(&["sync"]).ok();
    let [writer] = &inbound(&hub)[..] else { panic!("it is shown once") };
    assert_eq!(
        (&writer["trust"], &writer["direction"], &writer["active"]),
        (&json!("verified"), &json!("both"), &json!(true))
    );
    assert_eq!((&writer["outcome"], &writer["nodesReceived"]), (&json!("in_step"), &json!(1)), "{writer}");
    assert_eq!(writer["lag"], json!({ "toSend": 0, "toReceive": 0 }));
    assert_eq!((&writer["address"], &writer["publicKey"]), (&json!("127.0.0.1"), &json!(key)));
    assert_eq!(writer["firstContact"], reader["firstContact"]);

    // What is here and not there.
    put(&hub, "later");
    hub.sees(3);
    assert_eq!(inbound(&hub)[0]["lag"]["toSend"], 1);

    // For people.
    let shown = hub.federation(&["status"]).ok();
    let row = shown.lines().last().unwrap();
    for part in ["ark-spoke", "online", "verified", "both", "127.0.0.1"] {
        assert!(row.contains(part), "{shown}");
    }
    assert!(!shown.contains("No peers") && shown.contains("CONNECTS HERE"), "{shown}");
    let listed = hub.federation(&["list-peers"]);
    assert!(
        listed.stdout.contains("ark-spoke") && listed.stderr.contains("1 instance connects to this one, 1 online"),
        "{listed:?}"
    );
    let history = answers_as_its_help_shows(&hub.bed, &["federation", "history"], &[]);
    let round = &history["rounds"][0];
    assert_eq!(
        (&round["peer"], &round["inbound"], &round["nodesReceived"]),
        (&json!("ark-spoke"), &json!(true), &json!(1))
    );
    assert!(hub.federation(&["history"]).ok().contains("from ark-spoke"));

    // For machines.
    let health = body(&get(hub.service.port, "/health"));
    assert!(health["peers_connected"] == 1 && health["last_sync"].is_string(), "{health}");
    assert!(get(hub.service.port, "/metrics").contains("federation_peers_connected 1\n"));

    // After a restart, before it comes again.
    let Instance { bed, service } = hub;
    assert!(service.terminate(std::time::Duration::from_secs(20)).0.success());
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    let hub = Instance { bed, service };
    let [kept] = &inbound(&hub)[..] else { panic!("it is forgotten") };
    assert_eq!((&kept["nodeId"], &kept["nodesReceived"]), (&json!("ark-spoke"), &json!(1)));
}

#[test]
fn an_instance_that_is_a_peer_too_counts_once() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    a.federation(&["add-peer", b.url()]).ok();
    b.federation(&["add-peer", a.url()]).ok();
    for one in [&a, &b] {
        one.federation(&["sync"]).ok();
    }
    assert_eq!(inbound(&a).len(), 1);
    // Nobody verified the other's key: what registered may write in this mode, and is a named peer by its pinned key.
    assert_eq!(body(&get(a.service.port, "/health"))["peers_connected"], 1);
}
