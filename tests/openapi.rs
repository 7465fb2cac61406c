//! `/openapi.json` and `/docs/` from the outside: Schemathesis sends what the document allows and forbids, a client that is
//! generated from it calls every operation, and Chromium presses the buttons of Swagger UI.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;

use python::{REPOSITORY, python};
use service::{Place, TOKEN};
use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

fn file(name: &str) -> PathBuf {
    Path::new(REPOSITORY).join("tests/openapi").join(name)
}

/// A program and all that it starts, Chromium's processes for one; none of them outlives this.
struct Group(Child);

impl Group {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Self(command.spawn().unwrap())
    }

    /// What it printed, both streams one after the other; panics with it unless the program succeeds.
    fn succeeds(mut self) -> String {
        let (mut stdout, mut stderr) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        let said = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        let status = self.0.wait().unwrap();
        bytes.extend(said.join().unwrap());
        let printed = String::from_utf8_lossy(&bytes).into_owned();
        assert!(status.success(), "{status}\n{printed}");
        printed
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group has the id of its first process, also when that one is gone.
        let group = format!("-{}", self.0.id());
        let _nobody_is_left = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _reaped = self.0.wait();
    }
}

/// Runs a program to its end, which is success, beside the test's own connections to the service; what it printed.
async fn run(command: Command) -> String {
    let ended = tokio::task::spawn_blocking(move || Group::start(command).succeeds()).await;
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// The repository's samples and the test's own token, in a service that answers as an operator would run it.
async fn sample_service(place: &Place) -> service::Service {
    for entry in std::fs::read_dir(Path::new(REPOSITORY).join("lattice_data")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "manifest.json" {
            std::fs::copy(entry.path(), place.lattice().join(entry.file_name())).unwrap();
        }
    }
    place.serve().await
}

/// Takes nodes that nobody signed, because what calls here cannot sign a request.
fn open_place() -> Place {
    Place::new().set("ARK_TRUST_MODE", "open")
}

/// Schemathesis with every check there is. `ARK_SCHEMATHESIS_EXAMPLES` sets how many cases each phase makes of an operation,
/// `ARK_SCHEMATHESIS_SEED` which (`random` for others each time; the summary tells).
#[tokio::test]
async fn what_the_document_says_is_what_the_service_does() {
    let place = open_place().set("ARK__DISCOVERY__SCAN_SUBNETS", "127.0.0.0/28");
    let service = sample_service(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let examples = std::env::var("ARK_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "40".to_owned());
    let seed = std::env::var("ARK_SCHEMATHESIS_SEED").unwrap_or_else(|_| "1".to_owned());
    let mut command = python();
    command.args(["-m", "schemathesis.cli", "--no-color", "--config-file"]).arg(file("schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", service.url), "--checks", "all"]);
    command.args(["--max-examples", &examples, "--generation-database", "none"]);
    if seed != "random" {
        command.args(["--seed", &seed]);
    }
    command
        .env("PYTHONPATH", file(""))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("OPERATOR_TOKEN", TOKEN)
        .current_dir(folder.path());
    let printed = run(command).await;
    eprintln!("{printed}");
    assert!(printed.contains("No issues found"), "{printed}");
    // Signed manifests came through, or the checks above said little about what is behind a signature.
    let metrics = service.get("/metrics").await.text().await.unwrap();
    let accepted = metrics.lines().filter(|line| line.starts_with("ark_manifests_accepted_total"));
    let accepted: u64 = accepted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(accepted > 10, "only {accepted} manifests were accepted");
    assert_eq!(service.get_json("/health").await["status"], "healthy");
}

#[tokio::test]
async fn a_client_generated_from_the_document_calls_every_operation() {
    let place = open_place();
    let service = place.serve().await;
    let mut command = python();
    command.arg(file("client.py")).args([&service.url, TOKEN]);
    let printed = run(command).await;
    assert!(printed.contains("operations called"), "{printed}");
}

#[tokio::test]
async fn every_button_of_swagger_ui_works_in_a_browser_also_under_a_prefix() {
    let (plain, prefixed) = (Place::new(), Place::new().set("ARK__SERVER__BASE_PATH", "/tools/ark"));
    let (bare, under) = (sample_service(&plain).await, sample_service(&prefixed).await);
    // Chromium writes here and there into its home.
    let home = tempfile::tempdir().unwrap();
    let mut command = python();
    assert!(under.url.ends_with("/tools/ark"), "{}", under.url);
    command.arg(file("browser.py")).args([TOKEN, &bare.url, &under.url]);
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    let printed = run(command).await;
    assert!(printed.contains("requests, all to the service"), "{printed}");
}
