//! `healthcheck`: what container engines and scripts see of it.

use crate::{
    bed::{Bed, answer, canned},
    certificates::{Authority, PairFiles},
};
use std::net::TcpListener;

#[test]
fn a_ready_service_is_healthy_in_one_line() {
    let bed = Bed::new();
    let service = bed.serve();
    // As in a container: the command has the service's own settings.
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    assert_eq!(bed.run(&["healthcheck"]).ok(), format!("ready: {}/ready\n", service.url));
    assert_eq!(bed.run(&["healthcheck", "--alive"]).ok(), format!("healthy: {}/health\n", service.url));
    assert_eq!(bed.run(&["healthcheck", "--quiet"]).ok(), "");
    let value = bed.run(&["healthcheck", "--json", "--url", &service.url]).ok_json();
    assert_eq!((&value["healthy"], &value["status"]), (&true.into(), &"ready".into()));
}

#[test]
fn whatever_is_wrong_is_exit_code_1_and_one_line() {
    let bed = Bed::new();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let loading = r#"{"status":503,"code":"lattice_loading","detail":"the index is still being built"}"#;
    let loading = canned(vec![answer("503 Service Unavailable", "", loading)]);
    let stranger = canned(vec![answer("200 OK", "", "<html>"), answer("404 Not Found", "", "")]);
    let elsewhere = canned(vec![answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "")]);
    for (url, expected) in [
        (&nobody, "cannot be reached"),
        (&loading, "lattice_loading: the index is still being built"),
        (&stranger, "(200) is not that of an ark-lattice service"),
        (&stranger, "(404)"),
        (&elsewhere, "(302)"),
    ] {
        let said = bed.run(&["healthcheck", "--url", url]).fails(1);
        assert!(said.contains("not healthy: ") && said.contains(expected), "{said}");
    }
    // Accepts, but never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let said = bed.run(&["healthcheck", "--url", &url, "--timeout", "50ms"]).fails(1);
    assert!(said.contains("does not answer within 50ms"), "{said}");
    bed.run(&["healthcheck", "--url", "127.0.0.1:9001"]).fails(1);
    let said = bed.set("FEDERATION_PORT", "0").run(&["healthcheck"]).fails(1);
    assert!(said.contains("--url"), "{said}");
}

#[test]
fn a_service_on_tls_is_asked_without_its_name() {
    let bed = Bed::new().set("ARK__SERVER__TLS_CERTIFICATE", "tls.crt").set("ARK__SERVER__TLS_KEY", "tls.key");
    let authority = Authority::new();
    let _files = PairFiles::in_folder(&bed.path("."), &authority.issue(1, 2040));
    bed.file("ca.pem", &authority.pem);
    let service = bed.serve();
    let bed = bed.set("FEDERATION_PORT", &service.port.to_string());
    let alive = format!("healthy: https://127.0.0.1:{}/health\n", service.port);
    assert_eq!(bed.run(&["healthcheck", "--alive"]).ok(), alive);
    // An address that was named may be another machine's: there the certificate counts.
    let named = ["healthcheck", "--alive", "--url", &service.url];
    assert!(bed.run(&named).fails(1).contains("certificate"));
    assert_eq!(bed.run(&[&named[..], &["--ca-file", "ca.pem"]].concat()).ok(), alive);
}
