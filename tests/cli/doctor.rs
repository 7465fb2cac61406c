use crate::{
    bed::{Bed, answer, canned},
    federation::Instance,
};
use ark_lattice::{
    lattice::{
        Lattice, NodeDocument, Precondition,
        directory::{CaseSensitivity, DirectoryLattice, DirectoryOptions, GATHER_INTERVAL, VANISH_GRACE},
    },
    types::{Limits, SystemClock, TestClock},
};
use serde_json::Value;
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

/// The answer with `--json`, and the exit code.
fn examine(bed: &Bed, args: &[&str]) -> (i32, Value) {
    let run = bed.run(&[&["doctor", "--json"], args].concat());
    (run.code, serde_json::from_str(&run.stdout).unwrap())
}

/// Grade, what was found and what to do, of the gravest finding of this check.
fn of(report: &Value, check: &str) -> (String, String, String) {
    let all = report["findings"].as_array().unwrap();
    let grade = |finding: &&Value| ["ok", "warn", "fail"].iter().position(|word| finding["grade"] == *word).unwrap();
    let found = all.iter().filter(|finding| finding["check"] == check).max_by_key(grade);
    let found = found.unwrap_or_else(|| panic!("no finding {check} in {report}"));
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("grade"), text("found"), text("next"))
}

/// A bed whose port is free.
fn bed() -> Bed {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Bed::new().set("FEDERATION_PORT", &port.to_string())
}

