//! `node accept`: files that were restored on purpose count as edited now.

use crate::{
    bed::{Bed, get},
    shapes::answers_as_its_help_shows,
};
use serde_json::Value;
use std::{
    fs::{File, FileTimes},
    net::TcpListener,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const GRACE: Duration = Duration::from_secs(10);

/// Writes a file of the data directory that was last changed an hour ago.
fn restore(bed: &Bed, name: &str, text: &str) {
    bed.file(name, text);
    let then = SystemTime::now() - Duration::from_secs(3600);
    let file = File::options().write(true).open(bed.path(name)).unwrap();
    file.set_times(FileTimes::new().set_modified(then)).unwrap();
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Hash and time of the only node.
fn only_node(port: u16) -> (String, f64) {
    let answer = get(port, "/nodes");
    let list: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let node = &list["nodes"][0];
    (node["hash"].as_str().unwrap().to_owned(), node["updated_at"].as_f64().unwrap())
}

/// A port on which nothing listens.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn without_a_service_the_lattice_is_opened_for_a_moment() {
    let bed = Bed::new().set("FEDERATION_PORT", &closed_port());
    bed.file("lattice_data/a.json", r#"{"id":"a","v":2}"#);
    assert!(bed.serve().terminate(GRACE).0.success());
    restore(&bed, "lattice_data/a.json", r#"{"id":"a","v":1}"#);
    let begun = now();
    let accepted = bed.run(&["node", "accept", "lattice_data/a.json", "lattice_data/manifest.json"]);
    assert!(accepted.stderr.contains("manifest.json is left out"), "{accepted:?}");
    assert_eq!(accepted.ok(), "1 node counts as edited now\n");
    let hash = bed.run(&["node", "hash", "a"]).ok();
    let service = bed.serve();
    let (held, at) = only_node(service.port);
    assert!(held == hash.trim() && at >= begun - 0.001, "{held} {at}");

    // A service that runs is found by its state directory, whatever address the settings name.
    assert_eq!(bed.run(&["node", "accept", "a"]).ok(), "1 node counts as edited now\n");
}

#[test]
fn a_file_that_a_peer_replaced_already_is_named_with_what_brings_it_back() {
    let (bed, peer) = (Bed::new(), Bed::new());
    bed.file("lattice_data/a.json", r#"{"id":"a","v":"restored","updated_at":1600000000}"#);
    peer.file("lattice_data/a.json", r#"{"id":"a","v":"later","updated_at":1700000000}"#);
    let (own, from) = (bed.serve(), peer.serve());
    let bed = bed.set("FEDERATION_PORT", &own.port.to_string());
    bed.run(&["pull", "--from", &from.url]).ok();
    let refused = |bed: &Bed| {
        let said = bed.run(&["node", "accept", "a"]);
        assert_eq!((said.code, said.stdout.as_str()), (1, "0 nodes count as edited now\n"), "{said:?}");
        assert!(said.stderr.contains("1 file was replaced already, and nothing was changed: a by ark-bed"), "{said:?}");
        said.stderr.trim_end().rsplit(' ').next().unwrap().to_owned()
    };
    let number = refused(&bed);
    let closed = Bed::set(bed, "FEDERATION_PORT", &closed_port());
    assert!(own.terminate(GRACE).0.success());
    assert_eq!(refused(&closed), number, "without a service, too");
    let own = closed.serve();
    let bed = closed.set("FEDERATION_PORT", &own.port.to_string());
    bed.run(&["conflicts", "restore", &number]).ok();
    assert!(bed.read("lattice_data/a.json").contains("restored"));
}

#[test]
fn the_running_service_dates_what_stands_in_the_file() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id":"a","v":2}"#);
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    restore(&bed, "lattice_data/a.json", r#"{"id":"a","v":1}"#);
    let begun = now();
    let answer = answers_as_its_help_shows(&bed, &["node", "accept"], &["a.json", "a"]);
    assert_eq!(answer["accepted"], serde_json::json!(["a"]));
    let hash = bed.run(&["node", "hash", "a"]).ok();
    let (held, at) = only_node(service.port);
    assert!(held == hash.trim() && at >= begun - 0.001, "{held} {at}");

    let said = bed.run(&["node", "accept", "a", "absent"]);
    assert!(said.stdout.contains("1 node counts as edited now") && said.code == 1, "{said:?}");
    assert!(said.stderr.contains("1 node is missing, or broken: absent"), "{said:?}");
    bed.file("elsewhere.json", r#"{"id":"a"}"#);
    let outside = bed.path("elsewhere.json").to_str().unwrap().to_owned();
    assert!(bed.run(&["node", "accept", &outside]).fails(1).contains("copy it there first"));
    bed.file("lattice_data/broken.json", "{");
    assert!(bed.run(&["node", "accept", "broken.json"]).fails(1).contains("broken.json is broken"));
    bed.run(&["node", "accept"]).fails(2);
}
