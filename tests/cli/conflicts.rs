//! `conflicts …`: what lost between two real instances is looked at, taken back, and forgotten.

use crate::{federation::Instance, shapes::answers_as_its_help_shows, terminals::Terminal};

const EARLIER: &str = r#"{"id": "x", "updated_at": 1000, "n": 1.0, "text": "b's", "same": [1, 2]}"#;
const LATER: &str = r#"{"same": [1, 2], "id": "x", "updated_at": 2000, "n": 1.0, "text": "a's"}"#;

/// Two instances, of which `b` holds one conflict: its own edit lost.
pub fn two() -> (Instance, Instance) {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    for (instance, text) in [(&a, LATER), (&b, EARLIER)] {
        instance.bed.file("lattice_data/x.json", text);
        instance.sees(1);
    }
    b.federation(&["add-peer", a.url()]).ok();
    let synced = b.federation(&["sync"]).ok();
    assert!(synced.contains("1 conflict"), "{synced}");
    (a, b)
}

#[test]
fn what_lost_is_shown_beside_what_won_and_restored_everywhere() {
    let (a, b) = two();
    let conflicts = |args: &[&str]| b.bed.run(&[&["conflicts"], args].concat());
    assert!(b.bed.read("lattice_data/x.json").contains("a's"));
    assert!(b.federation(&["status"]).ok().contains("1 conflict; see: ark-lattice conflicts list"));
    let listed = conflicts(&["list"]).ok();
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1], row[3], row.len()), ("1", "x", "ark-a", 8), "{listed}");

    let shown = conflicts(&["show", "1"]);
    assert!(shown.stderr.contains("ark-lattice conflicts restore 1"), "{shown:?}");
    let shown = shown.ok();
    let difference: Vec<&str> = shown.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    // What is far from any change is left out; the order of members, which means nothing, is no change.
    let expected = [
        "      1",
        "      2",
        "    ]",
        "-   \"text\": \"b's\"",
        "-   \"updated_at\": 1000",
        "+   \"text\": \"a's\"",
        "+   \"updated_at\": 2000",
        "  }",
    ];
    assert_eq!(difference, expected, "{shown}");
    assert!(shown.contains("now") && shown.contains("the version that won") && !shown.contains('\u{1b}'), "{shown}");

    let restored = conflicts(&["restore", "1"]).ok();
    assert_eq!(restored, "restored x; to take it back: ark-lattice conflicts restore 2\n");
    assert!(b.bed.read("lattice_data/x.json").contains("b's"));
    let said = conflicts(&["restore", "1"]).fails(3);
    assert!(said.contains("conflict_not_found") && said.contains("ark-lattice conflicts list"), "{said}");
    // The edit that was made now goes to the other instance, and is no conflict there.
    let synced = b.federation(&["sync"]).ok();
    assert!(synced.contains("1 sent") && synced.contains("in step"), "{synced}");
    assert!(a.bed.read("lattice_data/x.json").contains("b's"));
    let none = a.bed.run(&["conflicts", "list"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("There are no conflicts here"), "{none:?}");

    // Nothing is left to settle on either side, and nothing is lost.
    assert_eq!(conflicts(&["list", "--json"]).ok_json()["total"], 0);
    assert!(b.federation(&["status"]).ok().contains("no conflicts"));
    assert!(conflicts(&["show", "2"]).ok().contains("-   \"text\": \"a's\""));
    assert_eq!(conflicts(&["dismiss", "2"]).ok(), "forgot version 2 of the history\n");
    conflicts(&["show", "2"]).fails(3);
    conflicts(&["dismiss", "2"]).fails(3);
    assert!(conflicts(&["show", "0"]).fails(3).contains("invalid_path"));
    conflicts(&["show", "two"]).fails(2);
}

