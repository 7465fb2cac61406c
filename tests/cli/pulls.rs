use crate::bed::{Bed, answer, canned};

const HASH: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// An answer to `/sync` with these lines, of which `announced` were announced.
fn lines(announced: usize, body: &str) -> String {
    let headers =
        format!("Content-Type: application/x-ndjson\r\nArk-Manifest-Hash: {HASH}\r\nArk-Delta-Count: {announced}\r\n");
    answer("200 OK", &headers, body)
}

fn total(nodes: usize) -> String {
    answer("200 OK", "Content-Type: application/json\r\n", &format!(r#"{{"nodes":[],"total":{nodes}}}"#))
}

#[test]
fn what_is_published_is_discovered_and_pulled_until_nothing_differs() {
    let bed = Bed::new();
    bed.run(&["keygen"]).ok();
    for number in 0..20 {
        bed.file(
            &format!("lattice_data/n{number}.json"),
            &format!("{{\n  \"id\": \"n{number}\",\n  \"x\": 1.50\n}}\n"),
        );
    }
    let service = bed.serve();
    assert!(bed.run(&["discover", "--from", &service.url]).ok().is_empty());
    let answer = bed.run(&["manifest", "publish", "--to", &service.url, "--json"]).ok_json();
    assert_eq!((&answer["status"], &answer["node_id"]), (&"registered".into(), &"ark-bed".into()));
    bed.run(&["keygen", "--out", "other.key"]).ok();
    let envelope = bed.run(&["manifest", "build", "--node-id", "other"]).ok();
    let envelope = bed.run_with(&["manifest", "sign", "-", "--key", "other.key", "--form", "python"], &envelope).ok();
    bed.file("envelope.json", &envelope);
    bed.run(&["manifest", "publish", "--to", &service.url, "envelope.json"]).ok();
    let peers = bed.run(&["discover", "--from", &service.url]).ok();
    let ids: Vec<_> = peers.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ids, ["ID", "ark-bed", "other"], "{peers}");
    assert_eq!(bed.run(&["discover", "--from", &service.url, "--json"]).ok_json()["count"], 2);
    let forged = bed.run(&["manifest", "build", "--node-id", "other"]).ok();
    bed.file("forged.json", &forged);
    assert!(bed.run(&["manifest", "publish", "--to", &service.url, "forged.json"]).fails(3).contains("key_mismatch"));

    let copy = bed.path("copy");
    std::fs::create_dir(&copy).unwrap();
    let pull = |more: &[&str]| bed.run(&[&["pull", "--from", &service.url, "--lattice", "copy"], more].concat());
    let dry = pull(&["--dry-run"]).ok();
    assert!(dry.starts_with("Dry run: 20 added") && std::fs::read_dir(&copy).unwrap().count() == 0, "{dry}");
    let first = pull(&[]).ok();
    assert!(first.starts_with("20 added, 0 replaced, 0 kept, 0 refused;") && first.contains("In step"), "{first}");
    let second = pull(&["--json"]).ok_json();
    assert_eq!((&second["added"], &second["bytes"], &second["in_step"]), (&0.into(), &0.into(), &true.into()));

    // Newer here, newer there, only here.
    let soon = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 120;
    bed.file("copy/n1.json", &format!(r#"{{"id": "n1", "updated_at": {soon}}}"#));
    bed.file("copy/n2.json", r#"{"id": "n2", "updated_at": 1000000}"#);
    bed.file("copy/mine.json", r#"{"id": "mine"}"#);
    let before = bed.read("copy/n1.json");
    std::fs::remove_file(bed.path("copy/n3.json")).unwrap();
    bed.run_with(&["node", "put", "-"], r#"{"id": "n2", "updated_at": 1500000}"#).ok();
    bed.run_with(&["node", "put", "-"], r#"{"id": "n1", "updated_at": 1999999}"#).ok();
    bed.run_with(&["node", "put", "-"], r#"{"id": "n3", "back": true}"#).ok();
    std::thread::park_timeout(std::time::Duration::from_secs(2));
    let third = pull(&["--json"]).ok_json();
    let seen = ["added", "replaced", "kept", "refused", "only_here"].map(|key| third[key].as_u64().unwrap());
    assert_eq!(seen, [1, 1, 1, 0, 1], "{third}");
    assert_eq!((third["in_step"].as_bool(), &third["kept_ids"][0]), (Some(false), &"n1".into()));
    assert_eq!(bed.read("copy/n1.json"), before);
    assert!(bed.read("copy/n2.json").contains("1500000"));
}

#[test]
fn cursors_are_followed_to_the_end() {
    let bed = Bed::new().set("ARK__LIMITS__PAGE_ITEMS", "2");
    for number in 0..9 {
        bed.file(&format!("lattice_data/n{number}.json"), &format!("{{\"id\": \"n{number}\"}}"));
    }
    let service = bed.serve();
    std::fs::create_dir(bed.path("copy")).unwrap();
    let pulled = bed.run(&["pull", "--from", &service.url, "--lattice", "copy"]).ok();
    assert!(pulled.starts_with("9 added") && pulled.contains("In step"), "{pulled}");
    for number in 0..5 {
        let (id, key) = (format!("peer-{number}"), format!("{number}.key"));
        bed.run(&["keygen", "--out", &key]).ok();
        bed.run(&["manifest", "publish", "--to", &service.url, "--node-id", &id, "--key", &key]).ok();
    }
    assert_eq!(bed.run(&["discover", "--from", &service.url]).ok().lines().count(), 1 + 5);
}

#[test]
fn a_node_that_is_too_large_here_is_refused_by_its_name_and_the_others_are_pulled() {
    let bed = Bed::new();
    for (id, bytes) in [("a", 10), ("b-large", 300_000), ("c-slightly", 20_000), ("d", 10)] {
        bed.file(
            &format!("lattice_data/{id}.json"),
            &format!("{{\"id\": \"{id}\", \"content\": \"{}\"}}", "x".repeat(bytes)),
        );
    }
    let service = bed.serve();
    std::fs::create_dir(bed.path("copy")).unwrap();
    let pull = ["pull", "--from", &service.url, "--lattice", "copy"];
    let bed = bed.set("ARK__LIMITS__NODE_BYTES", "10000");
    let pulled = bed.run(&pull);
    assert!(pulled.code == 5 && pulled.stdout.starts_with("2 added, 0 replaced, 0 kept, 2 refused"), "{pulled:?}");
    assert!(pulled.stdout.contains("refused b-large: it has 300"), "{pulled:?}");
    assert!(pulled.stderr.contains("limits.node_bytes"), "{pulled:?}");
    let bed = bed.set("ARK__LIMITS__NODE_BYTES", "1000000");
    let pulled = bed.run(&pull).ok();
    assert!(pulled.starts_with("2 added") && pulled.contains("In step"), "{pulled}");
}

fn holds(service: &crate::bed::Service, id: &str) -> bool {
    crate::bed::get(service.port, &format!("/nodes/{id}")).starts_with("HTTP/1.1 200")
}

#[test]
fn a_pull_into_a_directory_that_is_served_is_taken_by_its_service() {
    let (source, target) = (Bed::new(), Bed::new());
    source.file("lattice_data/a.json", r#"{"id": "a", "updated_at": 5}"#);
    let (from, to) = (source.serve(), target.serve());
    // It is found by its state directory, whatever address the settings name.
    let target = target.set("FEDERATION_PORT", "1");
    let dry = target.run(&["pull", "--from", &from.url, "--dry-run"]).ok();
    assert!(dry.starts_with("Dry run: 1 added") && !holds(&to, "a"), "{dry}");
    target.run(&["pull", "--from", &from.url]).ok();
    let listed = crate::bed::get(to.port, "/nodes");
    assert!(listed.contains("\"updated_at\":5"), "with the time of the version, at once: {listed}");
}

/// Deletes a node's file here, and waits until the service has seen it.
fn delete(bed: &Bed, service: &crate::bed::Service, id: &str) {
    std::fs::remove_file(bed.path(&format!("lattice_data/{id}.json"))).unwrap();
    let counted = || crate::bed::get(service.port, "/health").contains("\"tombstones\":1");
    bed.wait_until("the deletion is noted", || counted() && !holds(service, id));
}

#[test]
fn a_node_that_was_deleted_later_stays_deleted_whether_a_service_runs_or_not() {
    let (source, target) = (Bed::new(), Bed::new());
    for id in ["a", "b"] {
        let text = format!(r#"{{"id": "{id}", "v": 1}}"#);
        source.file(&format!("lattice_data/{id}.json"), &text);
        target.file(&format!("lattice_data/{id}.json"), &text);
    }
    let (from, to) = (source.serve(), target.serve());
    let target = target.set("FEDERATION_PORT", &to.port.to_string());
    delete(&target, &to, "a");
    let pull = || target.run(&["pull", "--from", &from.url, "--json"]).ok_json();
    let stays_deleted = |report: &serde_json::Value| {
        assert_eq!((&report["added"], &report["kept_deleted_ids"]), (&0.into(), &serde_json::json!(["a"])), "{report}");
        assert_eq!((&report["in_step"], &report["only_here"]), (&false.into(), &0.into()), "{report}");
        assert!(!target.path("lattice_data/a.json").exists());
    };
    stays_deleted(&pull());
    let said = target.run(&["pull", "--from", &from.url]).ok();
    assert!(said.contains("1 kept deleted here") && said.contains("1 not taken"), "{said}");
    let exact =
        || target.run_with(&["import", "--exact", "-", "--json"], r#"{"id": "a", "v": 1, "updated_at": 5}"#).ok_json();
    assert_eq!(exact()["kept_deleted_ids"], serde_json::json!(["a"]));
    assert!(to.terminate(std::time::Duration::from_secs(20)).0.success());
    stays_deleted(&pull());
    assert_eq!(exact()["kept_deleted_ids"], serde_json::json!(["a"]));
    assert!(!target.path("lattice_data/a.json").exists());

    // An edit that was made after the deletion brings the node back.
    let back = r#"{"id": "a", "v": "back"}"#;
    source.file("lattice_data/a.json", back);
    let listed = format!("\"size\":{}", back.len());
    source.wait_until("the edit is seen", || crate::bed::get(from.port, "/nodes").contains(&listed));
    let report = pull();
    assert_eq!((&report["added"], &report["kept_deleted"]), (&1.into(), &0.into()), "{report}");
    assert!(target.read("lattice_data/a.json").contains("back"));
}

#[test]
fn an_edit_that_only_the_journal_dates_is_not_replaced_by_an_older_version() {
    let (source, target) = (Bed::new(), Bed::new());
    source.file("lattice_data/a.json", r#"{"id": "a", "v": "there", "updated_at": 1700000000}"#);
    target.file("lattice_data/a.json", r#"{"id": "a", "v": "before", "updated_at": 1600000000}"#);
    let (from, to) = (source.serve(), target.serve());
    // The editor leaves the date as it is: the edit counts as made now, and only the journal knows.
    target.file("lattice_data/a.json", r#"{"id": "a", "v": "edited", "updated_at": 1600000000}"#);
    target.wait_until("the edit is seen", || crate::bed::get(to.port, "/nodes/a").contains("edited"));
    assert!(to.terminate(std::time::Duration::from_secs(20)).0.success());
    let report = target.run(&["pull", "--from", &from.url, "--json"]).ok_json();
    assert_eq!((&report["replaced"], &report["kept_ids"][0]), (&0.into(), &"a".into()), "{report}");
    assert!(target.read("lattice_data/a.json").contains("edited"));
}

#[test]
fn what_a_pull_replaces_is_in_the_history_where_there_is_a_journal() {
    let (source, target) = (Bed::new(), Bed::new());
    target.file("lattice_data/a.json", r#"{"id": "a", "v": "here", "updated_at": 1600000000}"#);
    source.file("lattice_data/a.json", r#"{"id": "a", "v": "there", "updated_at": 1700000000}"#);
    let (from, to) = (source.serve(), target.serve());
    assert!(to.terminate(std::time::Duration::from_secs(20)).0.success());
    let report = target.run(&["pull", "--from", &from.url, "--json"]).ok_json();
    assert_eq!((&report["replaced"], &report["kept_as"]), (&1.into(), &serde_json::json!([])), "{report}");
    let number = report["overruled"][0].as_u64().unwrap().to_string();
    let to = target.serve();
    let target = target.set("FEDERATION_PORT", &to.port.to_string());
    let shown = target.run(&["conflicts", "show", &number]).ok();
    assert!(shown.contains("here") && shown.contains("ark-bed"), "{shown}");
    target.run(&["conflicts", "restore", &number]).ok();
    assert!(target.read("lattice_data/a.json").contains("here"));
}

#[test]
fn an_empty_directory_in_the_place_of_the_data_directory_is_not_filled() {
    let (source, target) = (Bed::new(), Bed::new());
    source.file("lattice_data/a.json", r#"{"id": "a"}"#);
    target.file("lattice_data/b.json", r#"{"id": "b"}"#);
    let (from, to) = (source.serve(), target.serve());
    assert!(to.terminate(std::time::Duration::from_secs(20)).0.success());
    std::fs::rename(target.path("lattice_data"), target.path("real")).unwrap();
    std::fs::create_dir(target.path("lattice_data")).unwrap();
    let refused = target.run(&["serve", "--port", "0"]).fails(1);
    assert!(refused.contains("is the disk mounted?") && refused.contains("ark-lattice adopt"), "{refused}");
    for args in [&["pull", "--from", &from.url][..], &["pull", "--from", &from.url, "--dry-run"]] {
        assert_eq!(target.run(args).fails(1), refused);
    }
    for args in [&["import", "--exact", "-"][..], &["import", "-"], &["node", "put", "-"]] {
        assert_eq!(target.run_with(args, r#"{"id": "a"}"#).fails(1), refused);
    }
    // Nor is the last backup replaced by an empty one.
    target.file("backup.ndjson", "{\"id\":\"b\"}\n");
    for args in
        [&["export", "--out", "backup.ndjson"][..], &["node", "verify"], &["node", "list"], &["node", "rm", "b"]]
    {
        assert_eq!(target.run(args).fails(1), refused, "{args:?}");
    }
    assert!(target.read("backup.ndjson").contains("\"b\""));
    assert_eq!(std::fs::read_dir(target.path("lattice_data")).unwrap().count(), 0);
}

#[test]
fn a_directory_in_the_place_of_a_file_keeps_nothing_from_being_taken() {
    for has_journal in [false, true] {
        let (source, target) = (Bed::new(), Bed::new());
        for number in 0..8 {
            let file = format!("lattice_data/n{number}.json");
            source.file(&file, &format!(r#"{{"id": "n{number}", "v": 2, "updated_at": 1700000000}}"#));
            target.file(&file, &format!(r#"{{"id": "n{number}", "v": 1, "updated_at": 1600000000}}"#));
        }
        let from = source.serve();
        if has_journal {
            assert!(target.serve().terminate(std::time::Duration::from_secs(20)).0.success());
        }
        // Later than the moment at which its file went, too.
        let soon = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 120;
        source.file("lattice_data/n5.json", &format!(r#"{{"id": "n5", "updated_at": {soon}}}"#));
        source.wait_until("the edit is seen", || {
            crate::bed::get(from.port, "/nodes").contains(&format!("\"updated_at\":{soon}"))
        });
        std::fs::remove_file(target.path("lattice_data/n5.json")).unwrap();
        std::fs::create_dir(target.path("lattice_data/n5.json")).unwrap();
        let pulled = target.run(&["pull", "--from", &from.url]);
        // A directory in the way is moved aside like a broken file.
        assert_eq!(pulled.code, 0, "{pulled:?}");
        assert!(target.path("lattice_data/.n5.json.broken").is_dir(), "{pulled:?}");
        assert!(target.read("lattice_data/n5.json").contains(&soon.to_string()), "{pulled:?}");
        for number in (0..8).filter(|number| *number != 5) {
            assert!(target.read(&format!("lattice_data/n{number}.json")).contains("1700000000"), "{number}");
        }
    }
}

#[test]
fn nodes_that_cannot_be_believed_are_refused_and_the_rest_is_taken() {
    let bed = Bed::new();
    let body = "{\"id\":\"good\",\"updated_at\":5}\n{\"id\":\"future\",\"updated_at\":99999999999}\n{\"id\":\"x\",\"x\":NaN}\n[]\n";
    let url = canned(vec![lines(4, body), total(4)]);
    let run = bed.run(&["pull", "--from", &url]);
    assert!(run.stdout.starts_with("1 added, 0 replaced, 0 kept, 3 refused"), "{run:?}");
    assert!(run.stdout.contains("refused future: it is dated") && run.stdout.contains("line 3: "), "{run:?}");
    assert!(run.stdout.contains("0 nodes only here, 3 not taken"), "{run:?}");
    assert!(run.fails(5).contains("3 nodes refused"));
    assert_eq!(bed.read("lattice_data/good.json"), "{\"id\":\"good\",\"updated_at\":5}");
    assert_eq!(std::fs::read_dir(bed.path("lattice_data")).unwrap().count(), 1);
}

#[test]
fn a_peer_that_leaves_something_out_is_caught() {
    let bed = Bed::new();
    let url = canned(vec![lines(1, "{\"id\":\"a\"}\n"), total(1)]);
    assert!(bed.run(&["pull", "--from", &url]).fails(5).contains("pull again"));
}

#[test]
fn answers_that_break_the_protocol_end_the_pull() {
    let bed = Bed::new();
    let cut = lines(2, "{\"id\":\"a\"}\n{\"id\":\"b\"}\n");
    let cut = cut[..cut.len() - 3].to_owned();
    for (answered, code, said) in [
        (lines(1, "{\"id\":\"a\"}\n{\"id\":\"b\"}\n"), 3, "announced"),
        (lines(1, "{\"id\":\"a\"}"), 3, "within a line"),
        (answer("200 OK", "Content-Type: application/json\r\n", "{}"), 3, "x-ndjson"),
        (answer("200 OK", "Content-Type: application/x-ndjson\r\n", ""), 3, "Ark-Manifest-Hash"),
        (lines(1, &"x".repeat(5 << 20)), 3, "line of over"),
        (cut, 4, "cannot be reached"),
        (answer("404 Not Found", "", "{\"detail\":\"Not Found\"}"), 3, "Not Found"),
    ] {
        let line = bed.run(&["pull", "--from", &canned(vec![answered]), "--quiet"]).fails(code);
        assert!(line.contains(said), "{said}: {line}");
    }
    bed.run(&["pull", "--from", "http://127.0.0.1:1", "--lattice", "nowhere"]).fails(1);
    bed.run(&["pull", "--from", "http://127.0.0.1:1"]).fails(4);
}

#[test]
fn a_directory_that_is_too_large_to_compare_is_said_to_be_so() {
    let source = Bed::new().set("ARK__LIMITS__SYNC_BYTES", "1000");
    source.file("lattice_data/a.json", r#"{"id": "a"}"#);
    let service = source.serve();
    let target = Bed::new();
    for number in 0..40 {
        target.file(&format!("lattice_data/n{number}.json"), &format!(r#"{{"id": "n{number}"}}"#));
    }
    let said = target.run(&["pull", "--from", &service.url]).fails(3);
    assert!(said.contains("body_too_large") && said.contains("limits.sync_bytes"), "{said}");
}

#[test]
fn pages_of_a_pull_are_compared_with_what_is_here() {
    let (source, target) = (Bed::new().set("ARK__LIMITS__PAGE_ITEMS", "3"), Bed::new());
    for number in 10..30 {
        let text = format!(r#"{{"id": "n{number}", "updated_at": 5}}"#);
        source.file(&format!("lattice_data/n{number}.json"), &text);
        if number % 2 == 0 {
            target.file(&format!("lattice_data/n{number}.json"), &text);
        }
    }
    let service = source.serve();
    let report = target.run(&["pull", "--from", &service.url, "--json"]).ok_json();
    let seen = ["added", "replaced", "unchanged", "kept", "refused"].map(|key| report[key].as_u64().unwrap());
    assert_eq!((seen, &report["in_step"]), ([10, 0, 0, 0, 0], &true.into()), "{report}");
}

/// When a file was last changed, seconds since the epoch.
fn changed_at(bed: &Bed, file: &str) -> f64 {
    let changed_at = std::fs::metadata(bed.path(file)).unwrap().modified().unwrap();
    changed_at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Makes a file look as if it had been changed so long ago.
fn age(bed: &Bed, file: &str, seconds: u64) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    std::fs::File::options().write(true).open(bed.path(file)).unwrap().set_modified(then).unwrap();
}

#[test]
fn the_newer_file_wins_by_a_pull_as_by_a_round_and_what_it_replaces_is_kept() {
    let (here, there) = (Bed::new(), Bed::new());
    // Nothing in these documents says when they were made: when their files were changed counts.
    here.file("lattice_data/older.json", r#"{"id":"older","text":"here"}"#);
    here.file("lattice_data/newer.json", r#"{"id":"newer","text":"here"}"#);
    age(&here, "lattice_data/older.json", 90_000_000);
    let service = there.serve();
    for id in ["older", "newer", "new"] {
        there.file(&format!("lattice_data/{id}.json"), &format!(r#"{{"id":"{id}","text":"there"}}"#));
    }
    there.wait_until("the service has seen it", || crate::bed::get(service.port, "/nodes").contains("\"total\":3"));
    here.file("lattice_data/newer.json", r#"{"id":"newer","text":"here, later"}"#);

    let dry = here.run(&["pull", "--from", &service.url, "--dry-run"]).ok();
    assert!(dry.starts_with("Dry run: 1 added, 1 replaced, 1 kept"), "{dry}");
    assert!(!here.path("lattice_data/.ark-overruled").exists());
    let pulled = here.run(&["pull", "--from", &service.url]).ok();
    assert!(pulled.starts_with("1 added, 1 replaced, 1 kept"), "{pulled}");
    let kept = ".ark-overruled/older.json~5aa08894";
    assert!(pulled.contains(&format!("the replaced version is kept as {kept}")), "{pulled}");
    assert_eq!(here.read(&format!("lattice_data/{kept}")), r#"{"id":"older","text":"here"}"#);
    assert!(here.read("lattice_data/older.json").contains("there"));
    assert!(here.read("lattice_data/newer.json").contains("here, later"));
    // Each file is as old as its version, so that a service that starts here dates it alike.
    let listed = crate::bed::get(service.port, "/nodes");
    let listed: serde_json::Value = serde_json::from_str(listed.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    for node in listed["nodes"].as_array().unwrap().iter().filter(|node| node["id"] != "newer") {
        let file = format!("lattice_data/{}.json", node["id"].as_str().unwrap());
        assert!((changed_at(&here, &file) - node["updated_at"].as_f64().unwrap()).abs() < 1e-5, "{node}");
    }
    // What is kept is no node, and a second loser does not take its place.
    assert_eq!(here.run(&["node", "verify"]).ok(), "3 nodes, every file sound\n");
    here.file("lattice_data/older.json", r#"{"id":"older","text":"here"}"#);
    age(&here, "lattice_data/older.json", 90_000_000);
    let again = here.run(&["pull", "--from", &service.url, "--json"]).ok_json();
    assert_eq!((&again["replaced"], &again["kept_as"][0]), (&1.into(), &kept.into()), "the same bytes are kept once");
    here.file("lattice_data/older.json", r#"{"id":"older","text":"else"}"#);
    age(&here, "lattice_data/older.json", 90_000_000);
    here.run(&["pull", "--from", &service.url]).ok();
    assert_eq!(std::fs::read_dir(here.path("lattice_data/.ark-overruled")).unwrap().count(), 2);
}

#[test]
fn a_version_whose_sender_does_not_date_it_replaces_nothing() {
    let bed = Bed::new();
    bed.file("lattice_data/dated.json", r#"{"id":"dated","text":"here","updated_at":1700000000}"#);
    bed.file("lattice_data/undated.json", r#"{"id":"undated","text":"here"}"#);
    bed.file("lattice_data/old.json", r#"{"id":"old","text":"here"}"#);
    for file in ["lattice_data/undated.json", "lattice_data/old.json"] {
        std::fs::File::options()
            .write(true)
            .open(bed.path(file))
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    }
    // A service that does not know of versions sends nodes alone.
    let body = "{\"id\":\"dated\",\"text\":\"z\"}\n{\"id\":\"undated\",\"text\":\"z\"}\n{\"id\":\"new\"}\n\
                {\"id\":\"old\",\"text\":\"there\",\"updated_at\":\"2025-01-01T00:00:00\"}\n";
    let pulled = bed.run(&["pull", "--from", &canned(vec![lines(4, body), total(4)]), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&pulled.stdout).unwrap();
    assert_eq!(
        (&report["added"], &report["replaced"], &report["kept"]),
        (&1.into(), &1.into(), &2.into()),
        "{pulled:?}"
    );
    assert!(
        bed.read("lattice_data/undated.json").contains("here") && bed.read("lattice_data/dated.json").contains("here")
    );
    assert!(bed.read("lattice_data/old.json").contains("there"));
    assert!((changed_at(&bed, "lattice_data/old.json") - 1_735_689_600.0).abs() < 1e-5);
    assert!(changed_at(&bed, "lattice_data/new.json") > 1_735_689_600.0);
}

#[test]
fn the_newer_document_is_not_replaced_however_its_time_is_written() {
    let (here, there) = (Bed::new(), Bed::new());
    for (number, (_, new, old)) in (1..).zip(crate::times::PAIRS) {
        let file = format!("lattice_data/{number}.json");
        here.file(&file, &crate::times::document(&number.to_string(), "NEW", new));
        there.file(&file, &crate::times::document(&number.to_string(), "OLD", old));
    }
    let service = there.serve();
    let report = here.run(&["pull", "--from", &service.url, "--json"]).ok_json();
    assert_eq!((&report["kept"], &report["replaced"]), (&6.into(), &0.into()), "{report}");
}
