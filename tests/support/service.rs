//! The real service for a test: the binary, in a process of its own, on a free port of the loopback address.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ark-lattice");
/// The operator's token of every service.
pub(crate) const TOKEN: &str = "the-operators-token-of-the-tests";
/// Every key that registers may write.
const TOFU: (&str, &str) = ("ARK_TRUST_MODE", "tofu");
/// How long a service may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A folder with a lattice and a state directory, in which services run: one at a time, or one after another.
pub(crate) struct Place {
    root: TempDir,
    variables: Vec<(String, String)>,
    most_open_files: Option<u32>,
    runner: Vec<String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lattice")).unwrap();
        let variables = [
            ("ARK_NODE_ID", "ark-under-test"),
            ("ARK_ADMIN_TOKEN", TOKEN),
            ("ARK__LOG__LEVEL", "warn"),
            // Most tests are about other things than who may write.
            TOFU,
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { root, variables, most_open_files: None, runner: Vec::new() }
    }

    /// Sets a variable for every later command.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves `trust.mode` at its default.
    pub(crate) fn with_default_trust(mut self) -> Self {
        self.variables.retain(|(name, _)| name != TOFU.0);
        self
    }

    /// Lets every later service have this many files and connections open.
    pub(crate) fn with_most_open_files(mut self, most: u32) -> Self {
        self.most_open_files = Some(most);
        self
    }

    /// Lets another program start every later command: its name and arguments, before ours.
    pub(crate) fn run_by(&mut self, runner: &[&str]) {
        self.runner = runner.iter().map(ToString::to_string).collect();
    }

    /// Starts later commands without root's power to ignore permissions, where the tests run as root.
    pub(crate) fn without_power(&mut self) {
        self.runner.extend(["setpriv", "--inh-caps=-all", "--bounding-set=-all"].map(str::to_owned));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn lattice(&self) -> PathBuf {
        self.path("lattice")
    }

    /// Writes a node's file as any program would.
    pub(crate) fn write_node(&self, id: &str, node: &Value) {
        fs::write(self.lattice().join(format!("{id}.json")), node.to_string()).unwrap();
    }

    /// The binary in this folder with this folder's variables and no others.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = match (self.most_open_files, self.runner.split_first()) {
            (None, None) => Command::new(BINARY),
            (None, Some((program, args))) => {
                let mut runner = Command::new(program);
                runner.args(args).arg(BINARY);
                runner
            }
            (Some(most), _) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("ulimit -n {most}; exec \"$0\" \"$@\"")).arg(BINARY);
                shell
            }
        };
        command.args(args).current_dir(self.root.path()).env_clear().envs(self.variables.iter().cloned());
        command.env("LATTICE_PATH", self.lattice()).env("ARK_STATE_PATH", self.path("state"));
        command
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn spawn(&self) -> Process {
        self.spawn_on(0)
    }

    fn spawn_on(&self, port: u16) -> Process {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.spawn_with(port, log.into())
    }

    fn spawn_with(&self, port: u16, log: Stdio) -> Process {
        let mut command = self.command(&["serve", "--port", &port.to_string(), "--json"]);
        Process(Some(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap()))
    }

    /// Starts a service and waits until it says where it listens.
    pub(crate) fn launch(&self) -> Service {
        self.launch_on(0)
    }

    fn launch_on(&self, port: u16) -> Service {
        self.started(self.spawn_on(port))
    }

    /// As [`Place::launch`], with another standard error than this folder's log.
    pub(crate) fn launch_saying(&self, log: impl Into<Stdio>) -> Service {
        self.started(self.spawn_with(0, log.into()))
    }

    fn started(&self, mut process: Process) -> Service {
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(started) = serde_json::from_str::<Value>(&line) else {
            panic!("the service does not start: {}", fs::read_to_string(self.path("log")).unwrap());
        };
        Service {
            process,
            url: started["url"].as_str().unwrap().to_owned(),
            port: u16::try_from(started["port"].as_u64().unwrap()).unwrap(),
            client: Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap(),
        }
    }

    /// Starts a service and waits until its index is built.
    pub(crate) async fn serve(&self) -> Service {
        let service = self.launch();
        service.until_loaded().await;
        service
    }

    /// As [`Place::serve`], on a port that an earlier service had.
    pub(crate) async fn serve_on(&self, port: u16) -> Service {
        let service = self.launch_on(port);
        service.until_loaded().await;
        service
    }

    /// What the services of this folder said on standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

/// A process that does not outlive its owner.
pub(crate) struct Process(Option<Child>);

impl Process {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child().try_wait().unwrap().is_none()
    }

    /// SIGKILL, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _already_gone = child.kill();
            let _reaped = child.wait();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.unwrap().success(), "kill -{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running service.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) port: u16,
    pub(crate) client: Client,
}

impl Service {
    pub(crate) async fn until_loaded(&self) {
        let what = "the index is built";
        until(what, START, async || self.get_json("/health").await["lattice"]["status"] != "loading").await;
    }

    /// A request to `path`, not sent yet.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        json_of(self.get(path).await).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Value {
        json_of(self.post(path, body.to_string()).await).await
    }

    /// Writes a node as the operator. Ids here need no percent-encoding.
    pub(crate) async fn put(&self, id: &str, node: &Value) -> Response {
        self.request(Method::PUT, &format!("/nodes/{id}")).bearer_auth(TOKEN).json(node).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, id: &str) -> Response {
        self.request(Method::DELETE, &format!("/nodes/{id}")).bearer_auth(TOKEN).send().await.unwrap()
    }

    /// Every node's id and hash, in order of id.
    pub(crate) async fn nodes(&self) -> Vec<(String, String)> {
        let mut nodes = Vec::new();
        let mut path = "/nodes?limit=1000".to_owned();
        loop {
            let page = self.get_json(&path).await;
            let listed = page["nodes"].as_array().unwrap();
            nodes.extend(listed.iter().map(|node| (text(&node["id"]), text(&node["hash"]))));
            match page["cursor"].as_str() {
                Some(cursor) => path = format!("/nodes?limit=1000&cursor={cursor}"),
                None => return nodes,
            }
        }
    }

    /// The set hash of what it holds.
    pub(crate) async fn set_hash(&self) -> String {
        text(&self.post_json("/sync", &serde_json::json!({"nodes": [], "limit": 1})).await["manifest_hash"])
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM and waits until it has ended.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.process.signal("TERM");
        let child = self.process.child();
        let mut ended = None;
        until("the service ends", START, async || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// The body of a 200.
pub(crate) async fn json_of(response: Response) -> Value {
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{url}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Status and code of a problem.
pub(crate) async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let problem: Option<Value> = serde_json::from_str(&body).ok();
    let code = problem.as_ref().and_then(|problem| problem["code"].as_str());
    (status, code.unwrap_or_else(|| panic!("{status} without a problem: {body}")).to_owned())
}

/// Asks every 10 ms, for `limit` at most; how long it took.
pub(crate) async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

/// Small, seeded, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        // Small seeds must not give small numbers at first.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
