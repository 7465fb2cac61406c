//! Somebody who can write to a shared Redis writes a key line, which is not signed: it ends a verified key, or names another one in its place.

use crate::{
    attacks::bed::{Attacker, Victim, content},
    redis_server::RedisServer,
    server::{now, whole},
    service::Place,
};
use ark_lattice::{
    identity::{Change, Held, KeyPlace, write_new},
    types::PeerId,
};
use redis::AsyncTypedCommands;
use serde_json::{Value, json};

async fn victim(redis: &RedisServer) -> Victim {
    Victim::start_in(Place::new().set("REDIS_URL", &redis.url())).await
}

async fn verify(victim: &Victim, peer: &Attacker) {
    victim.operate("/v1/trust/verify", &json!({"peer_id": peer.name, "public_key": peer.public_key()})).await;
}

async fn writes(victim: &Victim, peer: &Attacker, number: u64) -> u16 {
    peer.push(victim, &whole(number, "n", &number.to_string())).await.status().as_u16()
}

/// Writes these fields of the binding of `owner`.
async fn forge(redis: &RedisServer, fields: &[(&str, String)]) {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut inside = client.get_multiplexed_async_connection().await.unwrap();
    inside.hset_multiple("pin:owner", fields).await.unwrap();
}

fn line(key: &str, retired: &[String], revoked: bool, recovery_key: Option<&str>) -> String {
    let members = json!({
        "version": 1, "public_key": key, "recovery_key": recovery_key, "epoch": 0, "seq": 1,
        "tip": format!("sha256:{}", "0".repeat(64)), "revoked": revoked, "retired": retired,
    });
    members.to_string()
}

/// A key that takes the place of this one, by a statement of both.
fn rotated(key: &Attacker) -> Held {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.key");
    write_new(&path, &key.key).unwrap();
    let change = Change { node_id: PeerId::parse(key.name).unwrap(), now: now() };
    KeyPlace::new(path).rotate(&change, None, None, None).unwrap()
}

#[tokio::test]
async fn a_line_without_statements_neither_takes_nor_ends_a_verified_key() {
    let redis = RedisServer::start().await;
    let victim = victim(&redis).await;
    let (owner, thief) = (Attacker::new("owner").registered(&victim, 1).await, Attacker::new("owner"));
    verify(&victim, &owner).await;
    let (own, theirs) = (owner.public_key(), thief.public_key());
    let forgeries: [&[(&str, String)]; 4] = [
        &[("line", line(&theirs, std::slice::from_ref(&own), false, None))],
        &[("line", line(&own, &[], true, None))],
        &[
            ("line", line(&theirs, std::slice::from_ref(&own), false, None)),
            ("pubkey", theirs.clone()),
            ("retired", own.clone()),
        ],
        &[("line", line(&own, &[], true, None)), ("revoked", "1".to_owned())],
    ];
    for (forgery, seq) in forgeries.into_iter().zip(2..) {
        forge(&redis, forgery).await;
        victim.service.get("/discover").await;
        assert_eq!(writes(&victim, &thief, seq * 10).await, 403, "{seq}");
        victim.refuses_manifest(thief.manifest(seq), (409, "key_mismatch"), "owner").await;
        assert_eq!(writes(&victim, &owner, seq * 10 + 1).await, 200, "{seq}");
        assert_eq!(victim.service.post("/manifest", owner.manifest(seq)).await.status(), 200, "{seq}");
    }
    // Nor does a line that cannot be read.
    forge(&redis, &[("line", "{}".to_owned())]).await;
    assert_eq!((writes(&victim, &thief, 80).await, writes(&victim, &owner, 81).await), (403, 200));
    // A recovery key that only the line names recovers nothing.
    forge(&redis, &[("line", line(&own, &[], false, Some(&theirs)))]).await;
    let statements = rotated(&thief).log.to_json();
    assert_ne!(victim.service.post("/v1/trust/rotate", statements).await.status(), 200);
    let kinds: Vec<Value> = victim.audit().into_iter().map(|entry| entry["kind"].clone()).collect();
    assert!(!kinds.contains(&json!("rotation")), "{kinds:?}");
    let victim = victim.restarted().await;
    assert_eq!((writes(&victim, &thief, 90).await, writes(&victim, &owner, 91).await), (403, 200));
}

