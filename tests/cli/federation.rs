//! `federation …`: a running service, watched and switched from the command line, with real peers.

use crate::{
    bed::{Bed, Run, Service, answer, canned},
    certificates::{Authority, PairFiles},
    shapes::answers_as_its_help_shows,
    terminals::Terminal,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

/// A service beside its folder. Commands there find it by their settings, as a person's would.
pub struct Instance {
    pub bed: Bed,
    pub service: Service,
}

impl Instance {
    pub fn start(name: &str, set: &[(&str, &str)]) -> Self {
        Self::start_in(Bed::new(), 0, name, set)
    }

    /// As [`Self::start`], with the trust mode of a service that has no setting for it.
    pub fn start_with_default_trust(name: &str, set: &[(&str, &str)]) -> Self {
        Self::start_with_default_trust_on(0, name, set)
    }

    /// As [`Self::start_with_default_trust`], on this port.
    pub fn start_with_default_trust_on(port: u16, name: &str, set: &[(&str, &str)]) -> Self {
        Self::start_in(Bed::new().with_default_trust(), port, name, set)
    }

    fn start_in(bed: Bed, port: u16, name: &str, set: &[(&str, &str)]) -> Self {
        let bed = set.iter().fold(bed.set("ARK_NODE_ID", name), |bed, (key, value)| bed.set(key, value));
        let service = bed.serve_on(port);
        let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
        Self { bed, service }
    }

    pub fn federation(&self, args: &[&str]) -> Run {
        self.bed.run(&[&["federation"], args].concat())
    }

    /// Waits until the service has seen what was written beside it.
    pub fn sees(&self, nodes: u64) {
        self.bed.wait_until("the service has seen it", || {
            self.federation(&["status", "--json"]).ok_json()["lattice"]["nodes"] == nodes
        });
    }

    pub fn url(&self) -> &str {
        &self.service.url
    }
}

/// An address at which nobody answers.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_peer_is_added_exchanged_with_watched_and_removed() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    a.bed.run_with(&["node", "put", "-"], r#"{"id":"of-a","type":"note"}"#).ok();
    a.sees(1);
    let empty = b.federation(&["list-peers"]);
    assert!(empty.stderr.contains("federation add-peer URL") && empty.code == 0, "{empty:?}");
    let synced = b.federation(&["sync"]);
    assert!(synced.stderr.contains("no peers") && synced.code == 0, "{synced:?}");

    let url = a.url();
    let added = b.federation(&["add-peer", url, "--type", "note", "--id", "of-*", "--tag", "x", "--priority"]).ok();
    assert!(added.starts_with(&format!("added {url}; 1 peer\nok    {url}  ark-a answers, key SHA256:")), "{added}");
    let shown = b.federation(&["status"]).ok();
    let row = shown.lines().last().unwrap();
    assert!(row.starts_with(url) && row.contains("  new  ") && row.contains("  never"), "{shown}");
    assert!(row.contains("type=note id=of-* tag=x priority"), "{shown}");
    assert!(b.federation(&["add-peer", url, "--mirror"]).ok().starts_with("changed "));
    assert!(b.federation(&["add-peer", url, "--direction", "pull"]).ok().starts_with("unchanged "));
    let options = &b.federation(&["list-peers", "--json"]).ok_json()["peers"][0];
    assert_eq!((&options["direction"], options["filter"]["types"].as_array().unwrap().len()), (&"pull".into(), 0));
    b.federation(&["add-peer", url, "--mirror", "--direction", "push"]).fails(2);

    let synced = b.federation(&["sync"]).ok();
    assert!(synced.starts_with(&format!("ok    {url}")) && synced.contains("1 received"), "{synced}");
    assert!(b.bed.path("lattice_data/of-a.json").is_file());
    let shown = b.federation(&["status"]).ok();
    for expected in
        ["ARK-local-ark-b", "  key         SHA256:", "mode        p2p", "1 node, no conflicts", "1 received"]
    {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let row = shown.lines().last().unwrap();
    assert!(["ark-a", "  online  ", "  pull  "].iter().all(|word| row.contains(word)), "{shown}");
    assert!(row.contains("  now") || row.contains(" s ago"), "{shown}");
    assert!(!shown.contains('\u{1b}'));
    let listed = b.federation(&["list-peers"]);
    assert!(listed.stdout.lines().last() == Some(row) && listed.stderr.contains("1 peer, 1 online"), "{listed:?}");

    let history = b.federation(&["history", "--peer", url]).ok();
    assert!(history.lines().count() == 2 && history.contains(" ms "), "{history}");
    assert_eq!(b.federation(&["history", "--limit", "1", "--json"]).ok_json()["count"], 1);
    let none = b.federation(&["history", "--peer", "http://127.0.0.1:1"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("Nothing was exchanged"), "{none:?}");

    assert_eq!(b.federation(&["remove-peer", url]).ok(), format!("removed {url}; 0 peers\n"));
    let said = b.federation(&["remove-peer", url]).fails(3);
    assert!(said.contains("peer_not_found") && said.contains("federation list-peers"), "{said}");
    assert!(b.federation(&["add-peer", "ftp://x"]).fails(3).contains("invalid_peer"));
}

#[test]
fn nodes_that_are_too_large_are_counted_with_what_to_raise_and_the_others_are_exchanged() {
    let a = Instance::start("ark-a", &[]);
    let mut b = Instance::start("ark-b", &[("ARK__LIMITS__NODE_BYTES", "10000")]);
    for (id, bytes) in [("large", 100_000), ("small", 10)] {
        let text = format!("{{\"id\": \"{id}\", \"content\": \"{}\"}}", "x".repeat(bytes));
        a.bed.file(&format!("lattice_data/{id}.json"), &text);
    }
    a.sees(2);
    b.federation(&["add-peer", a.url()]).ok();
    let synced = b.federation(&["sync"]).ok();
    assert!(synced.starts_with(&format!("warn  {}", a.url())) && synced.contains("1 received"), "{synced}");
    assert!(synced.contains("1 node too large here") && synced.contains("raise limits.node_bytes here"), "{synced}");
    let log = b.service.log_line();
    assert!(["large", "100", "limits.node_bytes", "ark-a"].iter().all(|it| log.contains(it)), "{log}");
    let round = &b.federation(&["sync", "--json"]).ok_json()["result"][0];
    assert_eq!((&round["outcome"], &round["tooLarge"]["here"]), (&"unavailable".into(), &1.into()), "{round}");
    assert_eq!(b.federation(&["history", "--json"]).ok_json()["rounds"][0]["tooLarge"]["here"], 1);

    a.federation(&["add-peer", b.url()]).ok();
    let synced = a.federation(&["sync"]).ok();
    assert!(synced.contains("1 node too large there") && synced.contains("limits.sync_bytes"), "{synced}");
}

#[test]
fn what_is_switched_stays_switched() {
    let a = Instance::start("ark-a", &[]);
    assert!(a.federation(&["start"]).ok().contains("runs on port"));
    assert!(a.federation(&["stop"]).ok().starts_with("Federation server stopped"));
    let Instance { bed, service } = a;
    assert!(service.terminate(Duration::from_secs(30)).0.success());
    // With a free port again: the service takes another one.
    let bed = bed.set("FEDERATION_PORT", "0");
    let service = bed.serve();
    let a = Instance { bed: bed.set("FEDERATION_PORT", &service.port.to_string()), service };
    assert!(a.federation(&["status"]).ok().contains("running     no; start it with: ark-lattice federation start"));
    let said = a.federation(&["sync", "--peer", "http://127.0.0.1:1"]).fails(4);
    assert!(said.contains("federation_stopped") && said.contains("ark-lattice federation start"), "{said}");
    let started = a.federation(&["start"]).ok();
    assert_eq!(started, format!("Federation server started on port {}\n", a.service.port));

    let started = a.federation(&["auto-sync", "--start", "--interval", "90s"]).ok();
    assert_eq!(started, "Auto-sync started: at every change, and every 90 s\n");
    assert!(a.federation(&["status"]).ok().contains("auto-sync   at every change, and every 90 s"));
    assert!(a.federation(&["auto-sync", "--start", "--interval", "1ms"]).fails(3).contains("intervalMs"));
    assert!(a.federation(&["auto-sync", "--stop"]).ok().contains("ark-lattice federation sync"));
    assert_eq!(a.federation(&["status", "--json"]).ok_json()["info"]["autoSync"], false);
    for wrong in [&["auto-sync"][..], &["auto-sync", "--start", "--stop"], &["auto-sync", "--stop", "--interval", "1s"]]
    {
        a.federation(wrong).fails(2);
    }
}

#[test]
fn a_peer_that_fails_is_told_of_and_does_not_keep_the_others() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    let gone = nobody();
    b.federation(&["add-peer", a.url()]).ok();
    b.federation(&["add-peer", &gone]).ok();
    let run = b.federation(&["sync"]);
    assert!(run.stdout.contains(&format!("ok    {}", a.url())), "{run:?}");
    assert!(
        run.stdout.contains(&format!("fail  {gone}"))
            && run.stdout.contains("→ check the port, or start the service. "),
        "{run:?}"
    );
    // Once: with the peer.
    assert_eq!(run.stdout.matches("cannot be reached").count(), 1, "{run:?}");
    assert_eq!(run.fails(4), "error: 1 of 2 peers failed; what to do stands with each\n");
    let run = b.federation(&["sync", "--json"]);
    let (printed, said): (Value, Value) =
        (serde_json::from_str(&run.stdout).unwrap(), serde_json::from_str(&run.stderr).unwrap());
    assert_eq!((printed["result"].as_array().unwrap().len(), &said["exit_code"]), (2, &4.into()));
    assert!(b.federation(&["sync", "--peer", a.url(), "--quiet"]).ok().is_empty());
    let shown = b.federation(&["status"]).ok();
    let row = shown.lines().find(|line| line.starts_with(&gone)).unwrap();
    assert!(row.contains("  offline  ") && shown.contains(&format!("{gone}: cannot be reached")), "{shown}");
    assert!(b.federation(&["sync", "--peer", "http://127.0.0.1:1"]).fails(3).contains("peer_not_found"));

    // This instance itself is no peer.
    b.federation(&["remove-peer", &gone]).ok();
    let said = b.federation(&["add-peer", b.url()]).fails(3);
    assert!(said.contains("own_address") && said.contains("leads back to this instance; it was not added"), "{said}");
}

#[test]
fn own_broken_files_and_a_directory_that_is_away_are_named_by_sync_and_status() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    a.bed.file("lattice_data/n.json", r#"{"id": "n"}"#);
    a.sees(1);
    a.federation(&["add-peer", b.url()]).ok();
    assert!(a.federation(&["sync"]).ok().contains("in step"));
    a.bed.file("lattice_data/never.json", "{half");
    let lattice = || {
        let status: serde_json::Value = serde_json::from_str(&a.federation(&["status", "--json"]).stdout).unwrap();
        status["lattice"].clone()
    };
    a.bed.wait_until("the broken file is seen", || lattice()["brokenFiles"] == 1);
    let said = a.federation(&["sync"]).ok();
    assert!(said.contains("in step") && said.contains("warn") && said.contains("1 broken file in"), "{said}");
    assert!(said.contains("ark-lattice doctor"), "{said}");
    let answer = a.federation(&["sync", "--json"]).ok_json();
    assert_eq!(answer["lattice"], serde_json::json!({"status": "ok", "brokenFiles": 1}));
    assert!(a.federation(&["status"]).ok().contains("1 broken file; named by: ark-lattice doctor"));

    std::fs::rename(a.bed.path("lattice_data"), a.bed.path("away")).unwrap();
    std::fs::create_dir(a.bed.path("lattice_data")).unwrap();
    for command in ["sync", "status"] {
        let said = a.federation(&[command]);
        assert!(said.code == 1 && !said.stdout.contains("in step"), "{said:?}");
        assert!(said.stderr.contains("degraded") && said.stderr.contains("is the disk mounted?"), "{said:?}");
    }
    assert_eq!(lattice()["status"], "failing");
    b.federation(&["add-peer", a.url()]).ok();
    let run = b.federation(&["sync"]);
    assert!(
        run.stdout.contains("lattice_unavailable") && run.stdout.contains("on that machine: ark-lattice doctor"),
        "{run:?}"
    );
    run.fails(4);
}

#[test]
fn many_deletions_are_confirmed_by_name() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    let nodes: String = (0..30).map(|number| format!("{{\"id\":\"n{number}\"}}\n")).collect();
    let count = |instance: &Instance| instance.federation(&["status", "--json"]).ok_json()["lattice"]["nodes"].clone();
    a.bed.run_with(&["import", "-"], &nodes).ok();
    a.bed.wait_until("the service has seen them", || count(&a) == 30);
    b.federation(&["add-peer", a.url(), "--mirror"]).ok();
    b.federation(&["sync"]).ok();
    for number in 0..20 {
        std::fs::remove_file(a.bed.path(&format!("lattice_data/n{number}.json"))).unwrap();
    }
    a.bed.wait_until("the service has seen that they are gone", || count(&a) == 10);
    let said = b.federation(&["sync"]).fails(5);
    let next = format!("ark-lattice federation sync --peer {} --confirm-deletions", a.url());
    assert!(said.contains("20 deletions wait here") && said.contains(&next), "{said}");
    assert_eq!(count(&b), 30);
    let shown = b.federation(&["status"]).ok();
    assert!(shown.contains("20 deletions of ark-a wait here") && shown.contains("confirm-deletions ark-a"), "{shown}");
    let listed = b.federation(&["deletions", a.url(), "--json"]).ok_json();
    assert_eq!((&listed["total"], &listed["deletions"][0]["from"]), (&20.into(), &"ark-a".into()));
    let typo = b.federation(&["confirm-deletions", "ark-typo"]).fails(3);
    assert!(typo.contains("no_deletions_wait") && typo.contains("federation confirm-deletions ark-a"), "{typo}");
    let kept = b.federation(&["refuse-deletions"]).ok();
    let both_ways = format!("ark-lattice federation add-peer {} --direction both", a.url());
    assert!(kept.contains("20 nodes kept; they stay here alone") && kept.contains(&both_ways), "{kept}");
    assert!(b.federation(&["confirm-deletions"]).fails(3).contains("no deletions wait"));
    // Refused and given back by hand, they are deleted anew.
    let said = b.federation(&["sync"]).fails(5);
    assert!(said.contains("20 nodes newer here") && said.contains(&both_ways), "{said}");
    let printed: Value = serde_json::from_str(&b.federation(&["sync", "--json"]).stdout).unwrap();
    let outcome = &printed["result"][0]["outcome"];
    assert_eq!((&printed["status"], outcome), (&"differs".into(), &"diverged".into()));
    let shown = b.federation(&["status"]).ok();
    assert!(shown.contains("one way only; when last compared: 20 nodes newer here"), "{shown}");
    a.bed.run_with(&["import", "-"], &nodes).ok();
    a.bed.wait_until("they are back", || count(&a) == 30);
    b.federation(&["sync"]).ok();
    for number in 0..20 {
        std::fs::remove_file(a.bed.path(&format!("lattice_data/n{number}.json"))).unwrap();
    }
    a.bed.wait_until("they are gone again", || count(&a) == 10);
    b.federation(&["sync"]).fails(5);
    let words: Vec<&str> = next.split(' ').skip(2).collect();
    b.federation(&words).ok();
    assert_eq!(count(&b), 10);
}

