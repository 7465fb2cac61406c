//! A name whose address is within the service's own network. What comes of one that leads inside later: `dns_rebinding`.

use crate::{attacks::bed::Victim, server::Hostile, service::Place};
use serde_json::json;

#[tokio::test]
async fn what_a_name_means_is_looked_at_when_it_is_connected_to() {
    let hidden = Hostile::start("hidden", |_, _| None).await;
    let url = hidden.url.replace("127.0.0.1", "localhost");
    let victim = Victim::start_in(Place::new().set("ARK__FEDERATION__PRIVATE_PEERS", "false")).await;
    assert_eq!(victim.operate("/api/federation/peers/add", &json!({"peerUrl": url})).await["status"], "added");
    let error = victim.round().await;
    assert!(error.contains("is within this machine's network"), "{error}");
    assert_eq!(hidden.peer.asked("head"), 0, "nobody came");
    assert_eq!(victim.has_audited("out_of_reach", "round", "-")["detail"]["peer"], url);

    let open = Victim::start().await;
    assert_eq!(open.operate("/api/federation/peers/add", &json!({"peerUrl": url})).await["status"], "added");
    open.round().await;
    assert!(hidden.peer.asked("head") > 0, "the name leads there");
}
