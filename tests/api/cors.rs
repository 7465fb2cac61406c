//! Web pages of other origins, as browsers speak for them.

use crate::app::{TOKEN, TestApp, problem, spawn_app, spawn_with};
use reqwest::{Method, Response};

const APP: &str = "https://app.example";

async fn spawn_for(origins: &[&str]) -> TestApp {
    spawn_with(|settings| settings.server.cors_origins = origins.iter().map(|&origin| origin.to_owned()).collect())
        .await
}

async fn preflight(app: &TestApp, origin: &str, method: &str, path: &str) -> Response {
    let request = app.request(Method::OPTIONS, path).header("origin", origin);
    let request = request.header("access-control-request-method", method);
    request.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()
}

async fn get_from(app: &TestApp, origin: &str, path: &str) -> Response {
    app.request(Method::GET, path).header("origin", origin).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn varies_by_origin(response: &Response) -> bool {
    response.headers().get_all("vary").iter().any(|value| value.to_str().unwrap().eq_ignore_ascii_case("origin"))
}

/// Nothing in it that a browser would read as a grant.
fn grants_nothing(response: &Response) -> bool {
    !response.headers().keys().any(|name| name.as_str().starts_with("access-control-"))
}

#[tokio::test]
async fn without_the_setting_no_page_is_granted_anything() {
    let app = spawn_app().await;
    let response = get_from(&app, APP, "/nodes").await;
    assert!(grants_nothing(&response) && !varies_by_origin(&response));
    let response = preflight(&app, APP, "PUT", "/nodes/x").await;
    assert!(grants_nothing(&response) && !varies_by_origin(&response));
    assert_eq!(problem(response).await, (405, "method_not_allowed".to_owned()));
}

#[tokio::test]
async fn a_listed_origin_may_do_what_the_route_does() {
    let app = spawn_for(&[APP, "http://localhost:5173"]).await;
    for origin in [APP, "http://localhost:5173"] {
        for (path, methods) in [
            ("/nodes/x", "GET, HEAD, PUT, DELETE"),
            ("/nodes", "GET, HEAD"),
            ("/manifest", "POST"),
            ("/sync", "POST"),
            ("/", "GET, HEAD"),
        ] {
            let response = preflight(&app, origin, "PUT", path).await;
            assert_eq!(response.status(), 204, "{path}");
            assert_eq!(header(&response, "access-control-allow-origin"), Some(origin));
            assert_eq!(header(&response, "access-control-allow-methods"), Some(methods), "{path}");
            assert_eq!(header(&response, "access-control-max-age"), Some("600"));
            let allowed = header(&response, "access-control-allow-headers").unwrap().to_ascii_lowercase();
            for name in ["authorization", "content-type", "if-match", "if-none-match"] {
                assert!(allowed.split(", ").any(|allowed| allowed == name), "{allowed}");
            }
            assert!(header(&response, "access-control-allow-credentials").is_none());
            assert!(varies_by_origin(&response) && header(&response, "content-type").is_none());
        }
    }
    // What a preflight promised holds.
    let write = app.request(Method::PUT, "/nodes/x").bearer_auth(TOKEN).header("origin", APP);
    let written = write.json(&serde_json::json!({"id": "x"})).send().await.unwrap();
    assert_eq!((written.status().as_u16(), header(&written, "access-control-allow-origin")), (201, Some(APP)));
    let read = header(&written, "access-control-expose-headers").unwrap().to_ascii_lowercase();
    assert!(written.headers().contains_key("etag") && read.split(", ").any(|name| name == "etag"), "{read}");
    // Also of what fails: a page has to be able to say why.
    for (path, status) in [("/nodes/nowhere", 404), ("/nowhere", 404), ("/nodes?limit=x", 400), ("/manifest", 405)] {
        let response = get_from(&app, APP, path).await;
        assert_eq!((response.status().as_u16(), header(&response, "access-control-allow-origin")), (status, Some(APP)));
        problem(response).await;
    }
    assert_eq!(problem(preflight(&app, APP, "GET", "/nowhere").await).await, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn other_origins_are_served_without_a_grant() {
    let app = spawn_for(&[APP]).await;
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil",
        "null",
        "",
    ] {
        let response = get_from(&app, origin, "/nodes").await;
        assert!(response.status() == 200 && grants_nothing(&response) && varies_by_origin(&response), "{origin}");
        let response = preflight(&app, origin, "PUT", "/nodes/x").await;
        assert!(grants_nothing(&response) && varies_by_origin(&response), "{origin}");
        assert_eq!(problem(response).await, (405, "method_not_allowed".to_owned()), "{origin}");
    }
    let plain = app.get("/nodes").await;
    assert!(grants_nothing(&plain) && varies_by_origin(&plain));
    // OPTIONS that is no preflight is what it was.
    let options = app.request(Method::OPTIONS, "/nodes").header("origin", APP).send().await.unwrap();
    assert_eq!(problem(options).await, (405, "method_not_allowed".to_owned()));
}

#[tokio::test]
async fn a_star_lets_every_page_read_and_keeps_no_one_apart() {
    let app = spawn_for(&["*"]).await;
    for response in [get_from(&app, "https://any.example", "/nodes").await, app.get("/nodes").await] {
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
        assert!(!varies_by_origin(&response) && header(&response, "access-control-allow-credentials").is_none());
    }
    let response = preflight(&app, "https://any.example", "DELETE", "/nodes/x").await;
    assert_eq!((response.status().as_u16(), header(&response, "access-control-allow-origin")), (204, Some("*")));
}

#[tokio::test]
async fn a_prefix_and_cors_go_together() {
    let app = spawn_with(|settings| {
        settings.server.base_path = "/ark".to_owned();
        settings.server.cors_origins = vec![APP.to_owned()];
    })
    .await;
    assert_eq!(preflight(&app, APP, "PUT", "/ark/nodes/x").await.status(), 204);
    let outside = preflight(&app, APP, "PUT", "/nodes/x").await;
    assert_eq!(header(&outside, "access-control-allow-origin"), Some(APP));
    assert_eq!(problem(outside).await, (404, "not_found".to_owned()));
}
