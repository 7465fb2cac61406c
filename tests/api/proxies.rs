//! Behind proxies: who is believed, and where links lead.

use crate::{
    app::{TOKEN, percent_encode, problem, spawn_with},
    raw_http::Connection,
};
use ark_lattice::settings::Span;
use reqwest::{Method, StatusCode};
use serde_json::Value;

#[tokio::test]
async fn browsers_are_told_to_stay_on_https_by_whoever_they_came_over_it_to() {
    let app = spawn_with(|settings| settings.server.trusted_proxies = vec!["127.0.0.1".to_owned()]).await;
    let told = async |path: &str, scheme: &str, host: &str| {
        let request = app.request(Method::GET, path).header("x-forwarded-proto", scheme);
        let answer =
            request.header("x-forwarded-host", host).header("x-forwarded-for", "198.51.100.1").send().await.unwrap();
        answer.headers().get("strict-transport-security").map(|value| value.to_str().unwrap().to_owned())
    };
    for path in ["/docs/", "/nodes", "/nowhere"] {
        assert_eq!(told(path, "https", "ark.example").await.as_deref(), Some("max-age=2592000"), "{path}");
        assert_eq!(told(path, "http", "ark.example").await, None, "{path}");
        assert_eq!(told(path, "https", "localhost:9001").await, None, "{path}");
    }
    let off = spawn_with(|settings| {
        settings.server.trusted_proxies = vec!["127.0.0.1".to_owned()];
        settings.server.hsts_max_age = Span::seconds(0);
    });
    let asked = off.await;
    let answer = asked.request(Method::GET, "/docs/").header("x-forwarded-proto", "https").send().await.unwrap();
    assert!(!answer.headers().contains_key("strict-transport-security"));
}

#[tokio::test]
async fn nothing_loads_or_frames_anything_but_the_page_that_is_meant_to() {
    let app = spawn_with(|_| {}).await;
    for path in ["/", "/nodes", "/nowhere", "/openapi.json", "/lattice/head"] {
        let policy = app.get(path).await.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'", "{path}");
    }
    let docs = app.get("/docs/").await;
    let policy = docs.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe-eval"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn under_a_prefix_every_route_is_there_and_nowhere_else() {
    let app = spawn_with(|settings| settings.server.base_path = "/tools/ark".to_owned()).await;
    for path in ["/tools/ark", "/tools/ark/", "/tools/ark?"] {
        let index = app.get_json(path).await;
        assert_eq!(index["docs"], "/tools/ark/docs/", "{path}");
        for route in index["routes"].as_array().unwrap() {
            assert!(route["path"].as_str().unwrap().starts_with("/tools/ark/"), "{route}");
        }
    }
    for path in ["/tools/ark/nodes?limit=1", "/tools/ark/health", "/tools/ark/openapi.json", "/health", "/ready"] {
        assert_eq!(app.get(path).await.status(), StatusCode::OK, "{path}");
    }
    // What the index says works when it is asked for.
    let index = app.get_json("/tools/ark/").await;
    for route in index["routes"].as_array().unwrap().iter().filter(|route| route["method"] == "GET") {
        let path = route["path"].as_str().unwrap();
        if !path.contains('{') {
            let asked = app.request(Method::GET, path).bearer_auth(TOKEN).send().await.unwrap();
            assert_eq!(asked.status(), StatusCode::OK, "{path}");
        }
    }
    for path in ["/", "/nodes", "/docs/", "/openapi.json", "/tools", "/tools/arkx", "/tools/ark/nowhere", "/health/"] {
        let response = app.get(path).await;
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(problem(response).await, (404, "not_found".to_owned()), "{path}");
    }
    // A proxy may ask in absolute form (RFC 9112 section 3.2.2).
    for (target, status) in [
        ("http://ark.example/tools/ark/nodes?limit=1", 200),
        ("http://ark.example/tools/ark", 200),
        ("http://ark.example/nodes", 404),
        ("http://ark.example", 404),
    ] {
        let mut connection = Connection::open(app.port).await;
        connection.write(format!("GET {target} HTTP/1.1\r\nHost: ark.example\r\n\r\n").as_bytes()).await;
        assert_eq!(connection.answer(false).await.status, status, "{target}");
    }
    // Whatever has to be escaped in a path is the same behind the prefix.
    let node = serde_json::json!({"id": "a/b:ü %2F"});
    let path = format!("/tools/ark/nodes/{}", percent_encode("a/b:ü %2F"));
    let written = app.request(Method::PUT, &path).bearer_auth(TOKEN).json(&node).send().await.unwrap();
    assert_eq!(written.status(), StatusCode::CREATED);
    assert_eq!(app.get_json(&path).await["id"], node["id"]);
    let detail: Value = app.get("/tools/ark/nowhere").await.json().await.unwrap();
    assert!(detail["detail"].as_str().unwrap().contains("/tools/ark/nowhere"), "{detail}");
    // Metrics name the route, whatever stands before it.
    let metrics = app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("route=\"/nodes\",status=\"200\"}"), "{metrics}");
    assert!(!metrics.contains("tools"), "{metrics}");
}

#[tokio::test]
async fn swagger_ui_finds_its_parts_under_a_prefix() {
    let app = spawn_with(|settings| settings.server.base_path = "/ark".to_owned()).await;
    let base = reqwest::Url::parse(&format!("{}/ark/docs", app.url)).unwrap();
    for (page, parts) in [("docs", "docs/"), ("docs/", "")] {
        let at = base.join(&format!("/ark/{page}")).unwrap();
        let html = app.client.get(at.clone()).send().await.unwrap().text().await.unwrap();
        // As a browser resolves them: the base element first, then each link.
        let shown = if html.contains("<base href=\"docs/\">") { at.join(parts).unwrap() } else { at };
        let links: Vec<&str> =
            html.split(['"', '\'']).filter(|text| text.starts_with("./") || text.ends_with(".css")).collect();
        assert!(links.len() > 4, "{html}");
        for link in links {
            let url = shown.join(link).unwrap();
            assert_eq!(app.client.get(url.clone()).send().await.unwrap().status(), 200, "{url}");
        }
        let document = shown.join("../openapi.json").unwrap();
        let served: Value = app.client.get(document.clone()).send().await.unwrap().json().await.unwrap();
        let server = document.join(served["servers"][0]["url"].as_str().unwrap()).unwrap();
        assert_eq!(server.path(), "/ark/");
    }
}

#[tokio::test]
async fn what_a_stripped_prefix_was_only_a_trusted_proxy_may_say() {
    for (trusted, docs) in [(vec!["127.0.0.0/8".to_owned()], "/outer/docs/"), (Vec::new(), "/docs/")] {
        let app = spawn_with(|settings| settings.server.trusted_proxies = trusted.clone()).await;
        let request = app.request(Method::GET, "/").header("x-forwarded-prefix", "/outer");
        let index: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(index["docs"], docs, "{trusted:?}");
    }
}

#[tokio::test]
async fn no_header_of_a_proxy_chain_makes_a_request_fail() {
    let app = spawn_with(|settings| settings.server.trusted_proxies = vec!["127.0.0.1".to_owned()]).await;
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix"] {
        for value in
            ["", ",", "\"", "for=\"", "[", "[::1", "unknown, _x", "a=b=c;;", "//evil", "\u{e9}", "1.2.3.4:99999999"]
        {
            let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let request = app.request(Method::GET, "/health").header(name, value.clone());
            assert_eq!(request.send().await.unwrap().status(), 200, "{name}: {value:?}");
        }
    }
}
