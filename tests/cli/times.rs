//! Which of two versions is the later one, for every way in which programs write `updated_at`.

use crate::{bed::Bed, federation::Instance};
use std::time::Duration;

/// `updated_at` of a later and of an earlier version, as different programs write them.
pub const PAIRS: [(&str, &str, &str); 6] = [
    ("isoformat", r#""2026-03-01T12:00:00.123456""#, r#""2024-01-01T12:00:00.123456""#),
    ("isoformat with a blank", r#""2026-03-01 12:00""#, r#""2024-01-01 12:00:00""#),
    ("milliseconds", "1772366400000", "1704110400000"),
    ("milliseconds and seconds", "1772366400000", "1704110400"),
    ("a date alone", r#""2026-03-01""#, r#""2024-01-01T12:00:00Z""#),
    ("two styles", r#""2026-03-01T12:00:00""#, r#""2024-01-01T12:00:00Z""#),
];

pub fn document(id: &str, text: &str, updated_at: &str) -> String {
    format!("{{\"id\":\"{id}\",\"text\":\"{text}\",\"updated_at\":{updated_at}}}")
}

#[test]
fn the_newer_document_wins_by_rounds_however_its_time_is_written() {
    let (one, other) = (Instance::start("ark-one", &[]), Instance::start("ark-other", &[]));
    other.federation(&["add-peer", one.url()]).ok();
    for (number, (_, new, _)) in (1..).zip(PAIRS) {
        one.bed.file(&format!("lattice_data/{number}.json"), &document(&number.to_string(), "NEW", new));
    }
    one.sees(6);
    // The older ones are written last: when a file came is not when its document was made.
    for (number, (_, _, old)) in (1..).zip(PAIRS) {
        other.bed.file(&format!("lattice_data/{number}.json"), &document(&number.to_string(), "OLD", old));
    }
    other.sees(6);
    other.federation(&["sync"]).ok();
    for side in [&one, &other] {
        for (number, (style, new, _)) in (1..).zip(PAIRS) {
            let (file, new) = (format!("lattice_data/{number}.json"), document(&number.to_string(), "NEW", new));
            side.bed.wait_until(style, || side.bed.read(&file) == new);
        }
    }
}

#[test]
fn a_time_that_cannot_be_read_is_reported_by_file_name_and_once_in_the_log() {
    let bed = Bed::new();
    for number in 0..20 {
        bed.file(
            &format!("lattice_data/n{number:02}.json"),
            &format!(r#"{{"id":"n{number:02}","updated_at":"soon"}}"#),
        );
    }
    bed.file("lattice_data/good.json", r#"{"id":"good","updated_at":"2026-03-01T12:00:00"}"#);
    bed.file("lattice_data/none.json", r#"{"id":"none","updated_at":null}"#);
    let run = bed.run(&["node", "verify"]);
    assert_eq!(run.stdout.lines().count(), 1 + 20, "{run:?}");
    assert!(run.stdout.contains("n00.json  updated_at cannot be read as a time"), "{run:?}");
    assert!(run.fails(5).contains("20 files in "));
    let run = bed.run(&["node", "verify", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((answer["nodes"].as_u64(), answer["broken"].as_array().unwrap().len()), (Some(22), 0));
    assert_eq!(answer["unreadable_times"].as_array().unwrap().len(), 20);
    assert_eq!(answer["unreadable_times"][19]["file"], "n19.json");

    let doctor = bed.run(&["doctor"]);
    assert!(doctor.stdout.contains("20 files with an updated_at that cannot be read as a time, such as n00.json"));

    let (_, log) = bed.serve().terminate(Duration::from_secs(30));
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("cannot be read as a time")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("n00.json, n01.json, n02.json") && lines[0].contains("node verify"), "{log}");
}
