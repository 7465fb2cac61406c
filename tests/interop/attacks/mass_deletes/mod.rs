//! Instances that may write try to delete more than a quarter of the nodes: after additions of their own and of others, with
//! keys that they vouched for themselves, and again after a restart. What is beyond the bound waits for the admin.

use crate::{
    attacks::bed::{Attacker, Victim},
    server::now,
    service::{Place, TOKEN, json_of},
};
use ark_lattice::lattice::NodeDocument;
use serde_json::{Value, json};

const NODES: usize = 200;
const ROUTE: &str = "/lattice/changes";

fn id(number: usize) -> String {
    format!("n{number:03}")
}

/// Nodes that the admin makes here.
async fn fill(victim: &Victim) {
    for number in 0..NODES {
        let request = victim.service.request(reqwest::Method::PUT, &format!("/nodes/{}", id(number)));
        let node = json!({"id": id(number), "made": "here"});
        assert_eq!(request.bearer_auth(TOKEN).json(&node).send().await.unwrap().status(), 201);
    }
}

async fn verify(victim: &Victim, attacker: &Attacker) {
    let body = json!({"peer_id": attacker.name, "public_key": attacker.public_key()});
    victim.operate("/v1/trust/verify", &body).await;
}

async fn verified(victim: &Victim, name: &'static str) -> Attacker {
    let attacker = Attacker::new(name).registered(victim, 1).await;
    verify(victim, &attacker).await;
    attacker
}

fn put(seq: usize, id: &str, ahead: i64) -> String {
    let node = json!({"id": id, "made": "there"});
    let hash = NodeDocument::parse(node.to_string().into(), 64).unwrap().content_hash().to_string();
    let at = now().seconds() + ahead;
    format!("{}\n", json!({"seq": seq, "id": id, "at": at, "hash": hash, "size": 9, "after": [], "node": node}))
}

fn delete(number: usize) -> String {
    let hash = format!("sha256:{}", "0".repeat(64));
    let (seq, at) = (number + 1, now().seconds() + 100);
    format!("{}\n", json!({"seq": seq, "id": id(number), "at": at, "deleted": hash, "after": []}))
}

async fn send(attacker: &Attacker, victim: &Victim, lines: String) -> Value {
    json_of(attacker.request(victim, ROUTE, &lines).send().await.unwrap()).await
}

async fn junk(attacker: &Attacker, victim: &Victim) {
    let lines = (0..700).map(|number| put(number + 1, &format!("junk{number}"), -5)).collect();
    assert_eq!(send(attacker, victim, lines).await["taken"], 700);
}

/// How many of the admin's nodes are left.
async fn left(victim: &Victim) -> usize {
    let page = victim.service.get_json("/nodes?limit=1000").await;
    let nodes = page["nodes"].as_array().unwrap();
    nodes.iter().filter(|node| node["id"].as_str().unwrap().starts_with('n')).count()
}

/// Deletes all of them at once, then one after the other.
async fn deletes_all_it_can(attacker: &Attacker, victim: &Victim) {
    let waits = send(attacker, victim, (0..NODES).map(delete).collect()).await;
    assert_eq!((waits["taken"].as_u64(), waits["waiting"].as_u64()), (Some(0), Some(200)));
    for number in (0..60).step_by(5) {
        send(attacker, victim, (number..number + 5).map(delete).collect()).await;
    }
}

#[tokio::test]
async fn additions_of_another_instance_raise_nothing() {
    let victim = Victim::start().await;
    fill(&victim).await;
    let (helper, evil) = (verified(&victim, "helper").await, verified(&victim, "evil").await);
    junk(&helper, &victim).await;
    deletes_all_it_can(&evil, &victim).await;
    assert_eq!(left(&victim).await, 150);
}

#[tokio::test]
async fn what_was_not_stored_is_not_the_senders_own() {
    let victim = Victim::start().await;
    let evil = verified(&victim, "evil").await;
    let announced = (0..NODES).map(|number| put(number + 1, &id(number), 3600)).collect();
    assert_eq!(send(&evil, &victim, announced).await["ahead"], 200);
    fill(&victim).await;
    junk(&evil, &victim).await;
    deletes_all_it_can(&evil, &victim).await;
    assert_eq!(left(&victim).await, 150);
}

#[tokio::test]
async fn nodes_that_the_admin_wrote_since_are_not_the_senders_own() {
    let victim = Victim::start().await;
    let evil = verified(&victim, "evil").await;
    let added = (0..NODES).map(|number| put(number + 1, &id(number), -60)).collect();
    assert_eq!(send(&evil, &victim, added).await["taken"], 200);
    for number in 0..NODES {
        let request = victim.service.request(reqwest::Method::PUT, &format!("/nodes/{}", id(number)));
        let node = json!({"id": id(number), "made": "here"});
        assert_eq!(request.bearer_auth(TOKEN).json(&node).send().await.unwrap().status(), 200);
    }
    junk(&evil, &victim).await;
    deletes_all_it_can(&evil, &victim).await;
    assert!(left(&victim).await >= 150);
}

#[tokio::test]
async fn a_restart_gives_no_budget_back() {
    let victim = Victim::start().await;
    fill(&victim).await;
    let evil = verified(&victim, "evil").await;
    junk(&evil, &victim).await;
    deletes_all_it_can(&evil, &victim).await;
    assert_eq!(left(&victim).await, 150);
    // Killed, with all that it counted.
    let victim = victim.restarted().await;
    victim.service.until_loaded().await;
    let answer = send(&evil, &victim, (60..NODES).map(delete).collect()).await;
    assert_eq!((answer["taken"].as_u64(), answer["waiting"].as_u64()), (Some(0), Some(140)));
    send(&evil, &victim, delete(199)).await;
    assert_eq!(left(&victim).await, 150);
}

#[tokio::test]
async fn keys_of_one_voucher_share_its_account() {
    let victim = Victim::start_in(Place::new().set("ARK__TRUST__VOUCHERS", "1")).await;
    fill(&victim).await;
    let evil = verified(&victim, "evil").await;
    for name in ["evil", "child-1", "child-2", "child-3", "child-4"] {
        let child = Attacker::new(name);
        let sender = if name == evil.name {
            &evil
        } else {
            let child_key = json!({"peer_id": name, "public_key": child.public_key()}).to_string();
            let vouched = evil.request(&victim, "/lattice/trust/vouch", &child_key).send().await.unwrap();
            assert_eq!(vouched.status(), 200);
            assert_eq!(victim.service.post("/manifest", child.manifest(1)).await.status(), 200);
            &child
        };
        let from = NODES - left(&victim).await;
        send(sender, &victim, (from..from + (NODES - from) / 4).map(delete).collect()).await;
    }
    assert_eq!(left(&victim).await, 150);
    // A key that the admin verified has its own account.
    let known = verified(&victim, "known").await;
    send(&known, &victim, (100..130).map(delete).collect()).await;
    assert_eq!(left(&victim).await, 120);
}