#[test]
fn a_service_that_is_not_there_or_not_ours_is_said_in_one_line() {
    let bed = Bed::new().set("FEDERATION_PORT", nobody().rsplit(':').next().unwrap());
    for args in [
        &["federation", "status"][..],
        &["federation", "sync"],
        &["federation", "status", "--watch"],
        &["conflicts", "list"],
    ] {
        let said = bed.run(args).fails(4);
        assert!(
            said.contains("no service answers at http://127.0.0.1:") && said.contains("ark-lattice serve"),
            "{said}"
        );
    }
    let stranger = canned(vec![answer("200 OK", "", "{}"), answer("404 Not Found", "", "no")]);
    assert!(bed.run(&["federation", "status", "--url", &stranger]).fails(3).contains("does not answer as"));
    bed.run(&["federation", "status", "--url", &stranger]).fails(3);
    let unset = bed.set("FEDERATION_PORT", "0").run(&["federation", "status"]).fails(1);
    assert!(unset.contains("--url"), "{unset}");
}

#[test]
fn the_token_comes_from_the_settings_and_goes_to_nobody_else_in_clear_text() {
    let a = Instance::start("ark-a", &[("ARK_ADMIN_TOKEN", "the-operators-token-of-the-tests")]);
    a.federation(&["status"]).ok();
    let stranger = Bed::new();
    let said = stranger.run(&["federation", "status", "--url", a.url()]).fails(3);
    assert!(said.contains("operator_token_required") && said.contains("set ARK_ADMIN_TOKEN"), "{said}");
    let stranger = stranger.set("ARK_ADMIN_TOKEN", "another-token-of-the-tests");
    assert!(stranger.run(&["federation", "stop", "--url", a.url()]).fails(3).contains("another one"));
    // Leads to this machine, but is not known to: nothing says who else could read it.
    let elsewhere = format!("http://127.1:{}", a.service.port);
    let said = a.federation(&["status", "--url", &elsewhere]).fails(3);
    assert!(said.contains("not sent in clear text") && said.contains("https://"), "{said}");
}

