//! Running CPython: the one with PyNaCl that `make test-deps` sets up.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// `ARK_TEST_PYTHON`, else the venv of `make test-deps`, else `python3`; asserts that it has PyNaCl.
pub(crate) fn python() -> Command {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let program = FOUND.get_or_init(|| {
        let venv = Path::new(REPOSITORY).join("target/test-venv/bin/python");
        let named = std::env::var_os("ARK_TEST_PYTHON").map(PathBuf::from);
        let program = named.unwrap_or_else(|| if venv.exists() { venv } else { PathBuf::from("python3") });
        let has_pynacl = Command::new(&program).args(["-c", "import nacl.signing"]).stderr(Stdio::null()).status();
        let usable = has_pynacl.is_ok_and(|status| status.success());
        assert!(usable, "{} with PyNaCl is needed: run `make test-deps` first", program.display());
        program
    });
    let mut command = Command::new(program);
    // Nothing of the caller's environment changes what the tests see, and nothing is left in the repository.
    for name in ["ARK_FED_PRIVKEY", "ARK_NODE_ID", "ARK_INSTANCE_TYPE", "PYTHONPATH", "http_proxy", "HTTP_PROXY"] {
        command.env_remove(name);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("no_proxy", "*").env("PYTHONIOENCODING", "utf-8");
    command
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts success; what was printed.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    pub(crate) fn ok_json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Asserts a failure as users may expect it: this exit code and one line that says what is wrong.
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("error: ") && !self.stderr.contains("Traceback"), "{self:?}");
        self.stderr
    }
}

/// Runs a script with arguments.
pub(crate) fn run_script(script: &str, args: &[&str]) -> Run {
    Run::of(python().arg("-c").arg(script).args(args).output().unwrap())
}
