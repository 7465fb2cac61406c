//! The documents and the program agree: failures with their next steps, findings of `doctor`, events in the log, metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

use ark_lattice::{
    federation::failure::{FailedAt, FailureContext, FailureKind},
    types::EventKind,
};
use std::{collections::BTreeSet, fs, path::Path};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The rows of the table below a heading: what stands in each cell.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_failure_stands_in_the_document_with_its_next_step() {
    let text = read("docs/TROUBLESHOOTING.md");
    let table = rows(&text, "## Failures between instances");
    let context =
        FailureContext { at: FailedAt::Peer { url: "https://URL", setting: None }, own_id: Some("ID"), text: "" };
    let expected: Vec<Vec<String>> =
        FailureKind::ALL.iter().map(|kind| vec![format!("`{}`", kind.code()), kind.next(&context)]).collect();
    let shown =
        |rows: &[Vec<String>]| rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect::<Vec<_>>().join("\n");
    assert_eq!(shown(&table), shown(&expected), "the table is to be:\n{}", shown(&expected));
}

#[test]
fn every_finding_of_doctor_stands_in_the_document() {
    let mut codes = BTreeSet::new();
    for name in ["doctor.rs", "doctor/machine.rs", "doctor/remote.rs", "doctor/service.rs"] {
        let source = read(&format!("src/cli/{name}"));
        for part in source.split("findings.").skip(1) {
            let call = ["ok(", "warn(", "fail("].iter().find_map(|call| part.strip_prefix(call));
            let Some(arguments) = call.map(str::trim_start).and_then(|arguments| arguments.strip_prefix('(')) else {
                continue;
            };
            let code = arguments.split(',').nth(1).unwrap().trim().trim_end_matches(')');
            if let Some(code) = code.strip_prefix('"').and_then(|code| code.strip_suffix('"')) {
                codes.insert(code.to_owned());
            }
        }
    }
    for code in ["state_room_little", "state_room_none", "lattice_room_little", "lattice_room_none"] {
        codes.insert(code.to_owned());
    }
    assert!(codes.len() > 40, "{codes:?}");
    let table = rows(&read("docs/TROUBLESHOOTING.md"), "## Findings of doctor");
    let listed: BTreeSet<String> = table.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let general: BTreeSet<String> = ["peer_…", "registry_…"].map(str::to_owned).into();
    let missing: Vec<&String> = codes.difference(&listed).collect();
    let unknown: Vec<String> = listed.difference(&codes).filter(|code| !general.contains(*code)).cloned().collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}; unknown: {unknown:?}");
}

#[test]
fn every_event_of_the_log_stands_in_the_readme_by_its_name() {
    let readme = read("README.md");
    let section = readme.split("## Metrics, logs and traces").nth(1).unwrap().split("\n## ").next().unwrap();
    for kind in EventKind::ALL {
        let name = match kind {
            EventKind::PeerOnline => "peer_connected".to_owned(),
            EventKind::PeerOffline => "peer_disconnected".to_owned(),
            other => other.as_str().replace('-', "_"),
        };
        let is_named = section.contains(&format!("`{name}`")) || section.contains(&format!("\"event\":\"{name}\""));
        assert!(is_named, "{name}");
        assert!(readme.contains(&format!("`{}`", kind.as_str())), "{}", kind.as_str());
    }
    assert!(!readme.contains("sync_completed"));
}

#[test]
fn headings_that_are_linked_exist() {
    for name in ["README.md", "deploy/README.md", "docs/SECURITY.md", "docs/TROUBLESHOOTING.md"] {
        let text = read(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, anchor)) = link.split_once('#').filter(|(file, _)| !file.starts_with("http")) else {
                continue;
            };
            let folder = Path::new(name).parent().unwrap();
            let target = if file.is_empty() { name.to_owned() } else { folder.join(file).to_str().unwrap().to_owned() };
            let anchors: BTreeSet<String> = read(&target)
                .lines()
                .filter_map(|line| line.strip_prefix('#'))
                .map(|line| {
                    let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
                })
                .collect();
            assert!(anchors.contains(anchor), "{name}: {link}");
        }
    }
}
