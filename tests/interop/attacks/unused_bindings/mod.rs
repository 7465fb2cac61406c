//! A flood of ids that nobody uses afterwards: each is bound to its key for 90 days and goes then, so that it fills no disk for good. The
//! machine's clock is moved (libfaketime).

use crate::{
    attacks::bed::{Attacker, Victim, until},
    faketime,
    service::{Place, problem},
    signing::{key, manifest, now, signed},
};
use serde_json::{Value, json};
use std::fs;

const DAY: u64 = 86_400;

fn days_later(place: &Place, days: u64) {
    // Renamed into place: the library must not read half a file.
    fs::write(place.path("clock.new"), format!("+{}", days * DAY)).unwrap();
    fs::rename(place.path("clock.new"), place.path("clock")).unwrap();
}

fn dated(number: u64, id: &str, days: u64) -> String {
    let mut manifest: Value = manifest(id, 1 + days);
    manifest["last_updated"] = json!(now() + days * DAY);
    signed(&key(number), &manifest)
}

#[tokio::test]
async fn ids_of_a_flood_are_free_again_after_90_days_and_verified_ones_are_not() {
    let place = Place::new();
    days_later(&place, 0);
    let (library, clock) = (faketime::library(), place.path("clock"));
    let place = place
        .set("LD_PRELOAD", library.to_str().unwrap())
        .set("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .set("FAKETIME_NO_CACHE", "1")
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .set("NO_FAKE_STAT", "1")
        .set("ARK__LIMITS__IDS_PER_KEY", "1000");
    let victim = Victim::start_in(place).await;
    let honest = Attacker::new("honest").registered(&victim, 1).await;
    victim.operate("/v1/trust/verify", &json!({"peer_id": "honest", "public_key": honest.public_key()})).await;
    for number in 0..100 {
        let flood = dated(7, &format!("flood-{number}"), 0);
        assert_eq!(victim.service.post("/manifest", flood).await.status(), 200);
    }
    let Victim { place, service } = victim;
    assert!(service.terminate().await.success());
    let takes = async |victim: &Victim, id: &str, days: u64| {
        let answer = victim.service.post("/manifest", dated(8, id, days)).await;
        if answer.status() == 200 { String::new() } else { problem(answer).await.1 }
    };
    days_later(&place, 80);
    let victim = Victim { service: place.serve().await, place };
    assert_eq!(takes(&victim, "flood-1", 80).await, "key_mismatch", "within 90 days they are the first key's");
    victim.has_audited("key_mismatch", "/manifest", "flood-1");
    let Victim { place, service } = victim;
    assert!(service.terminate().await.success());
    days_later(&place, 91);
    let victim = Victim { service: place.serve().await, place };
    until("they are swept", async || takes(&victim, "flood-2", 91).await.is_empty()).await;
    assert_eq!(takes(&victim, "honest", 91).await, "key_mismatch", "a verified id stays its key's");
}
