//! Who may write in `trust.mode = verified`: verified keys, and peers that the admin named.

use crate::bed::{Instance, provider};
use ark_lattice::{
    ops,
    settings::Settings,
    trust::{Decision, Distrust, Named, TrustLevel, TrustMode},
    types::PeerId,
};
use secrecy::SecretString;
use std::time::Duration;

const REFUSED: &str = "its key is not verified here, and the admin did not name it";

fn verified(settings: &mut Settings) {
    settings.trust.mode = TrustMode::Verified;
}

fn of_network(settings: &mut Settings) {
    verified(settings);
    settings.federation.network_key = Some(SecretString::from("a secret that both of them have"));
}

/// A hub with a node, and a laptop with another one that has the hub as its peer.
async fn pair(change: impl Fn(&mut Settings)) -> (Instance, Instance) {
    provider();
    let hub = Instance::start_with("hub", &change).await;
    let laptop = Instance::start_with("laptop", &change).await;
    laptop.engine().add_peer(&hub.url, Default::default()).unwrap();
    hub.put("of-the-hub", "1").await;
    laptop.put("of-the-laptop", "1").await;
    (hub, laptop)
}

fn verify(at: &Instance, who: &Instance) {
    let (peer, key) = (PeerId::parse(who.name).unwrap(), who.key.public_key());
    let (level, by, reason) = (TrustLevel::Verified, "operator", String::new());
    at.context.trust.set(Decision { peer, key, level, by, reason, proof: None }).unwrap();
}

