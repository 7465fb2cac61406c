//! A real Redis for a test: a process of its own on a free port, gone with its owner; nothing on the disk unless it is asked for.

#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test without its server must fail")]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
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
    /// What it answers is on the disk, and there again after [`RedisServer::restart`].
    durable: bool,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_as(false).await
    }

    /// As [`RedisServer::start`], with `appendonly yes` and a sync for each answer: what was answered outlives a kill.
    pub(crate) async fn start_durable() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(durable: bool) -> Self {
        // Between finding a free port and using it, someone else may take it: then try another.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut server = Self { port, directory, process: None, durable };
            if server.launch().await {
                return server;
            }
        }
        panic!("redis-server does not start");
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

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
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
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
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
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &self.port.to_string()])
            .args(["--appendonly", if self.durable { "yes" } else { "no" }, "--appendfsync", "always"])
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
            if self.inline("PING").await.is_ok_and(|answer| answer.starts_with("+PONG")) {
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
