//! Promises to programs: exit codes, errors and answers as JSON.

use crate::bed::Bed;
use serde_json::Value;

/// The rows of the exit code table: code and meaning.
fn rows(text: &str, from: &str, split: impl Fn(&str) -> Option<(String, String)>) -> Vec<(String, String)> {
    let table = text.split_once(from).unwrap().1;
    table.lines().skip(1).map_while(split).collect()
}

#[test]
fn the_readme_and_the_help_list_the_same_exit_codes() {
    let help = Bed::new().run(&["--help"]).ok();
    let of_help = rows(&help, "Exit codes:", |line| {
        let (code, meaning) = line.trim().split_once("  ")?;
        Some((code.to_owned(), meaning.trim().to_owned()))
    });
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let of_readme = rows(&readme, "| exit code | meaning |\n|---|---|", |line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    assert!(of_help.len() >= 8, "{of_help:?}");
    assert_eq!(of_help, of_readme);
}

#[test]
fn wrong_usage_is_json_where_json_is_asked_for() {
    let bed = Bed::new();
    for args in
        [&["--json", "nonsense"][..], &["pull", "--json"], &["node", "list", "--unknown", "--json"], &["--json"]]
    {
        let run = bed.run(args);
        let said: Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!((run.code, &said["exit_code"]), (2, &2.into()), "{run:?}");
        assert!(said["error"].as_str().unwrap().contains("--help") && run.stdout.is_empty(), "{run:?}");
    }
    // What stands behind -- is no flag of ours.
    bed.run(&["node", "list", "--", "--json"]).fails(2);
    assert!(bed.run(&["exprt"]).fails(2).contains("export"));
    let version = bed.run(&["--version", "--json"]).ok_json();
    assert_eq!((&version["name"], &version["version"]), (&"ark-lattice".into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(bed.run(&["--version"]).ok().contains("platform: "));
}