#[test]
fn a_service_on_tls_under_a_prefix_is_found_by_its_settings() {
    let authority = Authority::new();
    let bed = Bed::new().set("ARK__SERVER__TLS_CERTIFICATE", "tls.crt").set("ARK__SERVER__TLS_KEY", "tls.key");
    let bed =
        bed.set("ARK__SERVER__BASE_PATH", "/tools/ark").set("ARK_ADMIN_TOKEN", "the-operators-token-of-the-tests");
    let _files = PairFiles::in_folder(&bed.path("."), &authority.issue(1, 2040));
    bed.file("ca.pem", &authority.pem);
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    assert!(bed.run(&["federation", "status"]).ok().contains("ARK-local-ark-bed"));
    let named = ["federation", "status", "--url", &service.url];
    assert!(bed.run(&named).fails(4).contains("certificate"));
    bed.run(&[&named[..], &["--ca-file", "ca.pem"]].concat()).ok();
}

#[test]
fn what_is_found_on_the_network_comes_with_the_command_that_accepts_it() {
    let bed = Bed::new();
    let found = r#"{"status":"ok","count":3,"found":[{"url":"http://192.0.2.1:9000","nodeId":"pi","publicKey":null,"instanceType":"pi","via":"mdns","known":false,"accepted":false},{"url":"http://192.0.2.2:9000","nodeId":null,"publicKey":null,"instanceType":null,"via":"scan","known":true,"accepted":false},{"url":"http://192.0.2.3:9000","nodeId":"c","publicKey":null,"instanceType":"cloud","via":"registry","known":false,"accepted":true}]}"#;
    let empty = r#"{"status":"ok","found":[],"count":0}"#;
    let url = canned([found, found, empty].map(|body| answer("200 OK", "", body)).to_vec());
    let run = |more: &[&str]| bed.run(&[&["federation", "discover", "--url", &url], more].concat());
    let shown = run(&["--subnet", "192.0.2.0/30", "--timeout", "1500ms", "--accept"]).ok();
    assert!(
        shown.contains("To take them as peers:\n  ark-lattice federation add-peer http://192.0.2.1:9000\n"),
        "{shown}"
    );
    assert_eq!(shown.matches("add-peer").count(), 1, "{shown}");
    for words in [["192.0.2.1", "new"], ["192.0.2.2", "known"], ["192.0.2.3", "accepted"]] {
        assert!(shown.lines().any(|line| words.iter().all(|word| line.contains(word))), "{shown}");
    }
    let printed = answers_as_its_help_shows(&bed, &["federation", "discover"], &["--url", &url]);
    assert_eq!(printed["count"], 3);
    assert!(run(&[]).stderr.contains("discovery.scan_subnets"));

    // A real one that no setting lets look anywhere.
    let a = Instance::start("ark-a", &[]);
    let none = a.federation(&["discover", "--timeout", "1s"]);
    assert!(none.code == 0 && none.stdout.is_empty() && none.stderr.contains("Nobody was found"), "{none:?}");
    assert!(a.federation(&["discover", "--subnet", "10.0.0.0/8"]).fails(3).contains("400"));
}

