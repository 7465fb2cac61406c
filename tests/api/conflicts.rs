//! `/conflicts/{number}`: who may settle one, and what is no conflict. What settling does is tried in `tests/lattice/versions.rs`, and
//! between two real instances in `tests/cli/conflicts.rs`.

use crate::app::{TOKEN, problem, spawn_app, spawn_with};
use reqwest::Method;

#[tokio::test]
async fn only_the_operator_settles_a_conflict() {
    let missing = (404, "conflict_not_found".to_owned());
    let app = spawn_app().await;
    assert_eq!(problem(app.get("/conflicts/1").await).await, missing);
    for (method, path) in [(Method::DELETE, "/conflicts/1"), (Method::POST, "/conflicts/1/restore")] {
        let ask = || app.request(method.clone(), path);
        assert_eq!(problem(ask().send().await.unwrap()).await, (401, "operator_token_required".to_owned()));
        assert_eq!(problem(ask().bearer_auth("wrong").send().await.unwrap()).await.0, 401);
        assert_eq!(problem(ask().bearer_auth(TOKEN).send().await.unwrap()).await, missing);
    }
    let app = spawn_with(|settings| {
        settings.admin.token = None;
        settings.server.trust_loopback = true;
    })
    .await;
    let ask = || app.request(Method::POST, "/conflicts/1/restore");
    assert_eq!(problem(ask().send().await.unwrap()).await, missing);
    let forwarded = ask().header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
    assert_eq!(problem(forwarded).await, (403, "not_local".to_owned()));
}

#[tokio::test]
async fn a_mirror_restores_nothing() {
    let app = spawn_with(|settings| settings.federation.read_only = true).await;
    let asked = app.request(Method::POST, "/conflicts/1/restore").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(problem(asked).await, (403, "read_only".to_owned()));
}

#[tokio::test]
async fn a_conflict_is_named_by_its_number() {
    let app = spawn_app().await;
    for wrong in ["0", "-1", "+1", "1.0", "1e0", "x", "%20", "9007199254740992", "99999999999999999999999"] {
        for (method, path) in [
            (Method::GET, format!("/conflicts/{wrong}")),
            (Method::DELETE, format!("/conflicts/{wrong}")),
            (Method::POST, format!("/conflicts/{wrong}/restore")),
        ] {
            let asked = app.request(method.clone(), &path).bearer_auth(TOKEN).send().await.unwrap();
            assert_eq!(problem(asked).await, (400, "invalid_path".to_owned()), "{method} {path}");
        }
    }
    let far = app.get("/conflicts/9007199254740991").await;
    assert_eq!(problem(far).await.1, "conflict_not_found");
}
