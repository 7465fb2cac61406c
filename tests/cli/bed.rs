//! A folder with an empty lattice in it, and ways to run the binary there.

use assert_cmd::Command;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_ark-lattice");

/// What a command did.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Asserts success; what was printed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    pub fn ok_json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Asserts a failure as users may expect it: this exit code, one line that says what is wrong, no panic.
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.len() > 20, "{self:?}");
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains('\u{1b}'), "{self:?}");
        self.stderr
    }
}

pub struct Bed {
    folder: TempDir,
    variables: Vec<(String, String)>,
    /// The trust mode of its services; `None`: the default one.
    trust_mode: Option<&'static str>,
}

impl Bed {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lattice_data")).unwrap();
        let variables = vec![("ARK_NODE_ID".to_owned(), "ark-bed".to_owned())];
        // Most tests are about other things than who may write.
        Self { folder, variables, trust_mode: Some("tofu") }
    }

    /// Leaves the trust mode of its services at the default.
    pub fn with_default_trust(self) -> Self {
        Self { trust_mode: None, ..self }
    }

    /// Sets a variable for every later command.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Unsets a variable for every later command.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below the folder; its path as an argument.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], stdin: &str) -> Run {
        let mut command = Command::new(BINARY);
        command.args(args).current_dir(self.folder.path()).env_clear().envs(self.variables.iter().cloned());
        let output = command.write_stdin(stdin).timeout(Duration::from_secs(60)).output().unwrap();
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Waits for what other programs do.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(30), "not in time: {what}");
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Starts a service on a free port and waits until its index is built.
    pub fn serve(&self) -> Service {
        self.serve_on(0)
    }

    /// As [`Self::serve`], on this port.
    pub fn serve_on(&self, port: u16) -> Service {
        let mut process = std::process::Command::new(BINARY)
            .args(["serve", "--port", &port.to_string(), "--json"])
            .current_dir(self.folder.path())
            .env_clear()
            .env("ARK__LOG__LEVEL", "warn")
            .envs(self.trust_mode.map(|mode| ("ARK_TRUST_MODE", mode)))
            .envs(self.variables.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let service = Service {
            process,
            url: started["url"].as_str().unwrap().to_owned(),
            port: u16::try_from(started["port"].as_u64().unwrap()).unwrap(),
        };
        if service.url.starts_with("http://") {
            service.wait_until_ready();
        }
        service
    }
}

pub struct Service {
    process: Child,
    pub url: String,
    pub port: u16,
}

impl Service {
    fn wait_until_ready(&self) {
        let started = Instant::now();
        while !get(self.port, "/ready").starts_with("HTTP/1.1 200") {
            assert!(started.elapsed() < Duration::from_secs(20), "the service did not become ready");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Closes the reading end of its standard error, as a log collector that dies does.
    pub fn lose_log(&mut self) {
        drop(self.process.stderr.take());
    }

    /// The next line on its standard error; waits until there is one.
    pub fn log_line(&mut self) -> String {
        let log = self.process.stderr.as_mut().unwrap();
        let mut line = String::new();
        // A buffer of one byte: what follows the line is for whoever reads next.
        BufReader::with_capacity(1, log).read_line(&mut line).unwrap();
        line
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Sends SIGTERM and waits, `bound` at most; exit status and what stood on standard error.
    pub fn terminate(mut self, bound: Duration) -> (ExitStatus, String) {
        let sent = Instant::now();
        self.signal("TERM");
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                let mut stderr = String::new();
                if let Some(mut pipe) = self.process.stderr.take() {
                    pipe.read_to_string(&mut stderr).unwrap();
                }
                return (status, stderr);
            }
            assert!(sent.elapsed() < bound, "the service did not stop within {bound:?}");
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The whole answer to a GET.
pub fn get(port: u16, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A server that gives these answers, one a connection, and then none. Its address.
pub fn canned(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

fn read_request(stream: &mut std::net::TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
}

/// An HTTP answer.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}