#[tokio::test]
async fn a_rotation_that_another_process_took_counts_by_its_statements() {
    let redis = RedisServer::start().await;
    let (one, two) = (victim(&redis).await, victim(&redis).await);
    let old = Attacker::new("owner").registered(&one, 1).await;
    for victim in [&one, &two] {
        verify(victim, &old).await;
    }
    let held = rotated(&old);
    assert_eq!(one.service.post("/v1/trust/rotate", held.log.to_json()).await.status(), 200);
    let new = Attacker { name: "owner", key: held.key };
    for (victim, number) in [(&one, 10), (&two, 20)] {
        assert_eq!((writes(victim, &new, number).await, writes(victim, &old, number + 1).await), (200, 403));
        assert_eq!(content(victim, "n").await, Some(number.to_string()));
        assert_eq!(victim.service.post("/manifest", new.manifest(number)).await.status(), 200);
    }
}

#[tokio::test]
async fn a_listed_key_stays_whatever_line_lies_in_redis() {
    let redis = RedisServer::start().await;
    let (owner, thief) = (Attacker::new("owner"), Attacker::new("owner"));
    let place = Place::new().set("REDIS_URL", &redis.url()).set("ARK_TRUST_MODE", "allowlist");
    let listed = format!("[trust]\nlisted = [{{ node_id = \"owner\", pubkey = \"{}\" }}]\n", owner.public_key());
    std::fs::create_dir(place.path("config")).unwrap();
    std::fs::write(place.path("config/production.toml"), listed).unwrap();
    let victim = Victim::start_in(place.set("ARK_ENV", "production")).await;
    let owner = owner.registered(&victim, 1).await;
    forge(&redis, &[("line", line(&thief.public_key(), &[owner.public_key()], false, None))]).await;
    victim.refuses_manifest(thief.manifest(2), (403, "not_listed"), "owner").await;
    assert_eq!((writes(&victim, &thief, 10).await, writes(&victim, &owner, 11).await), (403, 200));
}

#[tokio::test]
async fn the_pinned_key_of_a_named_peer_is_replaced_by_its_own_statements_only() {
    let redis = RedisServer::start().await;
    let (mut peer, thief) = (Attacker::new("owner"), Attacker::new("owner"));
    let named = format!("owner={}@http://127.0.0.1:9", peer.public_key());
    let place = Place::new().set("REDIS_URL", &redis.url()).set("FEDERATION_TRUSTED_PEERS", &named);
    let victim = Victim::start_in(place).await;
    // Another process, where nobody named the peer.
    let other = self::victim(&redis).await;
    peer = peer.registered(&victim, 1).await;
    for line in [
        line(&thief.public_key(), &[peer.public_key()], false, None),
        line(&peer.public_key(), &[], false, Some(&thief.public_key())),
    ] {
        forge(&redis, &[("line", line)]).await;
        let statements = rotated(&thief).log.to_json();
        assert_ne!(victim.service.post("/v1/trust/rotate", statements).await.status(), 200);
        assert_eq!((writes(&victim, &thief, 10).await, writes(&victim, &peer, 11).await), (403, 200));
    }
    forge(&redis, &[("line", String::new())]).await;
    let held = rotated(&peer);
    assert_eq!(other.service.post("/v1/trust/rotate", held.log.to_json()).await.status(), 200);
    let new = Attacker { name: "owner", key: held.key };
    assert_eq!((writes(&victim, &new, 20).await, writes(&victim, &peer, 21).await), (200, 403));
    assert_eq!(victim.service.post("/manifest", new.manifest(2)).await.status(), 200);
}
