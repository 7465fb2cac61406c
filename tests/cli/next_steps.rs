//! Each failure between instances names its next step, and typing it works. By the code, with real services.

use crate::{
    bed::{Bed, Run, answer, canned},
    certificates::{Authority, PairFiles},
    federation::Instance,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

/// What `sync --json` reports of the only peer: its code and its next step.
fn failure(instance: &Instance) -> (String, String) {
    let run = instance.federation(&["sync", "--json"]);
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(printed["status"], "failed", "{printed}");
    let peer = &printed["result"][0];
    let said: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(said["code"], peer["errorCode"], "{said}");
    (peer["errorCode"].as_str().unwrap().to_owned(), peer["next"].as_str().unwrap().to_owned())
}

/// Types the command that a text names: from `ark-lattice` to its end, on this machine.
fn typed(instance: &Instance, text: &str) -> Vec<Run> {
    let at = text.find("ark-lattice ").unwrap_or_else(|| panic!("no command in {text:?}"));
    let line = text[at..].split(';').next().unwrap();
    let commands = line.split(" && ").map(|command| command.split_whitespace().skip(1).collect::<Vec<_>>());
    commands.map(|words| instance.bed.run(&words)).collect()
}

fn types(instance: &Instance, text: &str) {
    typed(instance, text).into_iter().for_each(|run| drop(run.ok()));
}

/// No word of a library, and the address once.
fn is_plain(run: &Run, url: &str) {
    for word in [
        "rustls",
        "serde",
        "hyper",
        "reqwest",
        "InvalidContentType",
        "EPROTO",
        "OtherError",
        "os error",
        "invalid HTTP",
    ] {
        assert!(!run.stdout.contains(word) && !run.stderr.contains(word), "{word}: {run:?}");
    }
    let said = format!("{}{}", run.stdout, run.stderr);
    let first = said.lines().next().unwrap();
    assert_eq!(first.matches(url).count(), 1, "{first}");
}

/// A service on TLS with this certificate, and its files.
fn on_tls(name: &str, pair: impl FnOnce(&Bed) -> PairFiles) -> Instance {
    let bed = Bed::new().set("ARK_NODE_ID", name);
    let files = pair(&bed);
    let bed = bed
        .set("ARK__SERVER__TLS_CERTIFICATE", files.certificate.to_str().unwrap())
        .set("ARK__SERVER__TLS_KEY", files.key.to_str().unwrap());
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    Instance { bed, service }
}

#[test]
fn the_wrong_one_of_http_and_https_is_named_where_a_peer_is_added() {
    let authority = Authority::new();
    let here = Instance::start("here", &[]);
    let plain = Instance::start("plain", &[]);
    let tls = on_tls("tls", |bed| PairFiles::in_folder(&bed.path("."), &authority.issue(1, 2040)));
    let (secure, insecure) = (plain.url().replace("http:", "https:"), tls.url().replace("https:", "http:"));
    for (wrong, right, what) in
        [(&secure, plain.url(), "may speak plain HTTP"), (&insecure, tls.url(), "may speak TLS")]
    {
        let run = here.federation(&["add-peer", wrong]);
        let said = run.fails(3);
        assert!(said.contains("not_an_instance") && said.contains(what), "{said}");
        assert!(said.contains(&format!("it was not added; use {right}")), "{said}");
    }
    assert_eq!(here.federation(&["list-peers", "--json"]).ok_json()["count"], 0);
    // Added all the same, its rounds name the command.
    here.federation(&["add-peer", &secure, "--no-probe"]).ok();
    let (code, next) = failure(&here);
    assert_eq!(code, "plain_http_there");
    is_plain(&here.federation(&["sync"]), &secure);
    types(&here, &next);
    here.federation(&["sync"]).ok();

    here.federation(&["remove-peer", plain.url()]).ok();
    here.federation(&["add-peer", &insecure, "--no-probe"]).ok();
    let (code, next) = failure(&here);
    assert_eq!(code, "tls_there");
    is_plain(&here.federation(&["sync"]), &insecure);
    types(&here, &next);
    assert_eq!(failure(&here).0, "certificate_untrusted");
}

#[test]
fn commands_that_ask_another_instance_name_the_scheme_as_well() {
    let plain = Instance::start("plain", &[]);
    let secure = plain.url().replace("http:", "https:");
    let run = plain.bed.run(&["discover", "--from", &secure, "--json"]);
    let said: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((run.code, &said["code"]), (4, &"plain_http_there".into()), "{said}");
    let run = plain.bed.run(&["discover", "--from", &secure]);
    assert!(run.stderr.contains(&format!("use {}", plain.url())), "{run:?}");
    plain.bed.run(&["discover", "--from", plain.url()]).ok();
    is_plain(&run, &secure);
}

/// What `openssl req -x509` makes, or with `authority` false a certificate that a server may use.
fn self_signed(bed: &Bed, authority: bool) -> PairFiles {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.is_ca = if authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    let certificate = params.self_signed(&key).unwrap().pem();
    let files = PairFiles { certificate: bed.path("tls.crt"), key: bed.path("tls.key") };
    files.put_certificate(&certificate);
    files.put_key(&key.serialize_pem());
    files
}

#[test]
fn a_self_signed_certificate_names_the_setting_that_trusts_it() {
    let tls = on_tls("tls", |bed| self_signed(bed, false));
    let here = Instance::start("here", &[]);
    let added = here.federation(&["add-peer", tls.url()]);
    is_plain(&added, tls.url());
    let added = added.ok();
    assert!(
        added.contains("warn") && added.contains("does not answer yet") && added.contains("self-signed"),
        "{added}"
    );
    let (code, next) = failure(&here);
    assert_eq!(code, "certificate_untrusted");
    assert!(next.contains("federation.tls_ca"), "{next}");
    let trusting = tls.bed.path("tls.crt");
    let here = Instance::start("here", &[("ARK__FEDERATION__TLS_CA", trusting.to_str().unwrap())]);
    let added = here.federation(&["add-peer", tls.url()]).ok();
    assert!(added.contains("tls answers, key SHA256:"), "{added}");
    here.federation(&["sync"]).ok();
}

#[test]
fn a_certificate_of_an_authority_and_one_for_another_name_are_told_apart() {
    let tls = on_tls("tls", |bed| self_signed(bed, true));
    let trusting = tls.bed.path("tls.crt");
    let here = Instance::start("here", &[("ARK__FEDERATION__TLS_CA", trusting.to_str().unwrap())]);
    here.federation(&["add-peer", tls.url()]).ok();
    let (code, next) = failure(&here);
    assert!(code == "certificate_is_authority" && next.contains("CA:FALSE"), "{code}: {next}");

    let authority = Authority::new();
    let other =
        on_tls("other", |bed| PairFiles::in_folder(&bed.path("."), &authority.issue_to(&["ark.example"], 1, 2040)));
    let ca = other.bed.file("ca.pem", &authority.pem);
    let here = Instance::start("here", &[("ARK__FEDERATION__TLS_CA", &ca)]);
    let added = here.federation(&["add-peer", other.url()]).ok();
    assert!(added.contains("for other names") && added.contains("ark.example"), "{added}");
    assert_eq!(failure(&here).0, "certificate_other_name");
    let old = on_tls("old", |bed| PairFiles::in_folder(&bed.path("."), &authority.issue(1, 2021)));
    here.federation(&["remove-peer", other.url()]).ok();
    here.federation(&["add-peer", old.url()]).ok();
    let (code, next) = failure(&here);
    assert!(code == "certificate_expired" && next.contains("timedatectl set-ntp true"), "{code}: {next}");
}

#[test]
fn an_instance_that_does_not_answer_yet_is_added_and_other_programs_are_refused() {
    let here = Instance::start("here", &[]);
    let (html, elsewhere) =
        (answer("200 OK", "Content-Type: text/html\r\n", "<h1>Sign in</h1>"), "https://elsewhere.example/");
    let moved = answer("301 Moved Permanently", &format!("Location: {elsewhere}\r\n"), "");
    let ssh = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = ssh.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in ssh.incoming() {
            let mut stream = stream.unwrap();
            // Until the client goes, as such a server does: closed with something unread, the connection takes back what was sent.
            thread::spawn(move || {
                let _sent = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
                while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
            });
        }
    });
    for (url, what) in [
        (canned(vec![html.clone(), html.clone(), html]), "does not answer as an ark-lattice service does"),
        (canned(vec![moved.clone(), moved]), elsewhere),
        (format!("http://127.0.0.1:{port}"), "does not answer in plain HTTP"),
    ] {
        let run = here.federation(&["add-peer", &url]);
        let said = run.fails(3);
        assert!(said.contains("not_an_instance") && said.contains(what), "{said}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let added = here.federation(&["add-peer", &url]);
    is_plain(&added, &url);
    assert!(added.stdout.contains("it does not answer yet: cannot be reached: connection refused"), "{added:?}");
    // A label of more than 63 characters: no name server is asked.
    let added = here.federation(&["add-peer", &format!("http://{}.test:9001", "n".repeat(64))]).ok();
    assert!(added.contains("the host name has no address") || added.contains("no answer in time"), "{added}");
    let printed = here.federation(&["list-peers", "--json"]).ok_json();
    assert_eq!(printed["count"], 2);
}

#[test]
fn a_new_peer_states_that_nothing_moves_by_itself_and_the_command_that_changes_it() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    let added = a.federation(&["add-peer", b.url()]);
    assert!(added.stderr.contains("Nothing is exchanged automatically"), "{added:?}");
    let command = added.stderr.lines().find(|line| line.contains("auto-sync")).unwrap();
    types(&a, command);
    a.bed.file("lattice_data/n.json", r#"{"id":"n"}"#);
    b.sees(1);
    let again = a.federation(&["add-peer", b.url()]);
    assert!(again.stderr.is_empty(), "{again:?}");
}

#[test]
fn one_server_is_one_peer_however_its_address_is_written() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    let port = b.service.port;
    // Before any round: what answered when it was added is remembered.
    a.federation(&["add-peer", b.url()]).ok();
    assert_eq!(a.federation(&["list-peers", "--json"]).ok_json()["peers"][0]["nodeId"], "b");
    for url in [
        format!("HTTP://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}//"),
        format!(" http://127.0.0.1:{port} "),
        format!("http://127.1:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://127.0.0.1:0{port}"),
        format!("http://localhost:{port}"),
        format!("http://LOCALHOST:{port}/"),
    ] {
        let printed = a.federation(&["add-peer", &url, "--json"]).ok_json();
        assert_eq!((&printed["status"], &printed["totalPeers"]), (&"unchanged".into(), &1.into()), "{url}: {printed}");
        assert_eq!(printed["peerUrl"], b.url(), "{url}");
    }
    let said = a.federation(&["add-peer", &format!("http://localhost:{port}")]);
    assert!(said.stderr.contains("are one instance"), "{said:?}");
    // Added while nobody could ask, it is found by its key.
    let local = format!("http://localhost:{port}");
    a.federation(&["add-peer", &local, "--no-probe"]).ok();
    a.federation(&["sync"]).ok();
    let (printed, _) = (a.federation(&["sync", "--json"]), ());
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    let results = printed["result"].as_array().unwrap();
    let same = results.iter().find(|it| it["errorCode"] == "same_instance").unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(same["peer"], local, "the one that was added later");
    types(&a, same["next"].as_str().unwrap());
    assert_eq!(a.federation(&["sync", "--json"]).ok_json()["result"].as_array().unwrap().len(), 1);
    for own in [a.url().to_owned(), a.url().replace("127.0.0.1", "localhost")] {
        assert!(a.federation(&["add-peer", &own]).fails(3).contains("own_address"));
    }
}

