//! A key is replaced, and whoever stole the old one tries it everywhere. And whom the operator revoked tries to come back under another
//! key of his own.

use crate::{
    attacks::bed::{Attacker, Victim, content},
    server::{now, whole},
    service::{Service, problem},
};
use ark_lattice::{
    identity::{Change, KeyPair, KeyPlace, write_new},
    types::PeerId,
};
use serde_json::json;
use std::path::Path;

/// The files of a key, as its owner has them.
fn kept(folder: &Path, attacker: &Attacker) -> KeyPlace {
    let path = folder.join("identity.key");
    write_new(&path, &attacker.key).unwrap();
    KeyPlace::new(path)
}

/// Its key is another one from now on; what says so.
fn rotate(attacker: &mut Attacker, place: &KeyPlace) -> String {
    let change = Change { node_id: PeerId::parse(attacker.name).unwrap(), now: now() };
    let held = place.rotate(&change, None, None, None).unwrap();
    attacker.key = held.key;
    held.log.to_json()
}

async fn level(service: &Service, envelope: String) -> String {
    let answer = service.post("/manifest", envelope).await;
    let (status, body) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<serde_json::Value>(&body).unwrap()["trust_level"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_old_key_is_worth_nothing_and_the_new_one_what_the_old_one_was() {
    let victim = Victim::start().await;
    let mut owner = Attacker::new("owner").registered(&victim, 5).await;
    let mut thief = Attacker { name: "owner", key: KeyPair::from_base64(&owner.key.to_base64()).unwrap() };
    let (his, stolen) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (his, stolen) = (kept(his.path(), &owner), kept(stolen.path(), &thief));
    victim.operate("/v1/trust/verify", &json!({"peer_id": "owner", "public_key": owner.public_key()})).await;
    let old = owner.public_key();
    assert_eq!(victim.service.post("/v1/trust/rotate", rotate(&mut owner, &his)).await.status(), 200);
    assert_eq!(level(&victim.service, owner.manifest(6)).await, "verified");
    assert_eq!(owner.push(&victim, &whole(1, "mine", "m")).await.status(), 200);
    let rotation = victim.audit().into_iter().find(|entry| entry["kind"] == "rotation").expect("no entry");
    assert_eq!((&rotation["subject"], &rotation["detail"]["old_key"]), (&json!("owner"), &json!(old)));

    victim.refuses_manifest(thief.manifest(7), (409, "key_mismatch"), "owner").await;
    let refused = problem(thief.push(&victim, &whole(2, "his", "h")).await).await;
    assert_eq!(refused, (403, "not_trusted".to_owned()));
    victim.has_audited("not_trusted", "/lattice/changes", "owner");
    let refused = problem(victim.service.post("/v1/trust/rotate", rotate(&mut thief, &stolen)).await).await;
    assert_eq!(refused, (409, "equivocation".to_owned()));
    victim.has_audited("equivocation", "/v1/trust/rotate", "-");
    victim.refuses_manifest(thief.manifest(8), (409, "key_mismatch"), "owner").await;
    assert_eq!((content(&victim, "mine").await.as_deref(), content(&victim, "his").await), (Some("m"), None));

    let victim = victim.restarted().await;
    assert_eq!(level(&victim.service, owner.manifest(9)).await, "verified");
    // The operator finds that the new one is not in good hands either.
    victim.operate("/v1/trust/revoke", &json!({"peer_id": "owner", "public_key": owner.public_key()})).await;
    let refused = problem(victim.service.post("/v1/trust/rotate", rotate(&mut owner, &his)).await).await;
    assert_eq!(refused, (403, "peer_revoked".to_owned()));
    victim.has_audited("peer_revoked", "/v1/trust/rotate", "-");
    victim.refuses_manifest(owner.manifest(10), (409, "key_mismatch"), "owner").await;
}
