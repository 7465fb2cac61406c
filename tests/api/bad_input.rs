//! Bad input: each row of the tables gets its status and its code, as a problem in every part, and leaves nothing behind.

mod codes;
mod conflicts;
mod envelopes;
mod federation;
pub mod feeds;
mod gate;
mod heads;
mod keys;
mod limits;
mod manifests;
mod nodes;
mod queries;
mod raw;
mod syncs;
mod trust;

use crate::{
    app::{NOW, TOKEN, TestApp, key, manifest, signed, spawn_with},
    raw_http::Raw,
};
use ark_lattice::{
    api::{PEER_ROUTES, ROUTES, codes::Code},
    settings::Settings,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

/// No answer takes longer, whatever the client holds back; far below the time that a body may take.
const LONGEST: Duration = Duration::from_secs(8);

const MANIFEST_BYTES: usize = 32 << 10;
const SYNC_BYTES: usize = 16 << 10;
const NODE_BYTES: usize = 8 << 10;
const MANIFEST_NODES: usize = 20;
const FIELD_BYTES: usize = 2 << 10;
const PAGE_ITEMS: usize = 1000;

/// A request, and the problem that has to answer it.
pub struct Row {
    name: String,
    request: Raw,
    status: u16,
    code: &'static str,
}

pub fn row(name: impl Into<String>, request: Raw, status: u16, code: &'static str) -> Row {
    Row { name: name.into(), request, status, code }
}

pub fn post_manifest(body: impl AsRef<[u8]>) -> Raw {
    Raw::new("POST", "/manifest").json(body)
}

pub fn post_sync(body: impl AsRef<[u8]>) -> Raw {
    Raw::new("POST", "/sync").json(body)
}

pub fn as_operator(method: &str, path: &str) -> Raw {
    Raw::new(method, path).header("authorization", format!("Bearer {TOKEN}"))
}

pub fn put_node(id: &str, body: impl AsRef<[u8]>) -> Raw {
    as_operator("PUT", &format!("/nodes/{id}")).json(body)
}

fn small_limits(settings: &mut Settings) {
    settings.limits.manifest_bytes = MANIFEST_BYTES;
    settings.limits.sync_bytes = SYNC_BYTES;
    settings.limits.node_bytes = NODE_BYTES;
    settings.limits.manifest_nodes = MANIFEST_NODES;
    settings.limits.manifest_field_bytes = FIELD_BYTES;
    settings.limits.page_items = PAGE_ITEMS;
}

/// An application with small limits that knows one peer, `ark-known` (seq 5), and one node, `known`.
async fn prepared() -> TestApp {
    let app = spawn_with(small_limits).await;
    for (name, signer) in [("ark-known", 1), ("ark-double", 10)] {
        let mut known = manifest(name);
        known["seq"] = json!(5);
        assert_eq!(app.post("/manifest", signed(&key(signer), &known)).await.status(), 200);
    }
    assert_eq!(app.put("known", &json!({"id": "known", "updated_at": NOW})).await.status(), 201);
    app
}

fn all_rows() -> Vec<Row> {
    [
        gate::rows(),
        envelopes::rows(),
        manifests::rows(),
        syncs::rows(),
        nodes::rows(),
        conflicts::rows(),
        queries::rows(),
        heads::rows(),
        feeds::rows(),
        keys::rows(),
        federation::rows(),
        trust::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn fits(template: &str, path: &str) -> bool {
    match template.split_once('{') {
        Some((fixed, _)) => path.starts_with(fixed),
        None => path == template,
    }
}

/// Whether the table of routes, and so the OpenAPI document, tells of this answer.
fn is_documented(method: &str, path: &str, code: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let method = if method == "HEAD" { "GET" } else { method };
    if code == Code::NotFound.text() || code == Code::MethodNotAllowed.text() {
        return true;
    }
    let routes = ROUTES.iter().chain(PEER_ROUTES);
    routes.filter(|route| route.method == method && fits(route.path, path)).any(|route| {
        let mut codes = route.problems.iter().flat_map(|group| group.iter());
        codes.any(|known| known.text() == code)
    })
}

/// Names and contents of the files of a directory, `manifest.json` apart (it holds the time at which it was written).
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "manifest.json")
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// What must be the same before and after.
async fn state(app: &TestApp) -> (Value, Value, Value, Vec<(String, Vec<u8>)>) {
    let health = app.get_json("/health").await;
    let seq = json!([health["lattice"]["seq"], health["lattice"]["tombstones"], health["status"]]);
    (app.get_json("/discover").await, app.get_json("/nodes").await, seq, listing(&app.lattice))
}

/// What is wrong with the answer to a row, and its code.
async fn check(port: u16, row: &Row) -> (Vec<String>, Option<String>) {
    let Raw { method, path, .. } = &row.request;
    let started = Instant::now();
    let answer = row.request.send(port).await;
    if method == "HEAD" {
        let problem = format!("{}: {} instead of {}", row.name, answer.status, row.status);
        return (if answer.status == row.status { vec![] } else { vec![problem] }, None);
    }
    if !(400..500).contains(&answer.status) {
        return (vec![format!("{}: {} {}", row.name, answer.status, answer.text())], None);
    }
    let code = answer.code();
    let mut wrong = Vec::new();
    if (answer.status, code.as_str()) != (row.status, row.code) {
        wrong.push(format!("{}: {}, not {} {}", row.name, answer.text(), row.status, row.code));
    }
    if !is_documented(method, path, &code) {
        wrong.push(format!("{}: {method} {path} does not tell of {code}", row.name));
    }
    if started.elapsed() > LONGEST {
        wrong.push(format!("{}: answered after {:?}", row.name, started.elapsed()));
    }
    (wrong, Some(code))
}

/// Sends every row, some at a time; gives the codes that came.
async fn run(app: &TestApp, rows: &[Row]) -> BTreeSet<String> {
    let answers: Vec<_> = stream::iter(rows).map(|row| check(app.port, row)).buffer_unordered(8).collect().await;
    let wrong: Vec<&str> = answers.iter().flat_map(|(wrong, _)| wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    answers.into_iter().filter_map(|(_, code)| code).collect()
}

#[tokio::test]
async fn every_bad_input_gets_its_problem_and_leaves_nothing_behind() {
    let rows = all_rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two rows share a name");
    assert!(rows.len() >= 140, "{} rows", rows.len());
    let app = prepared().await;
    let before = state(&app).await;
    run(&app, &rows).await;
    assert_eq!(state(&app).await, before);
    assert_eq!(app.post("/manifest", signed(&key(2), &manifest("ark-new"))).await.status(), 200);
    assert_eq!(app.put("new", &json!({"id": "new"})).await.status(), 201);
    assert_eq!(app.get_json("/discover").await["total"], 3);
    assert_eq!(app.get_json("/ready").await["status"], "ready");
}
