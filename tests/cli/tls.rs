//! The service on TLS, and the commands that talk to it.

use crate::{
    bed::{Bed, get},
    certificates::{Authority, PairFiles, replace},
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// A folder for a service on TLS, its files, and the authority's certificate in `ca.pem`.
fn bed() -> (Bed, PairFiles) {
    let bed = Bed::new().set("ARK__SERVER__TLS_CERTIFICATE", "tls.crt").set("ARK__SERVER__TLS_KEY", "tls.key");
    // Only a signal makes it look again.
    let bed = bed.set("ARK__SERVER__TLS_RELOAD_INTERVAL", "1day");
    let authority = Authority::new();
    let files = PairFiles::in_folder(&bed.path("."), &authority.issue(1, 2040));
    bed.file("ca.pem", &authority.pem);
    (bed, files)
}

#[test]
fn commands_talk_to_a_service_whose_authority_they_are_told() {
    let (bed, _files) = bed();
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    let service = bed.serve();
    let url = service.url.as_str();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    bed.run(&["keygen", "--out", "a.key"]).ok();
    bed.run(&["manifest", "publish", "--to", url, "--ca-file", "ca.pem", "--key", "a.key", "--node-id", "script"]).ok();
    let peers = bed.run(&["discover", "--json", "--from", url, "--ca-file", "ca.pem"]).ok_json();
    assert_eq!(peers["peers"][0]["node_id"], "script");
    std::fs::create_dir(bed.path("copy")).unwrap();
    bed.run(&["pull", "--from", url, "--ca-file", "ca.pem", "--lattice", "copy"]).ok();
    assert!(bed.path("copy/a.json").exists());

    // Nobody else is believed, and no slip is passed over.
    bed.file("other.pem", &Authority::new().pem);
    for trusting in [&[][..], &["--ca-file", "other.pem"]] {
        let said = bed.run(&[&["discover", "--from", url], trusting].concat()).fails(4);
        assert!(said.contains("certificate"), "{said}");
    }
    bed.file("empty.pem", "nothing\n");
    bed.file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for file in ["empty.pem", "broken.pem", "nowhere.pem"] {
        assert!(bed.run(&["discover", "--from", url, "--ca-file", file]).fails(1).contains(file));
    }
    assert_eq!(service.terminate(Duration::from_secs(8)).0.code(), Some(0));
}

#[test]
fn sighup_brings_the_new_certificate_and_plain_http_no_flood_of_errors() {
    let (bed, files) = bed();
    let mut service = bed.serve();
    let url = service.url.clone();
    let discovers = |ca: &str| bed.run(&["discover", "--from", &url, "--ca-file", ca]).code == 0;
    assert!(discovers("ca.pem"));
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let _ended_or_reset = stream.read_to_end(&mut Vec::new());
    }
    let second = Authority::new();
    bed.file("second.pem", &second.pem);
    let pair = second.issue(2, 2041);
    files.put_key(&pair.key);
    // Half of the pair is there: it is not taken, and the process lives.
    service.signal("HUP");
    // The first line since the start: the connections before left none.
    let line = service.log_line();
    assert!(line.contains("the one before stays"), "{line}");
    assert!(discovers("ca.pem") && !discovers("second.pem"));
    files.put_certificate(&pair.certificate);
    assert!(discovers("ca.pem") && !discovers("second.pem"), "nobody asked it to look");
    service.signal("HUP");
    let asked = Instant::now();
    while !discovers("second.pem") {
        assert!(asked.elapsed() < Duration::from_secs(20), "the new certificate does not come");
    }
    assert!(!discovers("ca.pem"));
    let (status, log) = service.terminate(Duration::from_secs(8));
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log, "");
}

#[test]
fn a_pair_that_cannot_be_used_is_one_line() {
    let (bed, files) = bed();
    let refused = || bed.run(&["serve", "--port", "0"]).fails(1);
    files.put_key("");
    assert!(refused().contains("tls.key holds no PEM private key"), "{}", refused());
    let pair = Authority::new().issue(1, 2040);
    files.put_certificate(&pair.certificate);
    replace(&files.key, &pair.key, 0o604);
    assert!(refused().contains("chmod o= tls.key"), "{}", refused());
    std::fs::remove_file(&files.certificate).unwrap();
    assert!(refused().contains("tls.crt"), "{}", refused());
    let bed = Bed::new().set("ARK__SERVER__TLS_KEY", "tls.key");
    let said = bed.run(&["serve", "--port", "0"]).fails(1);
    assert!(said.contains("server.tls_key") && said.contains("server.tls_certificate"), "{said}");
}

#[test]
fn the_greeting_is_the_address_that_clients_use() {
    let bed = Bed::new().set("ARK__SERVER__BASE_PATH", "/ark");
    let service = bed.serve();
    assert!(service.url.ends_with("/ark"), "{}", service.url);
    assert!(get(service.port, "/ark/nodes").starts_with("HTTP/1.1 200"));
    bed.run(&["discover", "--from", &service.url]).ok();
}

#[test]
fn the_checks_look_at_the_pair() {
    let (bed, files) = bed();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let bed = bed.set("FEDERATION_PORT", &port).set("ARK__SERVER__HOST", "0.0.0.0");
    let certificate = |bed: &Bed| {
        let report: Value = serde_json::from_str(&bed.run(&["doctor", "--json"]).stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.iter().all(|finding| finding["check"] != "address"), "it is not without TLS: {report}");
        let found = findings.iter().find(|finding| finding["check"] == "certificate").unwrap();
        (found["grade"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
    };
    assert_eq!(certificate(&bed), ("ok".to_owned(), "valid until 2040-01-01T00:00:00Z".to_owned()));
    bed.run(&["config", "check"]).ok();
    let expired = Authority::new().issue(1, 2021);
    files.put_certificate(&expired.certificate);
    assert_eq!(certificate(&bed).0, "fail");
    assert!(bed.run(&["config", "check"]).fails(1).contains("is not the one of the certificate"));
    files.put_key(&expired.key);
    assert_eq!(certificate(&bed), ("fail".to_owned(), "expired on 2021-01-01T00:00:00Z".to_owned()));
}
