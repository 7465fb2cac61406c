//! Every code of the 4xx is answered with somewhere.

use super::{
    all_rows, as_operator,
    feeds::{RIGHT, Speech, signed_json, signed_lines},
    keys, post_manifest, prepared, put_node, row, run,
    trust::operate,
};
use crate::{
    app::{NOW, TOKEN, key, manifest, signed, spawn_in, spawn_with},
    raw_http::{Body, Raw},
};
use ark_lattice::{
    api::codes::Code,
    federation::peers::MAX_PEERS,
    identity::{KeyLog, SignedStatement, Statement, StatementKind},
    lattice::NodeDocument,
    settings::{FederationMode, Span},
    trust::TrustMode,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

#[tokio::test]
async fn every_code_of_the_4xx_is_answered_with() {
    let mut seen = run(&prepared().await, &all_rows()).await;

    let slow = spawn_with(|settings| settings.server.body_timeout = Span::seconds(1)).await;
    let waits = Body::Declared(100, b"{".to_vec());
    let slow_rows = [
        row("a slow manifest", Raw::new("POST", "/manifest").body(waits.clone()), 408, "request_timeout"),
        row("a slow sync request", Raw::new("POST", "/sync").body(waits.clone()), 408, "request_timeout"),
        row("a slow node", as_operator("PUT", "/nodes/n").body(waits), 408, "request_timeout"),
    ];
    seen.extend(run(&slow, &slow_rows).await);
    let slow = spawn_with(|settings| settings.server.body_timeout = Span::seconds(3)).await;
    let large = Raw::new("POST", "/sync").body(Body::Declared(200_000, vec![b' '; 70_000]));
    seen.extend(run(&slow, &[row("a large body that stalls", large, 408, "body_too_slow")]).await);

    let folder = tempfile::tempdir().unwrap();
    // In the way of the local token.
    std::fs::create_dir_all(folder.path().join("state/local.token/x")).unwrap();
    let closed = spawn_in(folder, |settings| settings.admin.token = None).await;
    let closed_rows = [
        row("a write without a token set", put_node("n", b"{\"id\":\"n\"}"), 403, "operator_disabled"),
        row("a deletion without a token set", as_operator("DELETE", "/nodes/n"), 403, "operator_disabled"),
    ];
    seen.extend(run(&closed, &closed_rows).await);

    let far = Raw::new("POST", "/api/federation/stop").header("x-forwarded-for", "127.0.0.1");
    let loopback = spawn_with(|settings| {
        settings.admin.token = None;
        settings.server.trust_loopback = true;
    });
    seen.extend(run(&loopback.await, &[row("a control from elsewhere", far, 403, "not_local")]).await);

    let few = spawn_with(|settings| {
        settings.limits.count_loopback = true;
        settings.limits.ids_per_key = 1;
        settings.limits.signed_per_minute = 2;
    });
    let few = few.await;
    let of = |id: &str| post_manifest(signed(&key(1), &manifest(id)));
    assert_eq!(of("a").send(few.port).await.status, 200);
    seen.extend(run(&few, &[row("an id too many of one key", of("b"), 403, "id_quota")]).await);
    seen.extend(run(&few, &[row("a request too many", of("a"), 429, "rate_limited")]).await);

    // A connection without TLS shows no certificate.
    let certified = spawn_with(|settings| settings.server.tls_client_ca = Some("authorities.pem".into())).await;
    let peers_row = row("a peer without a certificate", Raw::new("GET", "/lattice/head"), 403, "client_certificate");
    seen.extend(run(&certified, &[peers_row]).await);

    let mirror = spawn_with(|settings| settings.federation.read_only = true).await;
    let write = signed_json("/federation/sync", "{\"nodes\":[]}", &key(1), &RIGHT);
    seen.extend(run(&mirror, &[row("a push to a mirror", write, 403, "read_only")]).await);

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let peer = |n: usize| {
        let url = format!("http://192.0.2.1:{n}");
        (url.clone(), json!({"url": url, "added_at": 0}))
    };
    let peers: Map<String, Value> = (1..=MAX_PEERS).map(peer).collect();
    std::fs::write(folder.path().join("state/peers.json"), Value::from(peers).to_string()).unwrap();
    // They need not be spoken to for this.
    std::fs::write(folder.path().join("state/control.json"), "{\"stopped\":true}").unwrap();
    let crowded = spawn_in(folder, |_| {}).await;
    let more = as_operator("POST", "/api/federation/peers/add").json("{\"peerUrl\":\"http://127.0.0.1:1\"}");
    seen.extend(run(&crowded, &[row("a peer too many", more, 409, "too_many_peers")]).await);

    let spoke = spawn_with(|settings| {
        settings.federation.mode = FederationMode::Hub;
        settings.federation.hub_url = Some("http://127.0.0.1:1".to_owned());
    });
    let other = as_operator("POST", "/api/federation/peers/add").json("{\"peerUrl\":\"http://127.0.0.1:2\"}");
    let hub = as_operator("DELETE", "/api/federation/peers/http%3A%2F%2F127.0.0.1%3A1");
    let spoke_rows = [
        row("a second peer of a spoke", other, 409, "hub_only"),
        row("a hub of the settings", hub, 409, "peer_of_settings"),
    ];
    seen.extend(run(&spoke.await, &spoke_rows).await);

    let decided = prepared().await;
    let own = format!("{{\"peer_id\":\"ark-known\",\"public_key\":\"{}\"}}", key(1).public_key());
    let two = |content: &str| {
        let mut said = manifest("ark-known");
        (said["seq"], said["note"]) = (json!(5), json!(content));
        post_manifest(signed(&key(1), &said))
    };
    let lines = || signed_lines("/lattice/changes", "", &key(1), &RIGHT);
    let decided_rows = [
        row("two things under one seq", two("other"), 409, "equivocation"),
        row("changes of who said them", lines(), 403, "quarantined"),
    ];
    seen.extend(run(&decided, &decided_rows[..1]).await);
    seen.extend(run(&decided, &decided_rows[1..]).await);
    assert_eq!(operate("trust/revoke", own).send(decided.port).await.status, 200);
    seen.extend(run(&decided, &[row("changes of a revoked key", lines(), 403, "peer_revoked")]).await);

    let listed = spawn_with(|settings| settings.trust.mode = TrustMode::Allowlist).await;
    let stranger = post_manifest(signed(&key(1), &manifest("ark-1")));
    seen.extend(run(&listed, &[row("a key that is not listed", stranger, 403, "not_listed")]).await);

    let revoking = prepared().await;
    let mut log = KeyLog::default();
    let first = SignedStatement::sign(keys::enrolment("ark-known", &key(1)), &[&key(1)]);
    let last = Statement {
        kind: StatementKind::Revoke,
        seq: 1,
        previous: Some(first.digest()),
        ..keys::enrolment("ark-known", &key(1))
    };
    log.append(first).unwrap();
    log.append(SignedStatement::sign(last, &[&key(1)])).unwrap();
    assert_eq!(keys::post(log.to_json()).send(revoking.port).await.status, 200);
    let revoked = [
        row("a revoked key", post_manifest(signed(&key(1), &manifest("ark-known"))), 403, "peer_revoked"),
        row("lines of a revoked key", signed_lines("/lattice/changes", "", &key(1), &RIGHT), 403, "peer_revoked"),
    ];
    seen.extend(run(&revoking, &revoked).await);

    let app = prepared().await;
    let once = signed_lines("/lattice/changes", "", &key(1), &RIGHT);
    assert_eq!(once.clone().send(app.port).await.status, 200);
    seen.extend(run(&app, &[row("a request that was seen before", once, 409, "replayed")]).await);
    let early = signed_lines("/lattice/changes", "", &key(1), &Speech { at: NOW - 1, ..RIGHT });
    seen.extend(run(&app, &[row("a request of before the start", early, 401, "signed_before_start")]).await);

    let sent = |lines: &[Value]| {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        signed_lines("/lattice/changes", &body, &key(1), &RIGHT)
    };
    let full = spawn_with(|settings| settings.limits.peer_conflicts = 1).await;
    assert_eq!(full.post("/manifest", signed(&key(1), &manifest("ark-known"))).await.status(), 200);
    for (id, status) in [("a", 200), ("b", 409)] {
        assert_eq!(full.put(id, &json!({"id": id, "made": "here"})).await.status(), 201);
        let node = json!({"id": id, "made": "there"});
        let document = NodeDocument::parse(node.to_string().into(), 64).unwrap();
        let hash = document.content_hash().to_string();
        let line = json!({"seq": 1, "id": id, "at": NOW + 9, "hash": hash, "size": 9, "after": [], "node": node});
        let overruled = sent(&[line]);
        if status == 200 {
            assert_eq!(overruled.send(full.port).await.status, 200);
        } else {
            seen.extend(run(&full, &[row("a conflict too many", overruled, status, "conflicts_full")]).await);
        }
    }
    let ids: Vec<String> = (0..12).map(|number| format!("node-{number}")).collect();
    for id in &ids {
        assert_eq!(full.put(id, &json!({"id": id, "updated_at": 1})).await.status(), 201);
    }
    let hash = format!("sha256:{}", "0".repeat(64));
    let gone = |id: &String| json!({"seq": 1, "id": id, "at": NOW, "deleted": hash, "after": []});
    let gone: Vec<Value> = ids.iter().map(gone).collect();
    let body: String = gone.iter().map(|line| format!("{line}\n")).collect();
    let by = |number: u8, node_id: &'static str| {
        signed_lines("/lattice/changes", &body, &key(number), &Speech { node_id, ..RIGHT })
    };
    // As many wait as there are nodes, and no more.
    for (number, node_id) in [(1, "ark-known"), (2, "ark-two")] {
        assert_eq!(full.post("/manifest", signed(&key(number), &manifest(node_id))).await.status(), 200);
    }
    assert_eq!(by(1, "ark-known").send(full.port).await.status, 200);
    assert_eq!(by(2, "ark-two").send(full.port).await.status, 200);
    let last = json!({"seq": 1, "id": "b", "at": NOW + 10, "deleted": hash, "after": []});
    let last =
        signed_lines("/lattice/changes", &format!("{body}{last}\n"), &key(2), &Speech { node_id: "ark-two", ..RIGHT });
    seen.extend(run(&full, &[row("a deletion beside as many as may wait", last, 409, "mass_delete")]).await);

    let bounded = spawn_with(|settings| settings.limits.lattice_nodes = 1).await;
    assert_eq!(bounded.put("a", &json!({"id": "a"})).await.status(), 201);
    let beyond = put_node("b", b"{\"id\":\"b\"}");
    seen.extend(run(&bounded, &[row("a node beyond the bound of the lattice", beyond, 409, "lattice_full")]).await);

    let long = format!("{{\"id\":\"long\",\"type\":\"{}\"}}", "x".repeat(257));
    let long = as_operator("PUT", "/nodes/long").json(&long);
    seen.extend(run(&app, &[row("a type that is too long", long, 400, "type_too_long")]).await);

    let own = as_operator("POST", "/api/federation/peers/add").json(json!({"peerUrl": app.url}).to_string());
    let web = web_server();
    let other = as_operator("POST", "/api/federation/peers/add").json(json!({"peerUrl": web}).to_string());
    let rows = [row("its own address", own, 400, "own_address"), row("a web server", other, 400, "not_an_instance")];
    seen.extend(run(&app, &rows).await);

    let nothing = as_operator("POST", "/api/federation/deletions/confirm").json("{\"from\":\"ark-none\"}");
    seen.extend(run(&app, &[row("deletions of which none wait", nothing, 404, "no_deletions_wait")]).await);

    // What was deleted 31 days ago is forgotten: who stands before that must begin again.
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(
        app.request(reqwest::Method::DELETE, "/nodes/known").bearer_auth(TOKEN).send().await.unwrap().status(),
        200
    );
    app.clock.advance(Duration::from_secs(31 * 24 * 3600));
    app.wait_until("the deletion is forgotten", async |app| app.get("/lattice/changes?since=1").await.status() == 410)
        .await;
    let behind = Raw::new("GET", "/lattice/changes?since=1");
    seen.extend(run(&app, &[row("a position before what is forgotten", behind, 410, "position_lost")]).await);

    let strict = spawn_with(|settings| settings.trust.require_verified = true).await;
    for number in [1, 2] {
        let asks = signed_lines("/lattice/changes", "", &key(number), &RIGHT);
        seen.extend(run(&strict, &[row("changes of a key that is not verified", asks, 403, "not_trusted")]).await);
    }
    let which = as_operator("POST", "/api/federation/pending/ark-known/accept");
    seen.extend(run(&strict, &[row("one of two keys", which, 409, "several_keys")]).await);

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let mut invites: Vec<Value> = (0..101)
        .map(|number| {
            let id = format!("{number:016x}");
            let (made, ends) = (NOW * 1_000_000, (NOW + 9999) * 1_000_000);
            json!({"id": id, "key": "0".repeat(64), "created_at": made, "expires_at": ends, "addresses": []})
        })
        .collect();
    invites[0]["used"] = json!({"peer": "a", "public_key": key(1).public_key().to_base64(), "at": NOW * 1_000_000});
    std::fs::write(folder.path().join("state/invites.json"), Value::from(invites).to_string()).unwrap();
    let inviting = spawn_in(folder, |_| {}).await;
    let used = as_operator("DELETE", "/api/federation/invites/0000000000000000");
    let more = as_operator("POST", "/api/federation/invites");
    let rows =
        [row("a used invite", used, 409, "invite_used"), row("an invite too many", more, 409, "too_many_invites")];
    seen.extend(run(&inviting, &rows).await);

    let all = Code::ALL.iter().filter(|code| code.status().is_client_error()).map(|code| code.text().to_owned());
    assert_eq!(seen, all.collect::<BTreeSet<_>>());
}

/// The address of a web server that is no instance.
fn web_server() -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            let body = "<html>Sign in to the Wi-Fi</html>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: ";
            write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    url
}
