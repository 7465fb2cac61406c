//! `/`, `/health`, `/ready`, `/metrics`, `/docs`, `/openapi.json`, and what no route takes.

use crate::app::{TOKEN, key, manifest, problem, signed, spawn_app, spawn_with};
use ark_lattice::api::{PEER_ROUTES, ROUTES, codes::Code};
use reqwest::{Method, redirect::Policy};
use serde_json::Value;

#[tokio::test]
async fn the_index_lists_every_route() {
    let app = spawn_app().await;
    let index = app.get_json("/").await;
    assert_eq!(index["service"], "ark-lattice");
    assert_eq!(index["node_id"], "ark-under-test");
    assert_eq!(index["routes"].as_array().unwrap().len(), ROUTES.len());
}

#[tokio::test]
async fn health_and_ready_speak_of_every_part() {
    let app = spawn_app().await;
    let health = app.get_json("/health").await;
    assert_eq!((health["status"].as_str(), health["registry"]["kind"].as_str()), (Some("healthy"), Some("embedded")));
    assert_eq!(app.get_json("/ready").await["status"], "ready");
}

#[tokio::test]
async fn metrics_count_requests_manifests_and_nodes() {
    let app = spawn_app().await;
    app.post("/manifest", signed(&key(1), &manifest("ark-1"))).await;
    app.post("/manifest", "{}").await;
    app.put("n", &serde_json::json!({"id": "n"})).await;
    let response = app.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    for line in [
        "ark_manifests_accepted_total{outcome=\"first\"} 1",
        "ark_manifests_refused_total{reason=\"invalid_envelope\"} 1",
        "ark_http_requests_total{method=\"PUT\",route=\"/nodes/{id:.*}\",status=\"201\"} 1",
        "ark_peers_live 1",
        "ark_nodes 1",
        "ark_ready 1",
        "ark_http_request_duration_seconds_bucket{le=\"0.0001\",route=\"/manifest\"}",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn swagger_ui_works_without_the_internet() {
    let app = spawn_app().await;
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let bare = client.get(format!("{}/docs", app.url)).send().await.unwrap();
    assert_eq!(bare.status(), 200);
    let policy_of = |page: &reqwest::Response| {
        let policy = page.headers().get("content-security-policy");
        policy.map(|policy| policy.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let bare_policy = policy_of(&bare);
    assert!(bare.text().await.unwrap().contains("<base href=\"docs/\">"));
    let page = app.get("/docs/").await;
    assert_eq!(page.status(), 200);
    for (which, policy) in [("/docs", bare_policy), ("/docs/", policy_of(&page))] {
        // With these two, a script that gets into the page neither runs nor can tell anybody the operator's token.
        assert!(policy.contains("script-src 'self';") && policy.contains("connect-src 'self';"), "{which}: {policy}");
        assert!(policy.starts_with("default-src 'none';"), "{which}: {policy}");
    }
    let mut whole = page.text().await.unwrap();
    let initializer = app.get("/docs/swagger-initializer.js").await.text().await.unwrap();
    assert!(
        initializer.contains("../openapi.json") && initializer.contains("\"validatorUrl\": \"none\""),
        "{initializer}"
    );
    whole.push_str(&initializer);
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-standalone-preset.js"] {
        assert_eq!(app.get(&format!("/docs/{file}")).await.status(), 200, "{file}");
    }
    assert!(!whole.contains("http://") && !whole.contains("https://"), "{whole}");
}

#[tokio::test]
async fn the_document_describes_every_route_and_every_problem() {
    let app = spawn_app().await;
    let document = app.get_json("/openapi.json").await;
    let mut described = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described += 1;
            let name = format!("{method} {path}");
            let route = ROUTES.iter().find(|route| route.path == path && route.method.eq_ignore_ascii_case(method));
            let route = route.unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(operation["summary"], route.summary, "{name}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {parameter}");
            }
            for code in route.problems.iter().copied().flatten() {
                let response = &operation["responses"][code.status().as_str()];
                let examples = &response["content"]["application/problem+json"]["examples"];
                assert_eq!(examples[code.text()]["value"]["code"], code.text(), "{name}: {code:?}");
            }
        }
    }
    assert_eq!(described, ROUTES.len());
    for code in Code::ALL {
        let told = *code == Code::NotFound
            || ROUTES.iter().chain(PEER_ROUTES).any(|route| route.problems.iter().any(|group| group.contains(code)));
        assert!(told, "no route tells of {code:?}");
    }
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn the_examples_of_the_document_work_when_they_are_sent() {
    let app = spawn_app().await;
    let document = app.get_json("/openapi.json").await;
    let manifest = &document["paths"]["/manifest"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    for (name, example) in manifest.as_object().unwrap() {
        assert_eq!(app.post("/manifest", example["value"].to_string()).await.status(), 200, "{name}");
    }
    let sync = &document["paths"]["/sync"]["post"]["requestBody"]["content"]["application/json"]["example"];
    assert_eq!(app.post("/sync", sync.to_string()).await.status(), 200);
    let put = &document["paths"]["/nodes/{id}"]["put"]["requestBody"]["content"]["application/json"]["example"];
    assert_eq!(app.put(put["id"].as_str().unwrap(), put).await.status(), 201);
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(parameters) = item["get"]["parameters"].as_array() else { continue };
        let query: Vec<String> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query" && !parameter["example"].is_null())
            .map(|parameter| {
                format!(
                    "{}={}",
                    parameter["name"].as_str().unwrap(),
                    parameter["example"].to_string().trim_matches('"')
                )
            })
            .collect();
        if !query.is_empty() {
            let request = app.request(Method::GET, &format!("{path}?{}", query.join("&"))).bearer_auth(TOKEN);
            assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = spawn_app().await;
    assert_eq!(problem(app.get("/nowhere").await).await, (404, "not_found".to_owned()));
    for (method, path, allow) in [
        (Method::GET, "/manifest", "POST"),
        (Method::DELETE, "/discover", "GET, HEAD"),
        (Method::POST, "/nodes/x", "GET, HEAD, PUT, DELETE"),
        (Method::from_bytes(b"BREW").unwrap(), "/sync", "POST"),
    ] {
        let response = app.request(method, path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allow);
        assert_eq!(problem(response).await, (405, "method_not_allowed".to_owned()));
    }
    let head = app.request(Method::HEAD, "/health").send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));
}

#[tokio::test]
async fn a_service_that_listens_only_here_says_its_port() {
    let app = spawn_with(|settings| settings.server.workers = 1).await;
    assert_ne!(app.port, 0);
    let index: Value = app.get_json("/").await;
    assert!(index["pubkey"].is_string(), "it made a key for itself");
}
