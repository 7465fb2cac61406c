//! What `--version` says: enough for a report of a fault.

use super::{exit::Failure, output::Output};
use serde_json::{Value, json};
use std::sync::LazyLock;

const OS: &str = match (cfg!(target_os = "linux"), cfg!(target_os = "macos")) {
    (true, _) => "linux",
    (_, true) => "macos",
    _ => "other",
};
const ARCH: &str = match (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"), cfg!(target_arch = "arm")) {
    (true, ..) => "x86_64",
    (_, true, _) => "aarch64",
    (.., true) => "arm",
    _ => "other",
};
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// After the name.
pub(super) fn long() -> &'static str {
    static LONG: LazyLock<String> =
        LazyLock::new(|| format!("{}\nplatform: {OS} {ARCH}\nbuild: {BUILD}", env!("CARGO_PKG_VERSION")));
    &LONG
}

/// What stands below `version --help`.
pub(super) const HELP: &str = "\
Examples:
  ark-lattice version

With --json:
  {\"name\": \"ark-lattice\", \"version\": \"0.1.0\", \"os\": \"linux\", \"arch\": \"x86_64\", \"build\": \"release\"}";

/// `version`
pub(super) fn run(output: &Output) -> Result<(), Failure> {
    Ok(output.answer(json, || format!("{} {}", env!("CARGO_PKG_NAME"), long()))?)
}

/// With `--json`.
pub(super) fn json() -> Value {
    json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "os": OS, "arch": ARCH, "build": BUILD})
}
