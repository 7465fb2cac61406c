//! Somebody registers ids as fast as he can: each is kept for good, so there are only so many of them for him.

use crate::{
    attacks::bed::{Victim, client_from, counted},
    service::problem,
    signing::{key, manifest, signed},
};
use reqwest::{Client, Response};

async fn publish(client: &Client, victim: &Victim, id: &str, number: u64) -> Response {
    let request = client.post(format!("{}/manifest", victim.service.url)).header("content-type", "application/json");
    request.body(signed(&key(number), &manifest(id, 1))).send().await.unwrap()
}

#[tokio::test]
async fn a_flood_of_ids_takes_its_share_and_others_have_theirs() {
    let place = counted().set("ARK__LIMITS__NEW_IDS_PER_MINUTE", "10").set("ARK__LIMITS__IDS_PER_KEY", "3");
    let victim = Victim::start_in(place).await;
    let (flood, honest) = (client_from(3), client_from(2));
    let mut taken = 0;
    for number in 0..60 {
        let answer = publish(&flood, &victim, &format!("flood-{number}"), number).await;
        match answer.status().as_u16() {
            200 => taken += 1,
            429 => {
                assert!(answer.headers().contains_key("retry-after"));
                let limit =
                    answer.headers().get_all("ratelimit").iter().any(|it| it.to_str().unwrap().contains("new-id"));
                assert!(limit, "{:?}", answer.headers());
                assert_eq!(problem(answer).await.1, "rate_limited");
            }
            other => panic!("{other}"),
        }
    }
    // One comes back every six seconds.
    assert!((10..60).contains(&taken), "{taken}");
    assert_eq!(publish(&honest, &victim, "honest", 100).await.status(), 200);
    // One key, from wherever.
    for id in ["honest-2", "honest-3"] {
        assert_eq!(publish(&honest, &victim, id, 100).await.status(), 200);
    }
    assert_eq!(problem(publish(&honest, &victim, "honest-4", 100).await).await, (403, "id_quota".to_owned()));
    victim.has_audited("rate_limited", "/manifest", "-");
    victim.has_audited("id_quota", "/manifest", "honest-4");
    let victim = victim.restarted().await;
    assert_eq!(problem(publish(&honest, &victim, "honest-4", 100).await).await, (403, "id_quota".to_owned()));
    let listed = victim.service.get_json("/discover").await;
    assert!(listed["peers"].as_array().unwrap().iter().any(|peer| peer["node_id"] == "honest"), "{listed}");
}
