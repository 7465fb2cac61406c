//! The local admin token: which requests need it, where it is, and how long it counts.

use crate::{
    app::{TestApp, problem, spawn_app, spawn_in, spawn_with},
    raw_http::Raw,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// Method and path of every administrative route, from the service's own document.
async fn administrative(app: &TestApp) -> Vec<(Method, String)> {
    let document = app.get_json("/openapi.json").await;
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["summary"].as_str().is_some_and(|summary| summary.ends_with("(operator)")) {
                let path = path.replace("{number}", "7").replace(['{', '}'], "");
                routes.push((method.to_uppercase().parse().unwrap(), path));
            }
        }
    }
    assert!(routes.len() > 25, "{routes:?}");
    routes
}

fn without_admin_token(settings: &mut ark_lattice::settings::Settings) {
    settings.admin.token = None;
}

#[tokio::test]
async fn every_administrative_route_needs_a_token_also_from_loopback() {
    let app = spawn_with(without_admin_token).await;
    let token = app.local_token();
    let refused = (401, "operator_token_required".to_owned());
    for (method, path) in administrative(&app).await {
        let ask = || app.request(method.clone(), &path).json(&json!({"unknown-member": true}));
        assert_eq!(problem(ask().send().await.unwrap()).await, refused, "{method} {path}");
        assert_eq!(problem(ask().bearer_auth("another-token").send().await.unwrap()).await, refused, "{method} {path}");
        for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1"), ("host", "localhost")] {
            let answer = ask().header(name, value).send().await.unwrap();
            assert_eq!(problem(answer).await, refused, "{method} {path} {name}");
        }
        let answer = ask().bearer_auth(&token).send().await.unwrap();
        assert!(!matches!(answer.status().as_u16(), 401 | 403), "{method} {path}: {}", answer.status());
    }
    app.stop().await;
}

#[tokio::test]
async fn publishing_and_reading_need_no_token() {
    let app = spawn_with(without_admin_token).await;
    for path in ["/", "/health", "/nodes", "/discover", "/conflicts", "/federation/info", "/metrics"] {
        assert_eq!(app.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(app.post("/sync", "{\"nodes\":[]}").await.status(), 200);
    let envelope = crate::app::signed(&crate::app::key(1), &crate::app::manifest("script"));
    assert_eq!(app.post("/manifest", envelope).await.status(), 200);
    app.stop().await;
}

#[tokio::test]
async fn refusal_has_the_complete_header_and_no_path_of_the_machine() {
    let app = spawn_with(without_admin_token).await;
    let answer: Value = app.get("/api/federation/status").await.json().await.unwrap();
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.contains("-H \"Authorization: Bearer $(cat $ARK_STATE_PATH/local.token)\""), "{detail}");
    assert!(!detail.contains(app.lattice.parent().unwrap().to_str().unwrap()), "{detail}");
    app.stop().await;
    let app = spawn_app().await;
    let answer: Value = app.get("/api/federation/status").await.json().await.unwrap();
    assert!(answer["detail"].as_str().unwrap().contains("-H \"Authorization: Bearer $ARK_ADMIN_TOKEN\""), "{answer}");
    assert_eq!(
        app.get("/api/federation/status").await.headers()["www-authenticate"],
        "Bearer realm=\"ark-lattice operator\""
    );
    let local = app.request(Method::GET, "/api/federation/status").bearer_auth(app.local_token()).send().await.unwrap();
    assert_eq!(local.status(), 200, "beside an admin token as well");
    app.stop().await;
}

#[tokio::test]
async fn token_is_private_new_at_each_start_and_ends_with_the_service() {
    let app = spawn_with(without_admin_token).await;
    let (first, state) = (app.local_token(), app.lattice.parent().unwrap().join("state"));
    for name in ["local.token", "service.url"] {
        assert_eq!(std::fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::read_to_string(state.join("service.url")).unwrap(), format!("{}\n", app.url));
    let folder = app.stop().await;
    assert!(!state.join("local.token").exists() && !state.join("service.url").exists());
    let app = spawn_in(folder, without_admin_token).await;
    assert_ne!(app.local_token(), first);
    let stale = app.request(Method::GET, "/api/federation/status").bearer_auth(first).send().await.unwrap();
    assert_eq!(problem(stale).await, (401, "operator_token_required".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn trust_loopback_lets_direct_requests_write_nodes_and_not_beside_an_admin_token() {
    let app = spawn_with(|settings| {
        settings.admin.token = None;
        settings.server.trust_loopback = true;
    })
    .await;
    let put = |host: &str| Raw::new("PUT", "/nodes/n").header("host", host).json("{\"id\":\"n\"}");
    assert_eq!(put("localhost").send(app.port).await.status, 201);
    let answer = put("attacker.example").send(app.port).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "not_local"));
    app.stop().await;
    let app = spawn_with(|settings| settings.server.trust_loopback = true).await;
    let answer = put("localhost").send(app.port).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "operator_token_required"));
    app.stop().await;
}