#[test]
fn a_peer_that_moved_keeps_what_is_known_of_it() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    a.federation(&["add-peer", b.url()]).ok();
    a.federation(&["sync"]).ok();
    let Instance { bed, service } = b;
    let old = service.url.clone();
    drop(service.terminate(std::time::Duration::from_secs(10)));
    failure(&a);
    let service = bed.serve();
    let printed = a.federation(&["add-peer", &service.url, "--json"]).ok_json();
    assert_eq!((&printed["status"], &printed["totalPeers"]), (&"moved".into(), &1.into()), "{printed}");
    let peers = a.federation(&["list-peers", "--json"]).ok_json();
    assert_eq!(
        (&peers["peers"][0]["url"], &peers["peers"][0]["stats"]["rounds"]),
        (&service.url.clone().into(), &1.into())
    );
    a.federation(&["sync"]).ok();
    assert!(a.federation(&["sync", "--peer", &old]).fails(3).contains("peer_not_found"));
}

#[test]
fn a_stopped_federation_is_started_by_the_command_that_each_side_names() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    a.federation(&["add-peer", b.url()]).ok();
    a.federation(&["sync"]).ok();
    b.federation(&["stop"]).ok();
    let (code, next) = failure(&a);
    assert!(code == "stopped_there" && next.starts_with("on that machine: "), "{code}: {next}");
    types(&b, &next);
    a.federation(&["sync"]).ok();

    a.federation(&["stop"]).ok();
    for command in ["status", "list-peers"] {
        assert!(a.federation(&[command]).ok().contains("  stopped  "), "{command}");
    }
    let said = a.federation(&["sync"]).fails(4);
    assert_eq!(said.matches("ark-lattice federation start").count(), 1, "{said}");
    assert!(!said.contains("try again") && !said.contains("POST"), "{said}");
    types(&a, &said);
    a.federation(&["sync"]).ok();
}