#[tokio::test]
async fn a_stranger_reads_and_does_not_write_until_it_is_verified() {
    let (hub, laptop) = pair(verified).await;
    let error = laptop.sync(false).await.error.unwrap();
    assert!(error.contains("not_trusted") && error.contains("ark-lattice federation accept laptop"), "{error}");
    assert_eq!(hub.content("of-the-laptop").await, None);
    // The laptop's admin named the hub.
    assert_eq!(laptop.content("of-the-hub").await.as_deref(), Some("1"));
    verify(&hub, &laptop);
    assert_eq!(laptop.sync(false).await.error, None);
    assert_eq!((hub.content("of-the-laptop").await.as_deref(), hub.set_hash()), (Some("1"), laptop.set_hash()));
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_peer_that_the_admin_added_writes_with_the_key_of_the_first_contact() {
    let (hub, laptop) = pair(verified).await;
    hub.engine().add_peer(&laptop.url, Default::default()).unwrap();
    // Whose key it is, each of them learns at its own first round; from then on the other's pushes count.
    assert!(laptop.sync(false).await.error.unwrap().contains(REFUSED));
    assert_eq!(hub.sync(false).await.error, None);
    laptop.put("of-the-laptop", "2").await;
    assert_eq!(laptop.sync(false).await.error, None);
    assert_eq!(hub.content("of-the-laptop").await.as_deref(), Some("2"));
    let (id, other) = (PeerId::parse("laptop").unwrap(), hub.key.public_key());
    assert_eq!(hub.engine().names(&id, laptop.key.public_key()), Named::Yes);
    assert_eq!(hub.engine().names(&id, other), Named::No, "another key under its id");
    assert!(hub.engine().remove_peer(&laptop.url).unwrap());
    laptop.put("of-the-laptop", "3").await;
    assert!(laptop.sync(false).await.error.unwrap().contains(REFUSED));
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn the_networks_key_names_all_that_have_it() {
    let (hub, laptop) = pair(of_network).await;
    assert_eq!(laptop.sync(false).await.error, None);
    assert_eq!((hub.content("of-the-laptop").await.as_deref(), hub.set_hash()), (Some("1"), laptop.set_hash()));
    // A peer that was found by itself is named by the key as well.
    hub.engine().add_found(&laptop.url).unwrap();
    laptop.put("of-the-laptop", "2").await;
    assert_eq!(hub.sync(false).await.error, None);
    let hub = hub.restart_with(|settings| {
        of_network(settings);
        settings.trust.network_key_names = false;
    });
    let hub = hub.await;
    laptop.put("of-the-laptop", "3").await;
    assert!(laptop.sync(false).await.error.unwrap().contains(REFUSED));
    assert!(hub.sync(false).await.error.unwrap().contains(REFUSED), "nobody named what was found by itself");
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_peer_that_was_only_found_is_named_when_the_admin_adds_it() {
    let (hub, laptop) = pair(verified).await;
    hub.engine().add_found(&laptop.url).unwrap();
    assert!(hub.sync(false).await.error.unwrap().contains(REFUSED));
    assert_eq!(hub.content("of-the-laptop").await, None);
    hub.engine().add_peer(&laptop.url, Default::default()).unwrap();
    // The laptop learns the hub's key at its own first round, in which the hub does not know the laptop's yet.
    assert!(laptop.sync(false).await.error.unwrap().contains(REFUSED));
    assert_eq!(hub.sync(false).await.error, None);
    assert_eq!(hub.content("of-the-laptop").await.as_deref(), Some("1"));
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn with_require_verified_nobody_is_named() {
    let (hub, laptop) = pair(|settings| {
        of_network(settings);
        settings.trust.require_verified = true;
    })
    .await;
    assert!(laptop.sync(false).await.error.unwrap().contains(REFUSED), "the hub's key is not verified");
    verify(&laptop, &hub);
    assert!(laptop.sync(false).await.error.unwrap().contains(REFUSED), "the laptop's key is not verified");
    verify(&hub, &laptop);
    assert_eq!(laptop.sync(false).await.error, None);
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn after_an_upgrade_those_who_wrote_before_are_named_with_the_command() {
    let (hub, laptop) = pair(|settings| settings.trust.mode = TrustMode::Tofu).await;
    assert_eq!(laptop.sync(false).await.error, None);
    assert_eq!(ops::former_writers(&hub.context).await.unwrap(), []);
    let hub = hub.restart_with(verified).await;
    let refused = Distrust::NotVerified(PeerId::parse("laptop").unwrap(), laptop.key.public_key());
    assert_eq!(ops::former_writers(&hub.context).await.unwrap(), [refused]);
    verify(&hub, &laptop);
    assert_eq!(ops::former_writers(&hub.context).await.unwrap(), []);
    laptop.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn deletions_of_peers_that_were_only_found_share_one_account() {
    provider();
    let hub = Instance::start("hub").await;
    hub.put_many(200).await;
    let mut found = Vec::new();
    for name in ["found-1", "found-2", "found-3"] {
        let peer = Instance::start(name).await;
        peer.put_many(200).await;
        hub.engine().add_found(&peer.url).unwrap();
        found.push(peer);
    }
    let sync = async || {
        hub.clock.advance(Duration::from_secs(1));
        hub.engine().sync(None, false).await.into_iter().for_each(|synced| assert_eq!(synced.error, None));
    };
    sync().await;
    for (number, peer) in found.iter().enumerate() {
        peer.clock.advance(Duration::from_secs(2));
        for node in 0..40 {
            peer.delete(&format!("node-{:06}", number * 40 + node)).await;
        }
        sync().await;
    }
    assert_eq!(hub.lattice().status().nodes, 160, "a quarter of 200 for all of them together");
    let waiting: u64 = hub.lattice().waiting_senders().unwrap().iter().map(|sender| sender.deletions).sum();
    assert_eq!(waiting, 80);
    // One that the admin names has an account of its own.
    hub.engine().add_peer(&found[1].url, Default::default()).unwrap();
    for node in 120..150 {
        found[1].delete(&format!("node-{node:06}")).await;
    }
    sync().await;
    assert_eq!(hub.lattice().status().nodes, 130);
    hub.stop().await;
    for peer in found {
        peer.stop().await;
    }
}

#[tokio::test]
async fn the_id_of_a_peer_gives_no_account_to_another_key() {
    provider();
    let hub = Instance::start_with("hub", |settings| settings.trust.mode = TrustMode::Open).await;
    hub.put_many(200).await;
    for name in ["peer-1", "peer-2", "peer-3"] {
        let peer = Instance::start(name).await;
        hub.engine().add_peer(&peer.url, Default::default()).unwrap();
        assert_eq!(hub.sync(false).await.error, None);
        peer.stop().await;
        // Another key that states the same id.
        let impostor = Instance::start(name).await;
        impostor.put_many(200).await;
        impostor.engine().add_peer(&hub.url, Default::default()).unwrap();
        impostor.clock.advance(Duration::from_secs(10));
        drop(impostor.sync(false).await);
        let held = impostor.lattice().status().nodes;
        for number in (200 - held)..(200 - held + 40) {
            impostor.delete(&format!("node-{number:06}")).await;
        }
        drop(impostor.sync(false).await);
        impostor.stop().await;
        let url = hub.engine().peers().remove(0).url;
        hub.engine().remove_peer(&url).unwrap();
    }
    assert_eq!(
        hub.lattice().status().nodes,
        200,
        "the id is open to its pinned key only, also where anybody may write"
    );
    hub.stop().await;
}
