//! Mistakes of a new user: each message says what happened, to what, and what to type next.

use crate::{
    bed::{Bed, get},
    faketime,
    federation::Instance,
};
use serde_json::Value;
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// No word of a library.
fn is_plain(text: &str) {
    for word in ["os error", "relative URL", "parsing level", "variant", "lookup address", "serde", "Uncategorized"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_service_that_only_its_machine_reaches_names_the_variable_that_opens_it() {
    let bed = Bed::new();
    let greeting = |host: &str| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
            .args(["serve", "--port", "0", "--host", host])
            .current_dir(bed.path("."))
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("Try:") {
            assert!(std::io::BufRead::read_line(&mut lines, &mut text).unwrap() > 0, "{text}");
        }
        process.kill().unwrap();
        process.wait().unwrap();
        text
    };
    let closed = greeting("127.0.0.1");
    assert!(closed.contains("only programs on this machine reach it") && closed.contains("ARK__SERVER__HOST=0.0.0.0"));
    assert!(!greeting("0.0.0.0").contains("ARK__SERVER__HOST"));
}

#[test]
fn bad_values_are_named_with_what_the_setting_takes() {
    for (name, value, takes) in [
        ("ARK__LOG__LEVEL", "info,ark_lattice=debgu", "off, error, warn, info, debug or trace"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "foo", "http://127.0.0.1:4318"),
        (
            "ARK__SERVER__HOST",
            "no.such.host.invalid",
            "the host name has no address; choose another address with --host",
        ),
        ("ARK__FEDERATION__ADDRESS", "foo", "it begins with http:// or https://"),
        ("FEDERATION_HUB_URL", "http://0.0.0.0:9001", "use the machine's name or address"),
        ("FEDERATION_HUB_URL", "http://[::]:9001", "use the machine's name or address"),
        ("FEDERATION_HUB_URL", "http://hub:99999", "no port from 1 to 65535"),
    ] {
        let bed = Bed::new().set(name, value);
        for command in [&["config", "check"][..], &["serve", "--port", "0"]] {
            let said = bed.run(command).fails(1);
            assert!(said.contains(takes), "{name}={value} {command:?}: {said}");
            is_plain(&said);
        }
    }
}

#[test]
fn an_address_that_stands_for_all_of_a_machine_is_no_peer() {
    let instance = Instance::start("a", &[]);
    for url in ["http://0.0.0.0:9001", "https://[::]:9001", "http://0:9001"] {
        let said = instance.federation(&["add-peer", url]).fails(3);
        assert!(said.contains("invalid_peer") && said.contains("use the machine's name or address"), "{said}");
    }
}

#[test]
fn a_port_that_speaks_another_protocol_has_one_next_step() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _gone: std::io::Result<()> = stream.and_then(|mut stream: TcpStream| {
                stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")?;
                stream.set_read_timeout(Some(Duration::from_millis(200)))?;
                let _request = std::io::Read::read(&mut stream, &mut [0; 512]);
                Ok(())
            });
        }
    });
    // By its answer it cannot be told from a port that speaks the other one; the step says what it is when both fail.
    let instance = Instance::start("a", &[]);
    for (url, other) in [("http", "https"), ("https", "http")] {
        let (url, other) = (format!("{url}://{address}"), format!("{other}://{address}"));
        let refused = instance.federation(&["add-peer", &url]).fails(3);
        let next = format!("use {other}; if that fails too, another program has that port");
        assert!(refused.contains("not_an_instance") && refused.contains(&next), "{refused}");
        is_plain(&refused);
    }
}

#[test]
fn peers_that_hub_mode_leaves_out_are_shown_as_such() {
    let (hub, other) = (Instance::start("hub", &[]), Instance::start("other", &[]));
    let Instance { bed, service } = Instance::start("spoke", &[]);
    bed.run(&["federation", "add-peer", other.url()]).ok();
    drop(service);
    let bed = bed.without("FEDERATION_PORT").set("FEDERATION_MODE", "hub").set("FEDERATION_HUB_URL", hub.url());
    let service = bed.serve();
    let spoke = Instance { bed: bed.set("FEDERATION_PORT", &service.port.to_string()), service };
    spoke.federation(&["sync"]).ok();
    let peers = spoke.federation(&["list-peers", "--json"]).ok_json();
    let left = peers["peers"].as_array().unwrap().iter().find(|peer| peer["url"] == other.url()).unwrap();
    assert_eq!((&left["errorCode"], &left["active"]), (&"hub_only".into(), &false.into()), "{left}");
    let shown = spoke.federation(&["status"]).ok();
    let row = shown.lines().find(|line| line.starts_with(other.url())).unwrap();
    assert!(row.contains("left out") && !row.contains("new"), "{shown}");
    assert!(shown.contains("FEDERATION_MODE=hybrid") && shown.contains(hub.url()), "{shown}");
}

#[test]
fn the_own_key_is_shown_as_other_machines_show_it() {
    let instance = Instance::start("a", &[]);
    let status = instance.federation(&["status"]).ok();
    let fingerprint = status.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
    let shown = instance.bed.run(&["key", "show"]).ok();
    let key = instance.bed.run(&["key", "show", "--json"]).ok_json();
    assert!(shown.contains(fingerprint) && shown.contains(key["public_key"].as_str().unwrap()), "{shown}");
    assert_eq!(key["fingerprint"], fingerprint);
}

#[test]
fn init_names_its_files_in_one_way() {
    let made = Bed::new().run(&["init", "--yes", "--admin-token"]).ok();
    assert!(made.contains("./ark_state/admin.token") && !made.contains("././"), "{made}");
}

#[test]
fn a_wrong_clock_is_named_on_the_machine_that_makes_rounds_and_a_right_one_works() {
    let other = Instance::start("other", &[]);
    let wrong = Bed::new()
        .set("ARK_NODE_ID", "late")
        .set("LD_PRELOAD", faketime::library().to_str().unwrap())
        .set("FAKETIME", "-2h")
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let service = wrong.serve();
    let bed = wrong.set("FEDERATION_PORT", &service.port.to_string());
    let late = Instance { bed, service };
    late.federation(&["add-peer", other.url()]).ok();
    let failed = late.federation(&["sync", "--json"]);
    let printed: Value = serde_json::from_str(&failed.stdout).unwrap();
    let peer = &printed["result"][0];
    assert!(["clock", "refused_request_signature"].contains(&peer["errorCode"].as_str().unwrap()), "{failed:?}");
    let next = peer["next"].as_str().unwrap();
    assert!(next.contains("date -u") && next.contains("timedatectl set-ntp true"), "{next}");

    // As after `timedatectl`: the command that the step ends with works.
    let Instance { bed, service } = late;
    drop(service);
    let bed = bed.without("LD_PRELOAD").without("FAKETIME").without("FEDERATION_PORT");
    let service = bed.serve();
    let right = Instance { bed: bed.set("FEDERATION_PORT", &service.port.to_string()), service };
    let again: Vec<&str> = next[next.find("ark-lattice ").unwrap()..].split(' ').skip(1).collect();
    right.bed.run(&again).ok();
    assert!(get(right.service.port, "/ready").starts_with("HTTP/1.1 200"));
}