#[test]
fn a_key_that_is_revoked_here_is_trusted_again_by_the_command() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    a.federation(&["add-peer", b.url()]).ok();
    a.federation(&["sync"]).ok();
    a.federation(&["trust", "revoke", "b", "--reason", "a test"]).ok();
    let run = a.federation(&["sync"]);
    assert_eq!(run.code, 3, "{run:?}");
    let (code, next) = failure(&a);
    assert_eq!(code, "revoked_here");
    assert!(a.federation(&["status"]).ok().contains("  failing  "));
    types(&a, &next);
    a.federation(&["sync"]).ok();
}

#[test]
fn another_key_at_the_address_of_a_peer_is_accepted_by_the_command() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    a.federation(&["add-peer", b.url()]).ok();
    a.federation(&["sync"]).ok();
    let (port, b_url) = (b.service.port, b.url().to_owned());
    drop(b);
    let bed = Bed::new().set("ARK_NODE_ID", "c");
    let service = bed.serve_on(port);
    let (code, next) = failure(&a);
    assert_eq!(code, "other_instance");
    assert_eq!(a.federation(&["sync"]).code, 5);
    // Adding the same address again takes nobody else for the peer.
    assert!(a.federation(&["add-peer", b_url.as_str()]).fails(3).contains("--replace"));
    types(&a, &next);
    a.federation(&["sync"]).ok();
    drop(service);
}

#[test]
fn originals_and_instances_are_not_taken_for_one_another() {
    let (a, b) = (Instance::start("a", &[]), Instance::start("b", &[]));
    let said = a.federation(&["add-peer", b.url(), "--unsigned"]).fails(3);
    assert!(said.contains("which signs"), "{said}");
    types(&a, said.split("was not added; ").nth(1).unwrap());
    a.federation(&["sync"]).ok();
}

#[test]
fn a_failure_is_logged_once_with_its_next_step() {
    let mut here = Instance::start("here", &[("ARK__LOG__FORMAT", "json")]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    here.federation(&["add-peer", &url]).ok();
    for _ in 0..3 {
        here.federation(&["sync"]).fails(4);
    }
    let line: Value = serde_json::from_str(&here.service.log_line()).unwrap();
    assert_eq!(
        (&line["event"], &line["error_code"]),
        (&"sync_complete".into(), &"connection_refused".into()),
        "{line}"
    );
    assert!(line["next"].as_str().unwrap().contains(&format!("sync --peer {url}")), "{line}");
    let (_, log) = here.service.terminate(std::time::Duration::from_secs(10));
    assert!(!log.contains("connection_refused"), "{log}");
}
