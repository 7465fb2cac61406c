//! Every command of the READMEs, run as it stands there against the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_ark-lattice");

/// The text of every ```bash block, in order. What a reader should not run, or runs in another terminal, stands in ```console.
fn bash_blocks(markdown: &str) -> String {
    let mut script = String::from("set -euo pipefail\n");
    let mut inside = false;
    for line in markdown.lines() {
        match (inside, line.trim_end()) {
            (false, "```bash") => inside = true,
            (true, "```") => inside = false,
            (true, command) => {
                script.push_str(command);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A service on a free port, in a copy of what a clone holds.
struct Service {
    process: Child,
    url: String,
    folder: TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["lattice_data", "clients", "config"] {
            copy_folder(&Path::new(REPOSITORY).join(part), &folder.path().join(part));
        }
        let mut process = Command::new(BINARY)
            .args(["serve", "--port", "0", "--json"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started: serde_json::Value = serde_json::from_str(&line).unwrap();
        let url = started["url"].as_str().unwrap().to_owned();
        Self { process, url, folder }
    }

    /// Runs a README's commands in `place` and gives what they printed.
    fn run(&self, readme: &str, place: &str) -> String {
        let text = fs::read_to_string(Path::new(REPOSITORY).join(readme)).unwrap();
        let script =
            bash_blocks(&text).replace("http://127.0.0.1:9001", &self.url).replace("http://localhost:9001", &self.url);
        // The tour's second service: on a port that is free, and gone however the script ends.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = script.replace("PORT=9002", &format!("PORT={free}"));
        let script = script.replace("http://127.0.0.1:9002", &format!("http://127.0.0.1:{free}"));
        let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{script}");
        assert!(script.lines().count() > 5, "{readme} has no commands to run");
        let python = std::env::var_os("ARK_TEST_PYTHON").map(PathBuf::from);
        let folders = [python.as_deref().and_then(Path::parent), Path::new(BINARY).parent()];
        let old = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(
            folders.into_iter().flatten().map(Path::to_path_buf).chain(std::env::split_paths(&old)),
        );
        let output = Command::new("bash")
            .args(["-x", "-c", &script])
            .current_dir(self.folder.path().join(place))
            .env("PATH", path.unwrap())
            .output()
            .unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{readme} stopped:\n{stderr}\n{stdout}");
        stdout.into_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn the_tour_works_as_it_is_written() {
    let service = Service::start();
    let printed = service.run("README.md", "");
    let in_step = "received, 0 conflicts";
    for expected in
        ["\"status\":\"registered\"", "Grüß Gott", "from-a-script", "If-Match: \"sha256:", in_step, "online"]
    {
        assert!(printed.contains(expected), "{expected} is missing in\n{printed}");
    }
}

#[test]
fn the_python_clients_tour_works_as_it_is_written() {
    let service = Service::start();
    let printed = service.run("clients/python/README.md", "clients/python");
    assert!(printed.contains("ark-laptop"), "{printed}");
}

#[test]
fn the_node_clients_tour_works_as_it_is_written() {
    let service = Service::start();
    let printed = service.run("clients/node/README.md", "clients/node");
    assert!(printed.contains("32 added") && printed.contains("0 added"), "{printed}");
}

#[test]
fn the_shell_clients_tour_works_as_it_is_written() {
    let service = Service::start();
    let printed = service.run("clients/bash/README.md", "clients/bash");
    assert!(printed.contains("ark-shell") && printed.contains("32 added"), "{printed}");
}

#[test]
fn blocks_of_other_kinds_are_not_run() {
    assert_eq!(bash_blocks("```bash\na\n```\n```console\n$ b\n```\n```python\nc\n```"), "set -euo pipefail\na\n");
}
