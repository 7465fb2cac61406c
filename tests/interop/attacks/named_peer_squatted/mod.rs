//! A stranger registers the id of a peer that the admin named with its key, before that peer does.

use crate::attacks::bed::{Attacker, Victim};
use crate::{
    server::whole,
    service::{Place, problem},
};

#[tokio::test]
async fn the_id_of_a_named_peer_is_open_to_its_pinned_key_only() {
    for mode in ["verified", "tofu", "open"] {
        let (peer, stranger) = (Attacker::new("laptop"), Attacker::new("laptop"));
        let named = format!("laptop={}@http://127.0.0.1:9", peer.public_key());
        let place = Place::new().set("FEDERATION_TRUSTED_PEERS", &named).set("ARK_TRUST_MODE", mode);
        let victim = Victim::start_in(place).await;
        victim.refuses_manifest(stranger.manifest(1), (403, "not_listed"), "laptop").await;
        let refused = problem(stranger.push(&victim, &whole(1, "n", "planted")).await).await;
        assert_eq!(refused, (403, "not_trusted".to_owned()), "{mode}");
        // Also where nothing of the peer is registered.
        assert_eq!(peer.push(&victim, &whole(2, "n", "honest")).await.status(), 200, "{mode}");
        assert_eq!(victim.service.post("/manifest", peer.manifest(1)).await.status(), 200, "{mode}");
    }
}

#[tokio::test]
async fn a_squatter_that_came_first_goes_once_the_peer_is_named() {
    let victim = Victim::start().await;
    let (peer, squatter) = (Attacker::new("laptop"), Attacker::new("laptop").registered(&victim, 1).await);
    let named = format!("laptop={}@http://127.0.0.1:9", peer.public_key());
    let Victim { place, service } = victim;
    service.kill();
    let victim = Victim::start_in(place.set("FEDERATION_TRUSTED_PEERS", &named)).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(peer.push(&victim, &whole(1, "n", "honest")).await.status(), 200);
    assert_eq!(victim.service.post("/manifest", peer.manifest(1)).await.status(), 200);
    victim.refuses_manifest(squatter.manifest(2), (403, "not_listed"), "laptop").await;
}
