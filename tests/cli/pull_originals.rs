//! `pull --from` an original: stand-ins that were written from the documents of the originals.

use crate::{bed::Bed, stand_ins::Original};
use serde_json::{Value, json};

fn node(id: &str, seconds: i64, content: &str) -> Value {
    json!({ "id": id, "timestamp": seconds * 1000, "content": content })
}

fn content(bed: &Bed, id: &str) -> String {
    let text = bed.read(&format!("lattice_data/{id}.json"));
    serde_json::from_str::<Value>(&text).unwrap()["content"].as_str().unwrap().to_owned()
}

/// Nodes that are newer there, newer here, only there, and there without a date.
fn there() -> Value {
    json!([
        node("newer-there", 1_700_000_300, "theirs"),
        node("newer-here", 1_700_000_100, "theirs"),
        node("theirs", 1_700_000_000, "theirs"),
        { "id": "undated", "content": "theirs" },
        { "id": "undated-and-here", "content": "theirs" },
    ])
}

fn put(bed: &Bed, id: &str, content: &str) {
    let text = format!(r#"{{"id":"{id}","updated_at":1700000200,"content":"{content}"}}"#);
    bed.run_with(&["node", "put", "-"], &text).ok();
}

#[test]
fn the_later_version_of_every_node_of_an_original_is_taken_with_and_without_a_service() {
    for (wire, served) in [("node", false), ("node", true), ("python", false), ("python", true)] {
        let original = Original::start(wire, &there());
        let url = original.url();
        let mut bed = Bed::new();
        let service = served.then(|| bed.serve());
        if let Some(service) = &service {
            bed = bed.set("FEDERATION_PORT", &service.port.to_string());
        }
        for id in ["newer-there", "newer-here", "undated-and-here", "mine"] {
            put(&bed, id, "mine");
        }

        let dry = bed.run(&["pull", "--from", &url, "--dry-run"]);
        let remark =
            format!("{url} is an original ARK service, which signs nothing: whoever answers there is believed.");
        assert!(dry.stderr.contains(&remark), "{wire} {dry:?}");
        let dry = bed.run(&["pull", "--from", &url, "--dry-run", "--json"]).ok_json();
        assert_eq!((&dry["added"], &dry["replaced"], &dry["kept"]), (&2.into(), &1.into(), &2.into()), "{wire} {dry}");
        assert_eq!((content(&bed, "newer-there"), dry["dry_run"].as_bool()), ("mine".to_owned(), Some(true)));

        let pulled = bed.run(&["pull", "--from", &url, "--json"]).ok_json();
        assert_eq!((&pulled["added"], &pulled["replaced"], &pulled["kept"]), (&2.into(), &1.into(), &2.into()));
        assert_eq!((&pulled["original"], &pulled["manifest_hash"]), (&true.into(), &Value::Null));
        assert_eq!((&pulled["in_step"], &pulled["only_here"]), (&false.into(), &1.into()), "{pulled}");
        bed.wait_until("the files are there", || bed.path("lattice_data/undated.json").exists());
        let held = ["newer-there", "newer-here", "theirs", "undated", "undated-and-here"].map(|id| content(&bed, id));
        assert_eq!(held, ["theirs", "mine", "theirs", "theirs", "mine"], "{wire} {served}");

        // Again nothing moves, and nothing went there.
        let again = bed.run(&["pull", "--from", &url, "--json"]).ok_json();
        assert_eq!(
            (&again["added"], &again["replaced"], &again["unchanged"]),
            (&0.into(), &0.into(), &3.into()),
            "{again}"
        );
        let log = original.ask("GET", "/_log", "");
        let is_write = |it: &&Value| matches!(it.as_str(), Some("POST /federation/sync" | "POST /manifest"));
        assert!(!log.as_array().unwrap().iter().any(|it| is_write(&it)), "{log}");
    }
}

#[test]
fn a_directory_that_holds_what_an_original_holds_is_in_step_with_it() {
    let original = Original::start("node", &json!([node("a", 1_700_000_000, "1"), node("b", 1_700_000_000, "2")]));
    let bed = Bed::new();
    let pulled = bed.run(&["pull", "--from", &original.url()]).ok();
    assert!(pulled.contains("2 added") && pulled.contains(&format!("In step with {}", original.url())), "{pulled}");
}

#[test]
fn what_is_no_node_of_an_original_is_refused_and_the_rest_taken() {
    let original = Original::start("odd", &json!([]));
    let bed = Bed::new();
    let run = bed.run(&["pull", "--from", &original.url(), "--json"]);
    assert_eq!(run.code, 5, "{run:?}");
    let pulled: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(pulled["refused"].as_u64().unwrap() >= 6 && bed.path("lattice_data/good.json").exists(), "{pulled}");
    assert!(!std::path::Path::new("/abs.json").exists() && !bed.path("../../etc/passwd.json").exists());

    for wire in ["garbage", "endless"] {
        let original = Original::start(wire, &json!([]));
        let bed = bed.run(&["pull", "--from", &original.url()]);
        assert!(bed.code != 0 && bed.stderr.contains("error: "), "{wire} {bed:?}");
    }
}