#[test]
fn a_watch_prints_one_status_after_the_other_until_ctrl_c() {
    let a = Instance::start("ark-a", &[]);
    for (flags, mark) in [(&["--json"][..], "\"isRunning\""), (&[], "ARK-local-ark-a")] {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
            .args(["federation", "status", "--watch", "1"])
            .args(flags)
            .current_dir(a.bed.path(""))
            .env_clear()
            .env("FEDERATION_PORT", a.service.port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.filter(|line| line.contains(mark)).take(2).count(), 2);
        assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
        let status = process.wait().unwrap();
        // Its reader is gone by then, which is no failure either.
        assert!(status.success(), "{flags:?}: {status}");
    }
}

#[test]
fn a_watch_on_a_terminal_redraws_and_outlives_the_service() {
    let a = Instance::start("ark-a", &[]);
    let port = a.service.port.to_string();
    let mut terminal =
        Terminal::start(&a.bed, "ark-lattice federation status --watch 1", &[("FEDERATION_PORT", &port)]);
    let first = terminal.until("No peers");
    assert!(first.contains("\u{1b}[H") && first.contains("\u{1b}[1mARK-local-ark-a"), "{first:?}");
    let Instance { bed: _bed, service } = a;
    assert!(service.terminate(Duration::from_secs(30)).0.success());
    terminal.until("no service answers");
    terminal.input().write_all(b"\x03").unwrap();
    terminal.rest();
    assert_eq!(terminal.code(), 0);
}

#[test]
fn a_long_round_shows_on_a_terminal_that_it_goes_on() {
    let a = Instance::start("ark-a", &[]);
    // Takes connections, and does not say a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = format!("http://{}", silent.local_addr().unwrap());
    a.federation(&["add-peer", &peer]).ok();
    let port = a.service.port.to_string();
    let mut terminal = Terminal::start(&a.bed, "ark-lattice federation sync", &[("FEDERATION_PORT", &port)]);
    terminal.until("exchanging, 0 changes here so far");
    drop(silent);
    let rest = terminal.rest();
    assert!(rest.contains("fail") && rest.contains("1 of 1 peer failed"), "{rest:?}");
    assert_eq!(terminal.code(), 4);
}
