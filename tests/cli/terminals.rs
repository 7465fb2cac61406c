//! What people see on a terminal, and what programs must not see. `script` (util-linux) makes the terminal.

use crate::bed::Bed;
use std::{
    io::Read,
    process::{Child, Command, Stdio},
    thread,
};

pub struct Terminal(Child);

impl Terminal {
    /// Runs a bash line on a terminal of its own.
    pub fn start(bed: &Bed, line: &str, variables: &[(&str, &str)]) -> Self {
        let line = line.replace("ark-lattice", concat!("'", env!("CARGO_BIN_EXE_ark-lattice"), "'"));
        // What waits for an answer that never comes ends all the same, and the reader sees the end.
        let mut command = Command::new("/usr/bin/timeout");
        command.args(["120", "/usr/bin/script"]);
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(bed.path("")).env_clear();
        command.envs([("TERM", "xterm"), ("SHELL", "/bin/bash"), ("PATH", "/usr/bin:/bin")]);
        command.envs(variables.iter().copied());
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads until `mark` was seen; what came.
    pub fn until(&mut self, mark: &str) -> String {
        let (mut seen, mut byte) = (Vec::new(), [0]);
        let stdout = self.0.stdout.as_mut().unwrap();
        while !seen.ends_with(mark.as_bytes()) {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{mark:?} never came: {}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The keyboard.
    pub fn input(&mut self) -> &mut std::process::ChildStdin {
        self.0.stdin.as_mut().unwrap()
    }

    /// The exit code, once it has ended.
    pub fn code(&mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap()
    }

    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.0.stdout.as_mut().unwrap().read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // SIGTERM: `timeout` hands it on to what it runs.
        let _already_gone =
            Command::new("kill").args(["-TERM", &self.0.id().to_string()]).stderr(Stdio::null()).status();
        let _reaped = self.0.wait();
    }
}

#[test]
fn colours_are_for_terminals_and_never_with_no_color() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    for (line, coloured) in
        [("ark-lattice node list", true), ("ark-lattice node shwo", true), ("ark-lattice keygen", false)]
    {
        let with = Terminal::start(&bed, line, &[]).rest();
        assert_eq!(with.contains('\u{1b}'), coloured, "{line}: {with:?}");
        let without = Terminal::start(&bed, line, &[("NO_COLOR", "1")]).rest();
        assert!(!without.is_empty() && !without.contains('\u{1b}'), "{line}: {without:?}");
    }
    let piped = bed.run(&["node", "list"]);
    assert!(!piped.stdout.contains('\u{1b}'), "{piped:?}");
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let bed = Bed::new();
    let nodes: String = (0..300).map(|number| format!("{{\"id\":\"n{number}\"}}\n")).collect();
    bed.file("nodes.ndjson", &nodes);
    assert!(Command::new("mkfifo").arg(bed.path("gate")).status().unwrap().success());
    let line = "{ cat nodes.ndjson; cat gate; } | ark-lattice import --exact -";
    let mut terminal = Terminal::start(&bed, line, &[]);
    // The work cannot end before the bar was seen.
    terminal.until("importing");
    let gate = bed.path("gate");
    let opener = thread::spawn(move || drop(std::fs::OpenOptions::new().write(true).open(gate).unwrap()));
    let rest = terminal.rest();
    opener.join().unwrap();
    assert!(rest.contains("300 added"), "{rest:?}");
    let piped = bed.run(&["import", "--exact", "nodes.ndjson"]);
    assert!(piped.stderr.is_empty() && piped.stdout.lines().count() == 2, "{piped:?}");
    for flag in ["--quiet", "--json"] {
        let shown = Terminal::start(&bed, &format!("ark-lattice import --exact nodes.ndjson {flag}"), &[]).rest();
        assert!(!shown.contains("importing") && !shown.contains('\u{1b}'), "{flag}: {shown:?}");
    }
}
