//! Ways to trust without comparing: by a certificate, and by the word of others that are trusted. Real instances, real handshakes.

use crate::{
    certificates::{Authority, Issued, PairFiles, replace},
    relationships,
    service::{Place, Service, TOKEN, json_of, problem, text},
    signing::{key, manifest, signed},
};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::fs;

async fn operate(service: &Service, path: &str, body: &Value) -> Response {
    service.request(Method::POST, path).bearer_auth(TOKEN).json(body).send().await.unwrap()
}

/// An instance that answers over TLS with this certificate.
async fn on_tls(name: &str, authority: &Authority, pair: &Issued) -> (Place, Service) {
    let place = Place::new().set("ARK_NODE_ID", name);
    let files = PairFiles::in_folder(&place.path(""), pair);
    let place = place.set("ARK__SERVER__TLS_CERTIFICATE", files.certificate.to_str().unwrap());
    let place = place.set("ARK__SERVER__TLS_KEY", files.key.to_str().unwrap());
    let mut service = place.launch();
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    service.client = Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    service.until_loaded().await;
    (place, service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_proves_whom_it_names_and_nobody_else() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let place = Place::new().set("ARK_NODE_ID", "one");
    let roots = place.path("authority.pem");
    replace(&roots, &authority.pem, 0o644);
    let place = place.set("ARK__TRUST__CA_FILE", roots.to_str().unwrap());
    let one = place.serve().await;
    let by_certificate = async |other: &Service, id: Option<&str>| {
        let url = format!("https://127.0.0.1:{}", other.port);
        let body = json!({"peer_id": id, "peer_address": url, "verification_method": "certificate"});
        let body: Value = body.as_object().unwrap().clone().into_iter().filter(|(_, it)| !it.is_null()).collect();
        operate(&one, "/v1/trust/establish", &body).await
    };
    let refused = (409, "trust_not_established".to_owned());

    let (_place, two) = on_tls("two", &authority, &authority.issue_to(&["two", "127.0.0.1"], 1, 2040)).await;
    // It names the address and the peer "two"; whoever is asked for is not it.
    assert_eq!(problem(by_certificate(&two, Some("three")).await).await, refused);
    let (_place, unnamed) = on_tls("four", &authority, &authority.issue_to(&["two", "127.0.0.1"], 2, 2040)).await;
    for id in [None, Some("four")] {
        assert_eq!(problem(by_certificate(&unnamed, id).await).await, refused, "the certificate is another one's");
    }
    let (_place, foreign) = on_tls("five", &stranger, &stranger.issue_to(&["five", "127.0.0.1"], 3, 2040)).await;
    assert_eq!(problem(by_certificate(&foreign, Some("five")).await).await, refused, "nobody knows who issued it");
    assert_eq!(relationships(&one).await.len(), 0, "nothing was decided");

    let answer = json_of(by_certificate(&two, None).await).await;
    assert_eq!((&answer["status"], &answer["peer_id"]), (&json!("established"), &json!("two")), "{answer}");
    assert_eq!((&answer["trust_level"], &answer["by"]), (&json!("verified"), &json!("certificate")), "{answer}");
    // By its signature alone: where nobody says who is meant, an address may call itself as it likes.
    let url = format!("https://127.0.0.1:{}", unnamed.port);
    let answer = json_of(operate(&one, "/v1/trust/establish", &json!({"peer_address": url})).await).await;
    assert_eq!((&answer["peer_id"], &answer["trust_level"]), (&json!("four"), &json!("pending")), "{answer}");
    let named = json!({"peer_address": url, "peer_id": "four"});
    let answer = json_of(operate(&one, "/v1/trust/establish", &named).await).await;
    assert_eq!((&answer["trust_level"], &answer["by"]), (&json!("verified"), &json!("signature")), "{answer}");
    let log = fs::read_to_string(place.path("state").join("audit.log")).unwrap();
    assert!(log.contains("\"by\":\"certificate\"") && log.contains("proved by certificate at https://"), "{log}");
}

/// Both sides compared words; here: what one of them verifies.
async fn verified_at(judge: &Service, other: &Service) {
    let added = json_of(operate(judge, "/v1/trust/establish", &json!({"peer_address": other.url})).await).await;
    let body = json!({"peer_id": added["peer_id"], "words": added["words"]});
    assert_eq!(json_of(operate(judge, "/v1/trust/verify", &body).await).await["trust_level"], "verified");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_vouchers_as_are_asked_for_make_a_key_verified() {
    let judge = Place::new().set("ARK_NODE_ID", "judge").set("ARK__TRUST__VOUCHERS", "2");
    let judge = judge.serve().await;
    let vouchers = ["alice", "bob", "carol"];
    let places = vouchers.map(|name| Place::new().set("ARK_NODE_ID", name).set("FEDERATION_TRUSTED_PEERS", &judge.url));
    let mut services = Vec::new();
    let newcomer = json!({"peer_id": "newcomer", "public_key": key(9).public_key().to_base64()});
    for place in &places {
        let service = place.serve().await;
        // A round tells each who the judge is.
        assert_eq!(operate(&service, "/api/federation/sync", &json!({})).await.status(), 200);
        assert_eq!(operate(&service, "/v1/trust/verify", &newcomer).await.status(), 200);
        services.push(service);
    }
    let [alice, bob, carol] = &services[..] else { unreachable!() };
    verified_at(&judge, alice).await;
    verified_at(&judge, bob).await;
    let vouch = async |service: &Service| {
        let told = operate(service, "/v1/trust/vouch", &json!({"peer_id": "newcomer"})).await;
        json_of(told).await["told"].as_u64().unwrap()
    };
    let mut seq = 0;
    let mut level = async || {
        seq += 1;
        let registered = judge.post("/manifest", signed(&key(9), &manifest("newcomer", seq))).await;
        text(&json_of(registered).await["trust_level"])
    };
    assert_eq!(level().await, "pending");
    assert_eq!(vouch(carol).await, 0, "nobody verified this one");
    assert_eq!((vouch(alice).await, vouch(alice).await), (1, 1));
    assert_eq!(level().await, "pending", "one voucher, however often");
    assert_eq!(vouch(bob).await, 1);
    assert_eq!(level().await, "verified");
    // Its vouchers must be trusted for as long as they are to count.
    let revoked = operate(&judge, "/v1/trust/revoke", &json!({"peer_id": "bob", "reason": "lost"})).await;
    assert_eq!(revoked.status(), 200);
    assert_eq!(level().await, "pending");
    assert_eq!(vouch(bob).await, 0);
    // Where nobody goes by vouchers, nobody takes any.
    verified_at(carol, alice).await;
    let body = json!({"peerUrl": carol.url});
    assert_eq!(operate(alice, "/api/federation/peers/add", &body).await.status(), 200);
    assert_eq!(operate(alice, "/api/federation/sync", &json!({})).await.status(), 200);
    assert_eq!(vouch(alice).await, 1, "the judge, and not carol");
}