#[test]
fn a_good_installation_is_well_and_nothing_is_changed() {
    let bed = bed().set("ARK_ADMIN_TOKEN", "a-long-enough-token");
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    let (code, report) = examine(&bed, &[]);
    assert_eq!((code, &report["ok"], &report["failed"]), (0, &Value::Bool(true), &Value::from(0)), "{report}");
    // Nothing to do on a new installation: `serve` makes the key.
    let findings = report["findings"].as_array().unwrap();
    // The machine's own room is what it is.
    let warned = findings.iter().filter(|it| it["grade"] == "warn" && it["code"] != "lattice_room_little").count();
    assert_eq!(warned, 0, "{report}");
    assert!(of(&report, "key").0 == "ok" && of(&report, "key").1.contains("serve makes one"), "{report}");
    assert!(of(&report, "lattice").1.contains("1 node "), "{report}");
    assert_eq!(of(&report, "port").0, "ok");
    assert!(!bed.path("ark_state").exists(), "it only looks");
    assert_eq!(fs::read_dir(bed.path("lattice_data")).unwrap().count(), 1);

    bed.run(&["keygen"]).ok();
    let (_, report) = examine(&bed, &[]);
    assert_eq!(of(&report, "key").0, "ok");
    let text = bed.run(&["doctor"]).ok();
    assert!(text.contains("ok    key") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn descriptors_are_compared_with_what_connections_and_files_take() {
    let bed = bed().set("ARK__SERVER__WORKERS", "2").set("ARK__SERVER__MAX_CONNECTIONS", "100");
    let found = |bed: &Bed| of(&examine(bed, &[]).1, "descriptors");
    let enough = found(&bed);
    assert!(enough.0 == "ok" && enough.1.contains("enough for 200 connections"), "{enough:?}");
    let bed = bed.set("ARK__SERVER__MAX_CONNECTIONS", "1000000");
    let few = found(&bed);
    assert!(few.0 == "warn" && few.1.contains("2000000") && few.1.ends_with("which takes 2008192"), "{few:?}");
    assert!(few.2.contains("ulimit -n 2008192") && few.2.contains("LimitNOFILE=2008192"), "{few:?}");
}

#[test]
fn what_is_wrong_is_named_with_what_to_type() {
    let bed = bed().set("REDIS_URL", "redis://user:hidden-word@127.0.0.1:1/0");
    bed.run(&["keygen"]).ok();
    fs::set_permissions(bed.path("ark_state/identity.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(bed.path("ark_state"), fs::Permissions::from_mode(0o755)).unwrap();
    bed.file("lattice_data/broken.json", "{");
    bed.file("lattice_data/ahead.json", r#"{"id": "ahead", "updated_at": "2400-01-01T00:00:00Z"}"#);
    let (code, report) = examine(&bed, &[]);
    assert_eq!(code, 1);
    for (check, grade, found, next) in [
        ("key", "fail", "chmod 600", "chmod 600"),
        ("state", "warn", "mode 755", "chmod 700"),
        ("files", "warn", "broken.json", "ark-lattice node verify"),
        ("dates", "warn", "ahead", "updated_at"),
        ("registry", "fail", "refused", "redis-cli"),
    ] {
        let (was, said, then) = of(&report, check);
        assert!(was == grade && said.contains(found) && then.contains(next), "{check}: {was}: {said} → {then}");
    }
    assert!(!report.to_string().contains("hidden-word"), "{report}");
    let said = bed.run(&["doctor"]);
    assert!(said.code == 1 && said.stdout.contains("chmod 700") && !said.stdout.contains("hidden-word"), "{said:?}");
}

#[test]
fn settings_that_cannot_be_read_are_the_only_finding() {
    let bed = bed().set("ARK__SERVER__PROT", "1");
    let (code, report) = examine(&bed, &[]);
    assert_eq!((code, report["findings"].as_array().unwrap().len()), (1, 1));
    assert!(of(&report, "settings").1.contains("prot"), "{report}");
}

#[test]
fn a_lattice_that_is_not_there_says_how_to_make_it() {
    let bed = bed();
    fs::remove_dir(bed.path("lattice_data")).unwrap();
    let (code, report) = examine(&bed, &[]);
    assert!(code == 1 && of(&report, "lattice").2.starts_with("mkdir -p "), "{report}");
}

#[test]
fn a_running_service_is_recognised_and_looked_at_from_outside() {
    let bed = Bed::new();
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    let (code, report) = examine(&bed, &["--url", &service.url]);
    assert_eq!(code, 0, "{report}");
    assert!(of(&report, "service").1.contains("healthy"), "{report}");
    assert!(of(&report, "state").1.contains("in use"), "{report}");
    assert_eq!((of(&report, "proxy").0.as_str(), of(&report, "bodies").0.as_str()), ("ok", "ok"));
    assert_eq!((of(&report, "tls").0.as_str(), of(&report, "metrics").0.as_str()), ("warn", "warn"));
    assert_eq!(of(&report, "clock").0, "ok");

    bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
    bed.wait_until("the node is seen", || crate::bed::get(service.port, "/nodes/a").starts_with("HTTP/1.1 200"));
    bed.file("lattice_data/a.json", "{");
    bed.wait_until("it is broken", || crate::bed::get(service.port, "/health").contains("\"unavailable\":1"));
    fs::remove_file(bed.path("lattice_data/.ark-lattice")).unwrap();
    let (code, report) = examine(&bed, &[]);
    let (_, found, next) = of(&report, "service");
    assert!(found.contains("1 nodes without their contents") && next.contains("node verify"), "{report}");
    assert!(code == 1 && of(&report, "marker").1.contains("is the disk mounted?"), "{report}");
}

/// The state of a service whose clock was an hour ahead when this node was written.
fn written_ahead(bed: &Bed, id: &str) {
    let now = SystemClock::shared().now();
    let options = DirectoryOptions {
        directory: bed.path("lattice_data"),
        journal: bed.path("ark_state/lattice.redb"),
        limits: Limits::default(),
        clock: TestClock::at(now.plus(Duration::from_secs(3600))),
        gather_interval: GATHER_INTERVAL,
        vanish_grace: VANISH_GRACE,
        rescan_interval: Duration::from_secs(3600),
        case: CaseSensitivity::Probe,
        manifest: None,
    };
    let write = async {
        let lattice = DirectoryLattice::open(options).unwrap();
        bed.wait_until("the index is built", || lattice.status().ready);
        let node = NodeDocument::parse(format!(r#"{{"id":"{id}"}}"#).into(), 64).unwrap();
        lattice.put(node, Precondition::None).await.unwrap();
        lattice.close().await;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(write);
}

#[test]
fn a_node_that_a_wrong_clock_dated_ahead_is_named_with_the_command_that_dates_it_now() {
    let bed = Bed::new();
    fs::create_dir_all(bed.path("lattice_data")).unwrap();
    written_ahead(&bed, "early");
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    let (_, report) = examine(&bed, &[]);
    let (grade, found, next) = of(&report, "dates");
    assert!(grade == "warn" && found.contains("early") && next.contains("ark-lattice node accept"), "{report}");
    bed.run(&["node", "accept", "early"]).ok();
    let (_, report) = examine(&bed, &[]);
    assert!(!report.to_string().contains("dated more than"), "{report}");
}

#[test]
fn another_program_on_the_port_and_a_wrong_address_fail() {
    let taken = canned(vec![answer("200 OK", "Content-Type: text/html\r\n", "<h1>Hello</h1>")]);
    let port = taken.rsplit(':').next().unwrap().to_owned();
    let moved = answer("301 Moved Permanently", "Location: https://elsewhere.example/\r\n", "");
    let elsewhere = canned(vec![moved]);
    let bed = Bed::new().set("FEDERATION_PORT", &port);
    let (code, report) = examine(&bed, &["--url", &elsewhere]);
    assert_eq!(code, 1);
    assert!(of(&report, "port").1.contains("no ark-lattice"), "{report}");
    assert!(of(&report, "proxy").2.contains("elsewhere.example"), "{report}");
}

/// The grade and the next step of the finding with this code.
fn code(report: &Value, code: &str) -> (String, String) {
    let all = report["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["code"] == code).unwrap_or_else(|| panic!("no {code} in {report}"));
    (found["grade"].as_str().unwrap().to_owned(), found["next"].as_str().unwrap_or_default().to_owned())
}

fn has(report: &Value, code: &str) -> bool {
    report["findings"].as_array().unwrap().iter().any(|finding| finding["code"] == code)
}

#[test]
fn the_service_of_the_state_directory_is_examined_at_whatever_port_it_listens() {
    let bed = bed();
    let service = bed.serve();
    let (exit, report) = examine(&bed, &[]);
    assert_eq!(exit, 0, "{report}");
    assert!(of(&report, "service").1.contains(&service.url) && of(&report, "state").1.contains("in use"), "{report}");
    // Nothing else is called free beside it.
    assert!(!report.to_string().contains("is free"), "{report}");
    assert_eq!(code(&report, "port_changed").0, "warn");
}

#[test]
fn the_port_and_the_directory_of_another_instance_are_not_taken_for_those_of_this_one() {
    let laptop = Instance::start("laptop", &[]);
    let port = laptop.service.port.to_string();
    let bed =
        Bed::new().set("FEDERATION_PORT", &port).set("LATTICE_PATH", laptop.bed.path("lattice_data").to_str().unwrap());
    let (exit, report) = examine(&bed, &[]);
    assert_eq!((exit, code(&report, "port_of_another_instance").0.as_str()), (1, "fail"), "{report}");
    assert!(of(&report, "port").1.contains("laptop"), "{report}");
    assert_eq!(code(&report, "lattice_in_use").0, "fail");
    assert!(!has(&examine(&laptop.bed, &[]).1, "lattice_in_use"));
}

#[test]
fn a_changed_audit_log_and_the_journal_of_another_directory_fail_as_at_a_start() {
    let bed = bed();
    drop(bed.serve().terminate(Duration::from_secs(10)));
    bed.file("ark_state/audit.log", "changed\n");
    let (exit, report) = examine(&bed, &[]);
    assert_eq!((exit, code(&report, "audit_damaged").0.as_str()), (1, "fail"), "{report}");
    assert!(bed.run(&["serve"]).code != 0);
    fs::remove_file(bed.path("ark_state/audit.log")).unwrap();
    // An empty lattice may move; one with nodes is recognised by its marker.
    bed.file("lattice_data/a.json", r#"{"id":"a"}"#);
    drop(bed.serve().terminate(Duration::from_secs(10)));
    fs::create_dir(bed.path("elsewhere")).unwrap();
    let bed = bed.set("LATTICE_PATH", "elsewhere");
    assert_eq!(code(&examine(&bed, &[]).1, "marker_mismatch").0, "fail");
}

#[test]
fn what_waits_between_instances_is_found_with_the_command_that_settles_it() {
    let strict = [("ARK__TRUST__REQUIRE_VERIFIED", "true")];
    let (a, b) = (Instance::start("a", &strict), Instance::start("b", &[]));
    for (instance, at, text) in [(&a, 2000, "a"), (&b, 1000, "b")] {
        let node = format!(r#"{{"id": "x", "updated_at": {at}, "text": "{text}"}}"#);
        instance.bed.file("lattice_data/x.json", &node);
        instance.sees(1);
    }
    b.bed.file("lattice_data/y.json", r#"{"id":"y"}"#);
    b.sees(2);
    b.federation(&["add-peer", a.url()]).ok();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    b.federation(&["add-peer", &url]).ok();
    b.federation(&["sync"]);
    let (exit, report) = examine(&b.bed, &[]);
    assert_eq!(exit, 0, "warnings alone: {report}");
    let (_, next) = code(&report, "peer_connection_refused");
    assert!(next.contains(&format!("sync --peer {url}")), "{report}");
    assert!(code(&report, "peer_refused_not_trusted").1.contains("federation accept b"), "{report}");
    assert_eq!(code(&report, "auto_sync_off").1, "ark-lattice federation auto-sync --start");
    b.federation(&["stop"]).ok();
    assert_eq!(code(&examine(&b.bed, &[]).1, "federation_stopped").1, "ark-lattice federation start");
    b.federation(&["start"]).ok();

    let (_, report) = examine(&a.bed, &[]);
    let words: Vec<String> = code(&report, "peers_pending").1.split(' ').skip(1).map(str::to_owned).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert!(a.bed.run(&words).ok().contains('b'));
    a.federation(&["accept", "b"]).ok();
    b.federation(&["sync", "--peer", a.url()]).ok();
    let (_, report) = examine(&b.bed, &[]);
    assert_eq!(code(&report, "conflicts_open").1, "ark-lattice conflicts list");
    assert!(!has(&report, "peer_refused_not_trusted"), "{report}");
    b.bed.run(&["conflicts", "dismiss", "--all"]).ok();
    assert!(!has(&examine(&b.bed, &[]).1, "conflicts_open"));
}