#[test]
fn what_an_instance_overruled_that_had_been_given_it_is_history() {
    let (a, b) = two();
    b.bed.run_with(&["node", "put", "-"], r#"{"id":"y","v":1}"#).ok();
    b.sees(2);
    b.federation(&["sync"]).ok();
    a.bed.run_with(&["node", "put", "-"], r#"{"id":"y","v":2}"#).ok();
    a.bed.wait_until("the edit came back", || {
        b.federation(&["sync"]).ok();
        b.bed.run(&["node", "show", "y"]).ok().contains("\"v\":2")
    });
    let conflicts = |args: &[&str]| b.bed.run(&[&["conflicts"], args].concat());
    assert_eq!(conflicts(&["list", "--json"]).ok_json()["total"], 1);
    let all = conflicts(&["list", "--all", "--json"]).ok_json();
    let kinds: Vec<&str> = all["conflicts"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds.as_slice(), &all["total"]), (&["conflict", "overruled"][..], &2.into()), "{all}");
    let page = conflicts(&["list", "--all", "--limit", "1"]);
    assert!(page.stderr.contains("2 versions in all; more with --after 1"), "{page:?}");
    let listed = conflicts(&["list", "--all"]).ok();
    let rows: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(rows, [["1", "conflict", "x"], ["2", "overruled", "y"]], "{listed}");

    let shown = conflicts(&["show", "2"]).ok();
    assert!(shown.contains("Overruled version 2: y") && shown.contains("held here before"), "{shown}");
    assert!(conflicts(&["restore", "2"]).ok().starts_with("restored y"));
    assert!(b.bed.run(&["node", "show", "y"]).ok().contains("\"v\":1"));
    assert!(conflicts(&["dismiss", "2"]).fails(3).contains("ark-lattice conflicts list --all"));
}

#[test]
fn answers_for_programs_have_the_shape_that_help_shows() {
    let (_a, b) = two();
    let ask = |command: &str, more: &[&str]| answers_as_its_help_shows(&b.bed, &["conflicts", command], more);
    assert_eq!(ask("list", &[])["total"], 1);
    assert_eq!(ask("list", &["--all"])["conflicts"][0]["kind"], "conflict");
    let shown = ask("show", &["1"]);
    assert_eq!((&shown["node"]["text"], &shown["current"]["node"]["text"]), (&"b's".into(), &"a's".into()));
    let kept = ask("restore", &["1"])["kept"].as_u64().unwrap().to_string();
    assert_eq!(ask("dismiss", &[&kept])["status"], "forgotten");
    assert!(answers_as_its_help_shows(&b.bed, &["federation", "history"], &[])["count"].as_u64() > Some(0));
    answers_as_its_help_shows(&b.bed, &["federation", "list-peers"], &[]);
}

#[test]
fn a_conflict_with_a_deletion_is_shown_and_taken_back() {
    let (_a, b) = two();
    b.bed.run(&["node", "rm", "x"]).ok();
    b.bed.wait_until("the service has seen it", || {
        b.federation(&["status", "--json"]).ok_json()["lattice"]["nodes"] == 0
    });
    let shown = b.bed.run(&["conflicts", "show", "1"]).ok();
    assert!(shown.contains("now") && shown.contains("deleted") && shown.contains("-   \"text\": \"b's\""), "{shown}");
    assert!(!shown.lines().any(|line| line.starts_with('+')), "{shown}");
    assert_eq!(b.bed.run(&["conflicts", "restore", "1"]).ok(), "restored x\n");
    assert!(b.bed.read("lattice_data/x.json").contains("b's"));
}

#[test]
fn the_difference_is_coloured_on_a_terminal() {
    let (_a, b) = two();
    let port = b.service.port.to_string();
    let shown = Terminal::start(&b.bed, "ark-lattice conflicts show 1", &[("FEDERATION_PORT", &port)]).rest();
    assert!(shown.contains("\u{1b}[31m-   \"text\"") && shown.contains("\u{1b}[32m+   \"text\""), "{shown:?}");
    let plain = [("FEDERATION_PORT", port.as_str()), ("NO_COLOR", "1")];
    let shown = Terminal::start(&b.bed, "ark-lattice conflicts show 1", &plain).rest();
    assert!(shown.contains("-   \"text\"") && !shown.contains('\u{1b}'), "{shown:?}");
}

/// As [`two`], with as many conflicts.
fn several(nodes: usize) -> (Instance, Instance) {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    for (instance, at, text) in [(&a, 2000, "a's"), (&b, 1000, "b's")] {
        for n in 0..nodes {
            let node = format!(r#"{{"id": "n{n}", "updated_at": {at}, "text": "{text}"}}"#);
            instance.bed.file(&format!("lattice_data/n{n}.json"), &node);
        }
        instance.sees(u64::try_from(nodes).unwrap());
    }
    b.federation(&["add-peer", a.url()]).ok();
    b.federation(&["sync"]).ok();
    (a, b)
}

#[test]
fn all_conflicts_are_settled_by_one_command_and_counted_until_then() {
    let (_a, b) = several(3);
    let conflicts = |args: &[&str]| b.bed.run(&[&["conflicts"], args].concat());
    let count = || {
        let health = crate::bed::get(b.service.port, "/health");
        let metrics = crate::bed::get(b.service.port, "/metrics");
        let of = |text: &str, name: &str| {
            let rest = text.split(name).nth(1).unwrap().trim_start();
            rest.chars().take_while(char::is_ascii_digit).collect::<String>()
        };
        (of(&health, "\"conflicts\":"), of(&metrics, "\nark_conflicts "))
    };
    assert_eq!(count(), ("3".into(), "3".into()));
    let settled = conflicts(&["dismiss", "--all"]).ok();
    assert_eq!(settled.lines().count(), 3, "{settled}");
    assert!(settled.starts_with("dismissed conflict 1; its version is in the history: "), "{settled}");
    assert_eq!(count(), ("0".into(), "0".into()));
    assert!(b.bed.read("lattice_data/n1.json").contains("a's"));
    let none = conflicts(&["dismiss", "--all"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("There are no conflicts."), "{none:?}");
    // Dismissed by mistake: what lost is restored from the history.
    assert_eq!(conflicts(&["list", "--all", "--json"]).ok_json()["total"], 3);
    conflicts(&["restore", "2"]).ok();
    assert!(b.bed.read("lattice_data/n1.json").contains("b's"));
    for wrong in [&["dismiss"][..], &["restore", "1", "--all"]] {
        conflicts(wrong).fails(2);
    }
}

#[test]
fn all_conflicts_are_restored_by_one_command() {
    let (a, b) = several(2);
    let restored = b.bed.run(&["conflicts", "restore", "--all"]).ok();
    assert_eq!(restored.lines().filter(|line| line.starts_with("restored n")).count(), 2, "{restored}");
    assert_eq!(b.bed.run(&["conflicts", "list", "--json"]).ok_json()["total"], 0);
    b.federation(&["sync"]).ok();
    assert!(a.bed.read("lattice_data/n0.json").contains("b's") && a.bed.read("lattice_data/n1.json").contains("b's"));
    assert_eq!(a.bed.run(&["conflicts", "list", "--json"]).ok_json()["total"], 0);
}
