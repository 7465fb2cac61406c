use crate::bed::{Bed, get};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

#[test]
fn sigterm_ends_the_service_in_order_also_with_an_idle_connection() {
    let bed = Bed::new().set("ARK__SERVER__SHUTDOWN_TIMEOUT", "2s");
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    let service = bed.serve();
    let mut idle = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut some = [0; 12];
    idle.read_exact(&mut some).unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
    let port = service.port;
    let (status, stderr) = service.terminate(Duration::from_secs(8));
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.is_empty(), "{stderr}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

    // What it held is free again, and what it knew is still there.
    let service = bed.serve();
    assert!(get(service.port, "/nodes/a").starts_with("HTTP/1.1 200"));
    assert_eq!(service.terminate(Duration::from_secs(8)).0.code(), Some(0));
}

#[test]
fn a_log_that_nobody_takes_any_more_does_no_harm() {
    let bed = Bed::new().set("ARK__LOG__LEVEL", "debug");
    let mut service = bed.serve();
    service.lose_log();
    // Each request writes a line at this level, and so does the stop.
    for _ in 0..3 {
        let answer = get(service.port, "/ready");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(service.terminate(Duration::from_secs(8)).0.code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let bed = Bed::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = bed.run(&["serve", "--port", &port]).fails(1);
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    bed.run(&["serve", "--port", "0", "--host", "203.0.113.1"]).fails(1);
}

#[test]
fn the_same_routes_are_served_on_every_port_that_is_listed() {
    let free: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    let listed = format!("{},127.0.0.1:{}", ports[0], ports[1]);
    let bed = Bed::new().set("ARK__SERVER__ALSO_LISTEN", &listed);
    // All ports or none: a script that finds one of them must find the service behind it.
    let said = bed.run(&["serve", "--port", "0"]).fails(1);
    assert!(said.contains(&ports[0].to_string()), "{said}");
    drop(free);
    let service = bed.serve();
    let id = |port| get(port, "/federation/info").split("\"instanceId\"").nth(1).unwrap()[..12].to_owned();
    assert_eq!([id(ports[0]), id(ports[1])], [id(service.port), id(service.port)]);
    // Commands find the service by its state directory, whatever its port.
    assert!(bed.run(&["federation", "status"]).ok().contains("ark-bed"));
    assert_eq!(service.terminate(Duration::from_secs(8)).0.code(), Some(0));
    assert!(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()), "they end together");
}

#[test]
fn directories_that_cannot_be_used_are_one_line() {
    let bed = Bed::new();
    let file = bed.file("plain", "");
    let with = |args: &[&str]| bed.run(&[&["serve", "--port", "0"], args].concat()).fails(1);
    assert!(with(&["--lattice", "nowhere"]).contains("does not exist"));
    assert!(with(&["--lattice", &file]).contains("not a directory"));
    assert!(with(&["--state", &file]).contains("ARK_STATE_PATH"));
    // Nobody, not even root, makes files there.
    if cfg!(target_os = "linux") {
        assert!(with(&["--lattice", "/sys/kernel"]).contains("cannot be written"));
        assert!(with(&["--state", "/sys/kernel/ark"]).contains("ARK_STATE_PATH"));
    }
}

#[test]
fn a_registry_that_cannot_be_read_says_what_to_do() {
    let bed = Bed::new();
    std::fs::create_dir(bed.path("ark_state")).unwrap();
    bed.file("ark_state/registry.redb", "not a registry");
    let said = bed.run(&["serve", "--port", "0"]).fails(1);
    assert!(said.contains("registry.redb") && said.contains("restore") && said.contains("move it away"), "{said}");
}

#[test]
fn a_second_process_on_the_same_state_is_refused() {
    let bed = Bed::new();
    let service = bed.serve();
    let said = bed.run(&["serve", "--port", "0"]).fails(1);
    assert!(said.contains("another ark-lattice process"), "{said}");
    assert!(get(service.port, "/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_greetings_commands_work_as_they_stand() {
    let bed = Bed::new();
    bed.file("lattice_data/a.json", r#"{"id": "a"}"#);
    let service = bed.serve();
    drop(service);
    let mut process = Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
        .args(["serve", "--port", "0"])
        .current_dir(bed.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut greeting = String::new();
    let mut out = process.stdout.take().unwrap();
    while !greeting.contains("Ctrl-C") {
        let mut some = [0; 4096];
        let length = out.read(&mut some).unwrap();
        assert!(length > 0, "{greeting}");
        greeting.push_str(std::str::from_utf8(&some[..length]).unwrap());
    }
    let commands: Vec<&str> = greeting.lines().filter_map(|line| line.trim().strip_prefix("curl ")).collect();
    let outcomes: Vec<_> = commands
        .iter()
        .map(|command| {
            let script = format!("curl -sf --retry 9 --retry-delay 1 {command}");
            Command::new("bash").args(["-c", &script]).current_dir(bed.path("")).output().unwrap()
        })
        .collect();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(commands.len(), 5, "{greeting}");
    for (command, outcome) in commands.iter().zip(outcomes) {
        assert!(outcome.status.success() && outcome.stdout.starts_with(b"{"), "{command}: {outcome:?}");
    }
}

#[test]
fn the_log_names_the_client_that_a_trusted_proxy_asks_for() {
    for (trusted, client, scheme) in [("127.0.0.1", "203.0.113.7", "https"), ("192.0.2.1", "127.0.0.1", "http")] {
        let bed = Bed::new().set("ARK__LOG__LEVEL", "info,ark_lattice=debug").set("ARK__LOG__FORMAT", "json");
        let bed = bed.set("ARK__SERVER__TRUSTED_PROXIES", trusted);
        let service = bed.serve();
        let mut connection = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
        let request = "GET /discover HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).unwrap();
        connection.read_to_end(&mut Vec::new()).unwrap();
        let (_, log) = service.terminate(Duration::from_secs(8));
        let line = log.lines().find(|line| line.contains("\"/discover\"")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(&format!("\"client.address\":\"{client}\"")), "{line}");
        assert!(line.contains(&format!("\"http.scheme\":\"{scheme}\",\"http.host\":\"x\"")), "{line}");
    }
}

#[test]
fn a_manifest_of_the_users_is_left_alone_and_reported_where_people_look() {
    let bed = Bed::new();
    let theirs = "{\"name\":\"My PWA\",\"short_name\":\"PWA\",\"start_url\":\"/\",\"icons\":[]}\n";
    bed.file("lattice_data/manifest.json", theirs);
    bed.file("lattice_data/x.json", r#"{"id":"x","v":1}"#);
    let doctor = bed.run(&["doctor", "--json"]);
    assert!(
        doctor.stdout.contains("manifest.json in the data directory was not written by this service"),
        "{doctor:?}"
    );
    let service = bed.serve();
    bed.wait_until("it is noticed", || get(service.port, "/health").contains("another program's file of this name"));
    assert!(get(service.port, "/health").contains("\"status\":\"healthy\""));
    let beside = bed.set("FEDERATION_PORT", &service.port.to_string());
    let status = beside.run(&["federation", "status"]).ok();
    assert!(status.contains("manifest.json") && status.contains("left as it is"), "{status}");
    let (_, log) = service.terminate(Duration::from_secs(30));
    assert_eq!(beside.read("lattice_data/manifest.json"), theirs);
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("manifest.json")).collect();
    assert!(lines.len() == 1 && lines[0].contains("lattice.write_manifest = false"), "{log}");

    // Out of the way, it is written again; and where the settings say so, nothing looks at it.
    std::fs::remove_file(beside.path("lattice_data/manifest.json")).unwrap();
    beside.serve().terminate(Duration::from_secs(30));
    assert!(beside.read("lattice_data/manifest.json").starts_with("{\"node_id\": \"ark-bed\""));
    beside.file("lattice_data/manifest.json", theirs);
    let off = beside.set("ARK__LATTICE__WRITE_MANIFEST", "false");
    assert!(!off.run(&["doctor", "--json"]).stdout.contains("manifest.json"));
    let (_, log) = off.serve().terminate(Duration::from_secs(30));
    assert!(!log.contains("manifest.json") && off.read("lattice_data/manifest.json") == theirs, "{log}");
}

#[test]
fn a_manifest_that_an_instance_wrote_is_kept_up_to_date_by_another_one() {
    let bed = Bed::new().set("ARK_NODE_ID", "before");
    bed.file("lattice_data/x.json", r#"{"id":"x","v":1}"#);
    bed.serve().terminate(Duration::from_secs(30));
    assert!(bed.read("lattice_data/manifest.json").starts_with("{\"node_id\": \"before\""));
    let bed = bed.set("ARK_NODE_ID", "after");
    std::fs::remove_dir_all(bed.path("ark_state")).unwrap();
    let (_, log) = bed.serve().terminate(Duration::from_secs(30));
    assert!(bed.read("lattice_data/manifest.json").starts_with("{\"node_id\": \"after\""), "{log}");
    assert!(!log.contains("manifest.json"), "{log}");
}

#[test]
fn the_greeting_is_json_where_the_log_is() {
    let bed = Bed::new().set("ARK__LOG__FORMAT", "json");
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
        .args(["serve", "--port", "0"])
        .current_dir(bed.path("."))
        .env_clear()
        .env("ARK_NODE_ID", "ark-bed")
        .env("ARK__LOG__FORMAT", "json")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut line).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let greeting: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(greeting["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
}
