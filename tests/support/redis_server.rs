//! A real Redis for a test: a process of its own on a free port, gone with its owner; nothing on the disk unless it is asked for.

#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test without its server must fail")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{sleep, timeout},
};

/// How long a server may take to come up on a busy machine.
const START: Duration = Duration::from_secs(10);

/// A running (or, after [`RedisServer::stop`], stopped) redis-server.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: u16,
    directory: tempfile::TempDir,
    process: Option<Child>,
    arguments: Vec<String>,
    /// What it answers is on the disk, and there again after [`RedisServer::restart`].
    durable: bool,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(Self::plain).await
    }

    /// As [`RedisServer::start`], with `appendonly yes` and a sync for each answer: what was answered outlives a kill.
    pub(crate) async fn start_durable() -> Self {
        Self::start_as(true, Self::plain).await
    }

    /// Starts a server with what `arguments` makes of a port and a directory: the port itself, and a file where it needs one.
    pub(crate) async fn start_with(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        Self::start_as(false, arguments).await
    }

    fn plain(port: u16, _: &Path) -> Vec<String> {
        vec!["--port".to_owned(), port.to_string()]
    }

    async fn start_as(durable: bool, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        // Between finding a free port and using it, someone else may take it: then try another.
        for _ in 0..8 {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let arguments = arguments(port, directory.path());
            let mut server = Self { port, directory, process: None, arguments, durable };
            if server.launch().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its own directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What stands behind a name among its arguments.
    pub(crate) fn argument(&self, name: &str) -> &str {
        self.arguments.iter().skip_while(|argument| *argument != name).nth(1).unwrap()
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:port/`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The process' id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// Kills the server (SIGKILL); the port stays its own for [`RedisServer::restart`].
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends the server in order (SIGTERM).
    pub(crate) async fn end(&mut self) {
        self.signal("TERM");
        let deadline = Instant::now() + START;
        while matches!(self.process.as_mut().map(Child::try_wait), Some(Ok(None))) {
            assert!(Instant::now() < deadline, "redis-server does not end");
            sleep(Duration::from_millis(10)).await;
        }
        self.process = None;
    }

    /// Starts the server again on the same port; empty, unless it is durable.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        assert!(self.launch().await, "redis-server does not start again on port {}", self.port);
    }

    /// Freezes the server (SIGSTOP): connections stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen server go on (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends an inline command and returns what comes back within one read. For looking at the server past the adapter.
    pub(crate) async fn inline(&self, command: &str) -> std::io::Result<String> {
        let exchange = async {
            // A socket of its own, which is there also where the port speaks TLS.
            let mut stream = UnixStream::connect(self.directory.path().join("socket")).await?;
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            let mut buffer = vec![0; 64 << 10];
            let read = stream.read(&mut buffer).await?;
            buffer.truncate(read);
            Ok(String::from_utf8_lossy(&buffer).into_owned())
        };
        timeout(Duration::from_secs(1), exchange).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let status = Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{name}");
    }

    async fn launch(&mut self) -> bool {
        let process = Command::new("redis-server")
            .args(&self.arguments)
            .args(["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"])
            .args(["--appendonly", if self.durable { "yes" } else { "no" }, "--appendfsync", "always"])
            .arg("--unixsocket")
            .arg(self.directory.path().join("socket"))
            .arg("--dir")
            .arg(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = match process {
            Ok(process) => Some(process),
            Err(error) => panic!("redis-server cannot be run ({error}); `make test` installs it"),
        };
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if self
                .inline("PING")
                .await
                .is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
            {
                return true;
            }
            if !matches!(self.process.as_mut().map(Child::try_wait), Some(Ok(None))) {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
