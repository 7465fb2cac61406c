//! Peers that come from settings.

use crate::bed::{Bed, Service};
use serde_json::Value;
use std::time::Duration;

const A: &str = "http://127.0.0.1:1";
const B: &str = "http://127.0.0.1:2";

/// A service in `bed` with these variables, the bed of its commands, and its log once it was stopped.
fn with_settings<T>(bed: Bed, set: &[(&str, &str)], work: impl FnOnce(&Bed, &Service) -> T) -> (T, Bed, String) {
    let variables = [&[("FEDERATION_MODE", "p2p"), ("FEDERATION_HUB_URL", ""), ("FEDERATION_PORT", "0")], set].concat();
    let bed = variables.iter().fold(bed, |bed, (name, value)| bed.set(name, value));
    let service = bed.serve_on(0);
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    let outcome = work(&bed, &service);
    let (status, log) = service.terminate(Duration::from_secs(30));
    assert!(status.success(), "{log}");
    (outcome, bed, log)
}

fn peers(bed: &Bed) -> Vec<String> {
    let listed = bed.run(&["federation", "list-peers", "--json"]).ok_json();
    listed["peers"].as_array().unwrap().iter().map(|peer| peer["url"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn hub_of_the_settings_ends_with_its_setting() {
    let hub = |url: &'static str| [("FEDERATION_MODE", "hub"), ("FEDERATION_HUB_URL", url)];
    let (first, bed, _) = with_settings(Bed::new(), &hub(A), |bed, _| peers(bed));
    assert_eq!(first, [A]);
    let (second, bed, _) = with_settings(bed, &hub(B), |bed, _| peers(bed));
    assert_eq!(second, [B]);
    let (none, ..) = with_settings(bed, &[], |bed, _| peers(bed));
    assert!(none.is_empty(), "{none:?}");
}

#[test]
fn hub_stays_at_each_start_however_its_address_is_written() {
    let hub = [("FEDERATION_MODE", "hub"), ("FEDERATION_HUB_URL", "HTTP://127.1:1/")];
    let mut bed = Bed::new();
    for start in 1..=3 {
        let (synced, kept, log) = with_settings(bed, &hub, |bed, _| {
            assert_eq!(peers(bed), [A], "start {start}");
            let removed = bed.run(&["federation", "remove-peer", A]);
            assert!(removed.code != 0 && removed.stderr.contains("FEDERATION_HUB_URL"), "{removed:?}");
            bed.run(&["federation", "sync", "--json"])
        });
        bed = kept;
        // It is asked, though nobody answers.
        assert!(synced.stdout.contains("connection_refused"), "start {start}: {synced:?}");
        assert!(!log.contains("no rounds with these peers"), "{log}");
    }
}

#[test]
fn hub_that_is_a_peer_at_another_address_is_exchanged_with() {
    let hub_bed = Bed::new().set("ARK_NODE_ID", "the-hub");
    let hub = hub_bed.serve_on(0);
    let by_hand = format!("http://127.0.0.1:{}", hub.port);
    let by_setting = format!("http://localhost:{}", hub.port);
    let (_, mut bed, _) = with_settings(Bed::new().set("ARK_NODE_ID", "spoke"), &[], |bed, _| {
        bed.run(&["federation", "add-peer", &by_hand]).ok();
        bed.run(&["federation", "sync"]).ok()
    });
    for mode in ["hub", "hybrid"] {
        let named = [("FEDERATION_MODE", mode), ("FEDERATION_HUB_URL", by_setting.as_str())];
        let (_, kept, _) =
            with_settings(bed, &named, |bed, _| bed.run(&["federation", "sync", "--peer", &by_setting]).ok());
        bed = kept;
    }
}

#[test]
fn public_key_alone_makes_a_registry_that_names_the_way_out() {
    // Of RFC 8032, 7.1.
    let key = ("ARK_FED_PUBKEY", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let bed = Bed::new().set(key.0, key.1);
    assert!(bed.run(&["config", "check"]).ok().contains("unset ARK_FED_PUBKEY"));
    assert!(bed.run(&["doctor"]).stdout.contains("unset ARK_FED_PUBKEY"));
    let ((), _, log) = with_settings(bed, &[], |bed, _| {
        let added = bed.run(&["federation", "add-peer", A]);
        assert!(added.code != 0 && added.stderr.contains("unset ARK_FED_PUBKEY"), "{added:?}");
    });
    assert!(log.contains("is a registry") && log.contains("unset ARK_FED_PUBKEY"), "{log}");
}

#[test]
fn commands_on_peers_name_the_setting_that_holds() {
    let hub = [("FEDERATION_MODE", "hub"), ("FEDERATION_HUB_URL", A)];
    let ((), bed, _) = with_settings(Bed::new(), &hub, |bed, _| {
        let removed = bed.run(&["federation", "remove-peer", A]);
        assert!(removed.code != 0 && removed.stderr.contains("FEDERATION_HUB_URL"), "{removed:?}");
        let added = bed.run(&["federation", "add-peer", B]);
        assert!(added.code != 0 && added.stderr.contains("FEDERATION_MODE=hybrid"), "{added:?}");
        assert_eq!(peers(bed), [A]);
    });
    // As the message says.
    let hybrid = [("FEDERATION_MODE", "hybrid"), ("FEDERATION_HUB_URL", A)];
    let ((), bed, _) = with_settings(bed, &hybrid, |bed, _| {
        bed.run(&["federation", "add-peer", B]).ok();
        assert_eq!(peers(bed), [A, B]);
    });
    // Kept, but not exchanged with.
    let (synced, _, log) = with_settings(bed, &hub, |bed, _| bed.run(&["federation", "sync", "--json", "--peer", B]));
    assert!(log.contains(B) && log.contains("federation.mode is hub"), "{log}");
    let answer: Value = serde_json::from_str(&synced.stdout).unwrap();
    assert!(answer.to_string().contains("FEDERATION_MODE=hybrid") && synced.code != 0, "{synced:?}");
}
