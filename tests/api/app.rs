//! One application a test: its own port, lattice, state and clock; stopped and checked when it is dropped.

use ark_lattice::{
    identity::KeyPair,
    manifest::{Canonicalization, sign},
    settings::Settings,
    startup::Application,
    trust::TrustMode,
    types::{Limits, SharedClock, TestClock, Timestamp},
};
use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

/// The operator's token of every test application that has one.
pub const TOKEN: &str = "the-operators-token-of-the-tests";

/// 2026-01-01T00:00:00Z.
pub const NOW: i64 = 1_767_225_600;

pub struct TestApp {
    pub url: String,
    pub port: u16,
    pub client: Client,
    pub clock: Arc<TestClock>,
    pub lattice: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// An application on the embedded registry, with an operator's token and an empty lattice.
pub async fn spawn_app() -> TestApp {
    spawn_with(|_| {}).await
}

/// As [`spawn_app`], with the settings changed by `change`.
pub async fn spawn_with(change: impl FnOnce(&mut Settings)) -> TestApp {
    spawn_in(tempfile::tempdir().unwrap(), change).await
}

/// As [`spawn_with`], in a folder that may hold a lattice already (`lattice/`).
pub async fn spawn_in(folder: TempDir, change: impl FnOnce(&mut Settings)) -> TestApp {
    let lattice = folder.path().join("lattice");
    std::fs::create_dir_all(&lattice).unwrap();
    let mut settings = Settings::default();
    settings.server.port = 0;
    settings.server.workers = 2;
    // Most tests are about other things than who may write; `verified` has its own.
    settings.trust.mode = TrustMode::Tofu;
    settings.instance.node_id = Some("ark-under-test".to_owned());
    settings.lattice.path = lattice.clone();
    settings.state.path = folder.path().join("state");
    settings.admin.token = Some(SecretString::from(TOKEN));
    change(&mut settings);
    let scheme = if settings.server.tls_certificate.is_some() { "https" } else { "http" };
    let clock = TestClock::at(Timestamp::from_seconds(NOW));
    let shared: SharedClock = clock.clone();
    let application = Application::build(&settings, shared).await.unwrap();
    let port = application.port;
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stopped = async move {
            let _the_test_ended = stopped.await;
        };
        application.run_until_stopped(stopped).await.unwrap();
    });
    let app = TestApp {
        url: format!("{scheme}://127.0.0.1:{port}"),
        port,
        client: client_trusting(folder.path()),
        clock,
        lattice,
        stop: Some(stop),
        served: Some(served),
        _folder: folder,
    };
    app.wait_until("the index is built", async |app| {
        let health: Value = app.get("/health").await.json().await.unwrap();
        health["lattice"]["status"] != "loading"
    })
    .await;
    app
}

/// Trusts the authority whose certificate is in the folder, where one is.
fn client_trusting(folder: &Path) -> Client {
    let builder = Client::builder().no_proxy().timeout(Duration::from_secs(30)).tls_info(true);
    match std::fs::read(folder.join("authority.pem")) {
        Ok(pem) => builder.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]).build().unwrap(),
        Err(_) => builder.build().unwrap(),
    }
}

impl TestApp {
    /// A request to `path`, not sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn get_json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    }

    /// Writes a node as the operator.
    pub async fn put(&self, id: &str, node: &Value) -> Response {
        let request = self.request(Method::PUT, &format!("/nodes/{}", percent_encode(id)));
        request.bearer_auth(TOKEN).json(node).send().await.unwrap()
    }

    pub async fn delete(&self, id: &str) -> Response {
        self.request(Method::DELETE, &format!("/nodes/{}", percent_encode(id))).bearer_auth(TOKEN).send().await.unwrap()
    }

    /// The local admin token, as a program of this machine reads it.
    pub fn local_token(&self) -> String {
        std::fs::read_to_string(self._folder.path().join("state/local.token")).unwrap().trim().to_owned()
    }

    /// Asks every 10 ms, for ten seconds at most.
    pub async fn wait_until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        for _ in 0..1000 {
            if holds(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited ten seconds, but not: {what}");
    }

    /// Stops the application and waits until it has flushed.
    pub async fn stop(mut self) -> TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.take().unwrap().await.unwrap();
        std::mem::replace(&mut self._folder, tempfile::tempdir().unwrap())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(served) = &self.served {
            assert!(std::thread::panicking() || !served.is_finished(), "the application ended before its test");
        }
    }
}

pub fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// A problem's status and code; asserts that it is one in every part.
pub async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = response.text().await.unwrap();
    (status, problem_code(status, &media_type, &id, &body))
}

/// The code of a problem that came with these headers; asserts as [`problem`] does.
pub fn problem_code(status: u16, media_type: &str, id: &str, body: &str) -> String {
    assert_eq!(media_type, "application/problem+json", "{body}");
    let problem: Value = serde_json::from_str(body).unwrap();
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], id);
    assert_eq!(problem["type"], format!("urn:ark-lattice:problem:{code}"));
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    code.to_owned()
}

/// A key that is the same for the same number.
pub fn key(number: u8) -> KeyPair {
    let seed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [number; 32]);
    KeyPair::from_base64(&SecretString::from(seed)).unwrap()
}

/// An envelope in the python form.
pub fn signed(key: &KeyPair, manifest: &Value) -> String {
    signed_as(key, &manifest.to_string(), Canonicalization::Python)
}

pub fn signed_as(key: &KeyPair, manifest: &str, form: Canonicalization) -> String {
    let bytes = Bytes::copy_from_slice(manifest.as_bytes());
    sign(bytes, form, &Limits::default(), key.public_key(), |bytes| key.sign(bytes)).unwrap()
}

/// A small manifest of `peer`.
pub fn manifest(peer: &str) -> Value {
    json!({"node_id": peer, "instance_type": "local", "version": "1.0.0", "last_updated": NOW,
        "nodes": [{"id": "a", "type": "t", "hash": "sha256:abc", "updated_at": NOW}]})
}
