//! The line of an invite that was used, revoked or has expired, in the hands of somebody else.

use crate::attacks::bed::{Attacker, JOIN, Victim, join};
use serde_json::Value;
use std::fs;

#[tokio::test]
async fn an_invite_that_has_ended_lets_nobody_join() {
    let victim = Victim::start().await;
    let (used, revoked) = (victim.invite().await, victim.invite().await);
    let friend = Attacker::new("friend");
    assert_eq!(join(&friend, &victim, used.id, &used.secret).await, (200, String::new()));
    let path = format!("/api/federation/invites/{}", revoked.id);
    let revocation = victim.service.request(reqwest::Method::DELETE, &path).bearer_auth(crate::service::TOKEN);
    assert_eq!(revocation.send().await.unwrap().status(), 200);
    let refused = (401, "invite_refused".to_owned());
    // The same id as the one that used it, with another key.
    for (name, line) in [("thief", &used), ("friend", &used), ("late", &revoked)] {
        let thief = Attacker::new(name);
        // The id of the friend has another key; an invite is not even looked at.
        let code = if name == "friend" { "key_mismatch" } else { "invite_refused" };
        assert_eq!(join(&thief, &victim, line.id, &line.secret).await.1, code, "{name}");
        victim.has_audited(code, JOIN, name);
        assert_eq!(thief.level(&victim).await, None, "{name}");
    }
    assert_eq!(friend.level(&victim).await.as_deref(), Some("verified"));

    let expired = victim.invite().await;
    let Victim { place, service } = victim;
    service.kill();
    let path = place.path("state").join("invites.json");
    let mut invites: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for invite in invites.as_array_mut().unwrap() {
        invite["expires_at"] = 1_600_000_000_000_000_i64.into();
    }
    fs::write(&path, invites.to_string()).unwrap();
    let service = place.serve().await;
    // Requests of the second of a start that follows a crash are refused.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let victim = Victim { place, service };
    let tardy = Attacker::new("tardy");
    assert_eq!(join(&tardy, &victim, expired.id, &expired.secret).await, refused);
    victim.has_audited("invite_refused", JOIN, "tardy");
    assert_eq!(tardy.level(&victim).await, None);
}
