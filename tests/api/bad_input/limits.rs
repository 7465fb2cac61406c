//! What is just within the rules is taken: the other side of the tables.

use super::{
    FIELD_BYTES, MANIFEST_BYTES, MANIFEST_NODES, NODE_BYTES, SYNC_BYTES, as_operator, post_manifest, post_sync,
    prepared, put_node,
};
use crate::{
    app::{TOKEN, key, percent_encode, problem, signed, signed_as, spawn_app},
    raw_http::{Body, Connection, Raw},
};
use ark_lattice::{
    api::{PEER_ROUTES, ROUTES},
    manifest::Canonicalization,
};
use serde_json::{Value, json};

fn padded(body: &str, length: usize) -> Vec<u8> {
    format!("{body:<length$}").into_bytes()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn listing(count: usize) -> String {
    let nodes: Vec<String> = (0..count).map(|number| format!("{{\"id\":\"{number}\",\"hash\":\"h\"}}")).collect();
    nodes.join(",")
}

#[tokio::test]
async fn what_is_just_within_the_limits_is_taken() {
    let app = prepared().await;
    let envelope = |manifest: String| signed_as(&key(3), &manifest, Canonicalization::Python);
    let small = envelope("{\"node_id\":\"ark-3\"}".to_owned());
    let accepted = [
        ("sync of the full size", post_sync(padded("{\"nodes\":[]}", SYNC_BYTES))),
        ("a manifest of the full size", post_manifest(padded(&small, MANIFEST_BYTES))),
        ("a node of the full size", put_node("a", padded("{\"id\":\"a\"}", NODE_BYTES))),
        (
            "a node of the full size in chunks",
            as_operator("PUT", "/nodes/a").body(Body::Chunked(padded("{\"id\":\"a\"}", NODE_BYTES))),
        ),
        ("sync of depth 64", post_sync(format!("{{\"nodes\":[],\"x\":{}}}", nested(63)))),
        ("a node of depth 64", put_node("b", format!("{{\"id\":\"b\",\"x\":{}}}", nested(63)))),
        ("a manifest of depth 64", post_manifest(envelope(format!("{{\"node_id\":\"ark-4\",\"x\":{}}}", nested(62))))),
        (
            "as many nodes as may be",
            post_manifest(envelope(format!("{{\"node_id\":\"ark-5\",\"nodes\":[{}]}}", listing(MANIFEST_NODES)))),
        ),
        (
            "fields that are large",
            post_manifest(envelope(format!("{{\"node_id\":\"ark-6\",\"x\":\"{}\"}}", "x".repeat(FIELD_BYTES - 100)))),
        ),
        (
            "an id of 256 characters",
            post_manifest(envelope(format!("{{\"node_id\":\"{}\"}}", "\u{1F600}".repeat(256)))),
        ),
        ("escapes of a pair", put_node("c", r#"{"id":"c","x":"\ud83d\ude00"}"#)),
        ("the largest double", put_node("d", r#"{"id":"d","x":1.7976931348623157e308,"y":-0,"z":1e-400}"#)),
        ("an integer of 400 digits", put_node("e", format!("{{\"id\":\"e\",\"x\":{}}}", "9".repeat(400)))),
        ("a limit with its sign escaped", Raw::new("GET", "/nodes?limit=%31")),
    ];
    for (name, request) in accepted {
        let answer = request.send(app.port).await;
        assert!([200, 201].contains(&answer.status), "{name}: {}", answer.text());
    }
}

#[tokio::test]
async fn media_types_of_json_are_taken() {
    let app = spawn_app().await;
    let bare = Raw::new("POST", "/sync").body(Body::Sized(b"{\"nodes\":[]}".to_vec()));
    let mut requests = vec![bare.clone(), bare.clone().header("content-encoding", "identity")];
    for media_type in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json; version=1",
        "application/vnd.ark-lattice+json",
    ] {
        requests.push(bare.clone().header("content-type", media_type));
    }
    for request in requests {
        let answer = request.send(app.port).await;
        assert_eq!(answer.status, 200, "{:?}: {}", request.headers, answer.text());
    }
}

#[tokio::test]
async fn a_manifest_lists_100_000_nodes_and_not_one_more() {
    let app = spawn_app().await;
    let with = |count: usize| format!("{{\"node_id\":\"ark-1\",\"nodes\":[{}]}}", listing(count));
    for form in [Canonicalization::Python, Canonicalization::Jcs, Canonicalization::Dsse] {
        let response = app.post("/manifest", signed_as(&key(1), &with(100_001), form)).await;
        assert_eq!(problem(response).await, (413, "manifest_too_large".to_owned()), "{form:?}");
        assert_eq!(app.post("/manifest", signed_as(&key(1), &with(100_000), form)).await.status(), 200, "{form:?}");
    }
}

#[tokio::test]
async fn head_says_what_get_would_and_no_more() {
    let app = prepared().await;
    // A stream of notices has no end that GET could be read to.
    let ends = |path: &str| path != "/lattice/notify";
    let routes = ROUTES.iter().chain(PEER_ROUTES);
    let paths = routes.filter(|route| route.method == "GET" && ends(route.path)).map(|route| {
        let id = if route.path.starts_with("/nodes/") { "known" } else { "ark-known" };
        route.path.replace("{node_id}", id).replace("{id}", id)
    });
    let others = ["/docs", "/docs/", "/docs/swagger-ui.css", "/discover?limit=1", "/nodes?limit=1"].map(str::to_owned);
    for path in paths.chain(others) {
        let mut connection = Connection::open(app.port).await;
        let mut answers = Vec::new();
        for method in ["HEAD", "GET", "HEAD"] {
            connection.write(&Raw::new(method, &path).to_bytes()).await;
            answers.push(connection.answer(method == "HEAD").await);
        }
        for answer in [&answers[0], &answers[2]] {
            assert_eq!(answer.status, answers[1].status, "{path}");
            for name in ["content-type", "etag", "cache-control", "location"] {
                assert_eq!(answer.header(name), answers[1].header(name), "{path}: {name}");
            }
            // The metrics have changed meanwhile.
            if path != "/metrics" {
                assert_eq!(answer.header("content-length"), answers[1].header("content-length"), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn entity_tags_are_compared_as_the_rfc_says() {
    let app = prepared().await;
    for path in ["/nodes/known", "/discover"] {
        let tag = Raw::new("GET", path).send(app.port).await.header("etag").unwrap().to_owned();
        let strong = tag.trim_start_matches("W/").to_owned();
        let cases: [(&[&str], u16); 9] = [
            (&[&tag], 304),
            (&[&strong], 304),
            (&[&format!("W/{strong}")], 304),
            (&[&format!("\"a\", {tag}")], 304),
            (&[&format!("\"a,b\",, W/{strong} ,")], 304),
            (&["\"a\"", &tag], 304),
            (&["*"], 304),
            (&["\"a\", \"b\""], 200),
            (&["\"\""], 200),
        ];
        for (values, status) in cases {
            let request =
                values.iter().fold(Raw::new("GET", path), |request, value| request.header("if-none-match", value));
            let answer = request.send(app.port).await;
            assert_eq!(answer.status, status, "{path}: {values:?}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            assert_eq!(answer.body.is_empty(), status == 304);
        }
    }
    let tag = Raw::new("GET", "/nodes/known").send(app.port).await.header("etag").unwrap().to_owned();
    let write = put_node("known", "{\"id\":\"known\",\"x\":1}").header("if-match", format!("\"a,b\", W/{tag}"));
    assert_eq!(write.send(app.port).await.status, 200);
}

#[tokio::test]
async fn ids_are_decoded_once_and_matched_whole() {
    let app = spawn_app().await;
    for id in ["nodes", "nodes/known", "/nodes/", "a%2Fb", "..", "a;b=c", "a b+c", "e\u{301}", "\u{e9}"] {
        let answer = put_node(&percent_encode(id), json!({ "id": id }).to_string()).send(app.port).await;
        assert_eq!(answer.status, 201, "{id}: {}", answer.text());
    }
    for (path, id) in [
        ("/nodes/nodes", "nodes"),
        ("/nodes/nodes/known", "nodes/known"),
        ("/%6Eodes/nodes/known", "nodes/known"),
        ("/nodes//nodes/", "/nodes/"),
        ("/nodes/a%252Fb", "a%2Fb"),
        ("/nodes/..", ".."),
        ("/nodes/%2e%2E", ".."),
        ("/nodes/a;b=c?x=y", "a;b=c"),
        ("/nodes/a%20b+c", "a b+c"),
        ("/nodes/%C3%A9", "\u{e9}"),
    ] {
        let answer = Raw::new("GET", path).send(app.port).await;
        let node: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(node["id"], id, "{path}");
    }
}

#[tokio::test]
async fn a_deletion_may_bring_a_body_along() {
    let app = spawn_app().await;
    for (number, body) in [Body::Sized(b"{".to_vec()), Body::Chunked(b"{".to_vec()), Body::Sized(vec![b'x'; 2 << 20])]
        .into_iter()
        .enumerate()
    {
        let id = format!("n-{number}");
        app.put(&id, &json!({ "id": id })).await;
        let request = as_operator("DELETE", &format!("/nodes/{id}")).header("content-type", "text/plain").body(body);
        assert_eq!(request.send(app.port).await.status, 200, "{id}");
    }
    assert_eq!(app.get_json("/nodes").await["total"], 0);
    let scheme = Raw::new("DELETE", "/nodes/none").header("authorization", format!("bearer   {TOKEN} "));
    assert_eq!(scheme.send(app.port).await.status, 404);
}

#[tokio::test]
async fn a_detail_repeats_only_so_much_of_the_request() {
    let app = spawn_app().await;
    let request = Raw::new("GET", &format!("/{}", "x".repeat(60_000)));
    assert!(request.send(app.port).await.body.len() < 2_000);
    let media_type = Raw::new("POST", "/sync").header("content-type", "y".repeat(60_000)).body(Body::Sized(vec![b'{']));
    assert!(media_type.send(app.port).await.body.len() < 2_000);
    let again = signed(&key(1), &json!({"node_id": "ark-1"}));
    assert_eq!(app.post("/manifest", again).await.status(), 200);
}
