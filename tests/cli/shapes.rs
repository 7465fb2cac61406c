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

/// The answer that `--help` shows below "With --json".
fn documented(bed: &Bed, command: &[&str]) -> Value {
    let help = bed.run(&[command, &["--help"]].concat()).ok();
    let shown = help.split_once("\nWith --json").unwrap_or_else(|| panic!("{command:?} shows no answer: {help}")).1;
    let text = &shown[shown.find('{').unwrap()..];
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .next()
        .unwrap()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: {text}"))
}

/// Both have the same keys, and values of the same kind where both have one; of lists the first elements count.
fn same_shape(documented: &Value, printed: &Value, place: &str) {
    match (documented, printed) {
        // A node has its user's members.
        (Value::Object(_), Value::Object(_)) if place.ends_with(".node") => {}
        (Value::Object(wanted), Value::Object(found)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(wanted), keys(found), "{place}");
            wanted.iter().for_each(|(key, value)| same_shape(value, &found[key], &format!("{place}.{key}")));
        }
        (Value::Array(wanted), Value::Array(found)) => {
            if let (Some(wanted), Some(found)) = (wanted.first(), found.first()) {
                same_shape(wanted, found, &format!("{place}[0]"));
            }
        }
        // What may be null, and is.
        (_, Value::Null) | (Value::Null, _) => {}
        (wanted, found) => {
            assert_eq!(std::mem::discriminant(wanted), std::mem::discriminant(found), "{place}: {wanted} and {found}");
        }
    }
}

/// Runs it with `--json`; what it printed, which has the shape that its help shows.
pub fn answers_as_its_help_shows(bed: &Bed, command: &[&str], more: &[&str]) -> Value {
    let run = bed.run(&[command, more, &["--json"]].concat());
    let printed: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{command:?}: {error}: {run:?}"));
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
    same_shape(&documented(bed, command), &printed, &command.join(" "));
    printed
}

#[test]
fn every_answer_has_the_shape_that_its_help_shows() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id": "a", "type": "note"}"#);
    bed.file("lattice_data/broken.json", "{");
    bed.file("b.json", r#"[{"id": "b"}, {}]"#);
    bed.file("c.json", r#"{"id": "c"}"#);
    let check = |command: &[&str], more: &[&str]| drop(answers_as_its_help_shows(&bed, command, more));
    check(&["keygen"], &[]);
    check(&["key", "show"], &[]);
    check(&["key", "words"], &["--print-secret"]);
    check(&["version"], &[]);
    check(&["key", "rotate"], &[]);
    check(&["node", "list"], &[]);
    check(&["node", "put"], &["c.json"]);
    check(&["node", "hash"], &["c"]);
    check(&["node", "rm"], &["c"]);
    check(&["node", "verify"], &[]);
    check(&["import"], &["b.json"]);
    check(&["export"], &["--out", "all.ndjson"]);
    check(&["manifest", "build"], &["--out", "m.json"]);
    bed.file("e.json", &bed.run(&["manifest", "sign", "m.json"]).ok());
    check(&["manifest", "verify"], &["e.json"]);
    check(&["config", "check"], &[]);
    check(&["completions"], &["fish"]);
    check(&["man"], &["--dir", "man1"]);
    check(&["init"], &["--yes"]);
    drop(bed.serve().terminate(std::time::Duration::from_secs(10)));
    check(&["adopt"], &[]);
    let service = bed.serve();
    check(&["manifest", "publish"], &["--to", &service.url]);
    check(&["discover"], &["--from", &service.url, "--instance-type", "cloud"]);
    let here = ["--url", &service.url];
    let there = [&["http://127.0.0.1:9"], &here[..]].concat();
    check(&["federation", "status"], &here);
    check(&["federation", "start"], &here);
    check(&["federation", "stop"], &here);
    check(&["federation", "start"], &here);
    check(&["federation", "add-peer"], &there);
    check(&["federation", "list-peers"], &here);
    check(&["federation", "status"], &here);
    check(&["federation", "auto-sync"], &[&["--stop"], &here[..]].concat());
    check(&["federation", "sync"], &here);
    check(&["federation", "history"], &here);
    check(&["federation", "remove-peer"], &there);
    check(&["conflicts", "list"], &here);
    std::fs::create_dir(bed.path("copy")).unwrap();
    check(&["node", "accept"], &[&["b"], &here[..]].concat());
    check(&["pull"], &["--from", &service.url, "--lattice", "copy"]);
}

/// The words of the command that a page is of: a hyphen is between two of them where what stands before has a page of its own.
fn words(name: &str, pages: &[&str]) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = "ark-lattice".to_owned();
    for part in name.split('-').skip(2) {
        let last = words.last_mut().unwrap();
        let whole = last.is_empty() || pages.contains(&before.as_str());
        if !whole {
            last.push('-');
        } else if !last.is_empty() {
            words.push(String::new());
        }
        words.last_mut().unwrap().push_str(part);
        before = format!("{before}-{part}");
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_help_has_an_example_and_says_what_json_gives() {
    let bed = Bed::new();
    let pages = bed.run(&["man", "--dir", "man1", "--json"]).ok_json();
    let mut seen = 0;
    let pages = pages["pages"].as_array().unwrap().iter().map(|page| page.as_str().unwrap());
    let all: Vec<&str> = pages.map(|page| page.trim_end_matches(".1")).collect();
    for &name in &all {
        let words = words(name, &all);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = bed.run(&[&words[..], &["--help"]].concat()).ok();
        // A group of commands lists them; its commands have the examples.
        if words.is_empty() || help.contains("\nCommands:\n") {
            continue;
        }
        seen += 1;
        assert!(help.contains("Example") || words == ["demo"] || words == ["healthcheck"], "{name}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{name}: {help}");
    }
    assert!(seen >= 20, "{seen} commands");
}

#[test]
fn quiet_commands_print_what_was_asked_for_and_nothing_else() {
    let bed = Bed::new();
    bed.file("a.json", r#"{"id": "a"}"#);
    let silent = [
        &["node", "put", "a.json"][..],
        &["node", "verify"],
        &["import", "a.json"],
        &["export", "--out", "all.ndjson"],
        &["manifest", "build", "--out", "m.json"],
        &["man", "--dir", "man1"],
        &["init", "--yes"],
        &["config", "check"],
        &["node", "rm", "a"],
    ];
    for args in silent {
        let run = bed.run(&[args, &["--quiet"]].concat());
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""), "{args:?}");
    }
}
