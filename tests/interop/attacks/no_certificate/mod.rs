//! Somebody without a certificate of our authority, or with one of another, at the doors for instances.

use crate::{
    attacks::bed::{VICTIM, has_audited},
    certificates::{Authority, Issued, PairFiles, replace},
    service::{Place, Service, TOKEN, json_of, problem, until},
};
use reqwest::{Certificate, Client, Identity, Method};
use serde_json::json;
use std::{path::Path, time::Duration};

fn file(place: &Place, name: &str) -> String {
    place.path(name).to_str().unwrap().to_owned()
}

/// A place with the victim's certificate, whose doors for instances ask for one of `clients`.
fn guarded(authority: &Authority, clients: &Authority) -> Place {
    let place = Place::new().set("ARK_NODE_ID", VICTIM);
    PairFiles::in_folder(&place.path(""), &authority.issue(1, 2040));
    replace(&place.path("clients.pem"), &clients.pem, 0o644);
    let [certificate, key, clients] = ["tls.crt", "tls.key", "clients.pem"].map(|name| file(&place, name));
    let place = place.set("ARK__SERVER__TLS_CERTIFICATE", &certificate).set("ARK__SERVER__TLS_KEY", &key);
    place.set("ARK__SERVER__TLS_CLIENT_CA", &clients).set("ARK__SERVER__TLS_RELOAD_INTERVAL", "50ms")
}

fn client(authority: &Authority, shown: Option<&Issued>) -> Client {
    let root = Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let builder = Client::builder().no_proxy().timeout(Duration::from_secs(30)).tls_certs_only([root]);
    // Each asks on a connection of its own, as somebody new does.
    let builder = builder.pool_max_idle_per_host(0);
    match shown {
        Some(pair) => {
            let pem = format!("{}{}", pair.certificate, pair.key);
            builder.identity(Identity::from_pem(pem.as_bytes()).unwrap()).build().unwrap()
        }
        None => builder.build().unwrap(),
    }
}

async fn launch(place: &Place, client: Client) -> Service {
    let service = Service { client, ..place.launch() };
    service.until_loaded().await;
    service
}

#[tokio::test]
async fn the_doors_for_instances_open_for_those_with_a_certificate() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let place = guarded(&authority, &clients);
    let service = launch(&place, client(&authority, None)).await;
    for (method, path) in
        [("GET", "/lattice/head"), ("POST", "/manifest"), ("POST", "/lattice/changes"), ("GET", "/%6cattice/head")]
    {
        let request = service.request(method.parse().unwrap(), path).header("content-type", "application/json");
        let answer = problem(request.body("{}").send().await.unwrap()).await;
        assert_eq!(answer, (403, "client_certificate".to_owned()), "{method} {path}");
    }
    assert_eq!(service.get("/nodes").await.status(), 200, "scripts read on");
    let head = format!("{}/lattice/head", service.url);
    let (known, strange) = (clients.issue(1, 2040), strangers.issue(1, 2040));
    assert_eq!(client(&authority, Some(&known)).get(&head).send().await.unwrap().status(), 200);
    assert!(client(&authority, Some(&strange)).get(&head).send().await.is_err(), "of another authority");
    let expired = clients.issue(2, 2021);
    assert!(client(&authority, Some(&expired)).get(&head).send().await.is_err(), "expired");
    has_audited(&place, "client_certificate", "certificate", "-");
    let entry = has_audited(&place, "client_certificate", "handshake", "-");
    assert!(entry["detail"]["problem"].as_str().unwrap().contains("certificate"), "{entry}");

    // Another authority takes the place of the first, without a restart.
    replace(&place.path("clients.pem"), &strangers.pem, 0o644);
    until("the new authority counts", Duration::from_secs(20), async || {
        client(&authority, Some(&strange)).get(&head).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    assert!(client(&authority, Some(&known)).get(&head).send().await.is_err());
}

#[tokio::test]
async fn instances_with_certificates_exchange_and_others_do_not() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let source = guarded(&authority, &clients).set("ARK__SERVER__TLS_CLIENT_REQUIRED", "true");
    let own = clients.issue(3, 2040);
    let service = launch(&source, client(&authority, Some(&own))).await;
    assert!(client(&authority, None).get(format!("{}/ready", service.url)).send().await.is_err(), "nobody without one");
    assert_eq!(service.put("shared", &json!({"id": "shared"})).await.status(), 201);
    for shows in [true, false] {
        let place = Place::new().set("ARK_NODE_ID", "asking").set("FEDERATION_TRUSTED_PEERS", &service.url);
        PairFiles::in_folder(Path::new(&file(&place, "")), &own);
        replace(&place.path("authority.pem"), &authority.pem, 0o644);
        let [certificate, key, roots] = ["tls.crt", "tls.key", "authority.pem"].map(|name| file(&place, name));
        let place = place.set("ARK__FEDERATION__TLS_CA", &roots);
        let place = match shows {
            true => {
                let place = place.set("ARK__FEDERATION__TLS_CLIENT_CERTIFICATE", &certificate);
                place.set("ARK__FEDERATION__TLS_CLIENT_KEY", &key)
            }
            false => place,
        };
        let asking = place.serve().await;
        let round = asking.request(Method::POST, "/api/federation/sync").bearer_auth(TOKEN).json(&json!({}));
        let round = json_of(round.send().await.unwrap()).await;
        assert_eq!(round["result"][0]["success"], shows, "{round}");
        assert_eq!(asking.get_json("/nodes").await["total"], u64::from(shows));
    }
}
