//! `invite`, `join` and the inbox of unknown instances: real services, real sockets, the commands as people type them.

use crate::{
    bed::{Run, get},
    federation::Instance,
    networks::{Network, Recorded, forward, ip},
    shapes::answers_as_its_help_shows,
};
use ark_lattice::{
    trust::invite::{InviteLine, InviteSecret},
    types::Timestamp,
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::Arc,
    thread,
    time::Duration,
};

/// The line of a new invite.
fn invite(instance: &Instance, more: &[&str]) -> String {
    let run = instance.bed.run(&[&["invite"], more].concat());
    assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
    run.ok().trim().to_owned()
}

fn join(instance: &Instance, line: &str, more: &[&str]) -> Run {
    instance.bed.run(&[&["join", line], more].concat())
}

fn key(instance: &Instance) -> String {
    instance.federation(&["status", "--json"]).ok_json()["info"]["publicKey"].as_str().unwrap().to_owned()
}

/// The level of a peer's key, and who decided it.
fn trust(instance: &Instance, peer: &str) -> Option<(String, String, String)> {
    let listed = instance.federation(&["trust", "list", "--json"]).ok_json();
    let found = listed["relationships"].as_array().unwrap().iter().find(|it| it["peer_id"] == peer)?.clone();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    Some((text("trust_level"), text("by"), text("public_key")))
}

fn put(instance: &Instance, id: &str) {
    instance.bed.run_with(&["node", "put", "-"], &format!("{{\"id\":\"{id}\"}}")).ok();
}

fn arrives(instance: &Instance, id: &str) {
    let file = instance.bed.path(&format!("lattice_data/{id}.json"));
    instance.bed.wait_until("the document arrives", || file.is_file());
}

fn state(instance: &Instance) -> String {
    instance.bed.run(&["invite", "list", "--json"]).ok_json()["invites"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn two_instances_pair_by_one_line_and_keep_in_step() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    put(&a, "of-a");
    a.sees(1);
    let made = answers_as_its_help_shows(&a.bed, &["invite"], &[]);
    let line = made["line"].as_str().unwrap();
    assert_eq!((&made["nodeId"], &made["publicKey"]), (&"ark-a".into(), &key(&a).into()));
    let run = a.bed.run(&["invite"]);
    assert!(run.stderr.contains("this machine only") && run.stderr.contains("SHA256:"), "{run:?}");

    let joined = answers_as_its_help_shows(&b.bed, &["join", line], &[]);
    assert_eq!((&joined["nodeId"], &joined["publicKey"]), (&"ark-a".into(), &key(&a).into()));
    assert_eq!((&joined["ownId"], &joined["ownKey"]), (&"ark-b".into(), &key(&b).into()));
    assert_eq!((&joined["peerUrl"], &joined["reachedAt"]), (&a.url().into(), &b.url().into()));
    assert_eq!(joined["round"]["outcome"], "in_step");
    assert!(b.bed.path("lattice_data/of-a.json").is_file());
    assert_eq!(trust(&a, "ark-b"), Some(("verified".into(), "invite".into(), key(&b))));
    assert_eq!(trust(&b, "ark-a"), Some(("verified".into(), "invite".into(), key(&a))));

    // Auto-sync is off by default; the two exchange all the same, and both ways.
    for (one, other) in [(&a, "ark-b"), (&b, "ark-a")] {
        let peer = &one.federation(&["list-peers", "--json"]).ok_json()["peers"][0];
        assert_eq!((&peer["nodeId"], &peer["autoSync"]), (&other.into(), &true.into()));
        assert_eq!(one.federation(&["status", "--json"]).ok_json()["info"]["autoSync"], false);
    }
    put(&a, "later-of-a");
    arrives(&b, "later-of-a");
    put(&b, "of-b");
    arrives(&a, "of-b");

    let invites = answers_as_its_help_shows(&a.bed, &["invite", "list"], &[]);
    let used = invites["invites"].as_array().unwrap().iter().find(|it| it["state"] == "used").unwrap();
    assert_eq!((&used["usedBy"]["nodeId"], &used["usedBy"]["publicKey"]), (&"ark-b".into(), &key(&b).into()));
    let stored = std::fs::read_to_string(a.bed.path("ark_state/invites.json")).unwrap();
    let secret = line_members(line)["s"].as_str().unwrap().to_owned();
    assert!(!stored.contains(&secret) && !stored.contains(line));

    // An answer may get lost: the same instance may repeat it. Another one may not, and learns why: it knows the secret.
    join(&b, line, &[]).ok();
    let c = Instance::start("ark-c", &[]);
    let said = join(&c, line, &[]).fails(3);
    assert!(said.contains("invite_refused") && said.contains("used by another instance"), "{said}");
    assert_eq!((trust(&a, "ark-c"), trust(&c, "ark-a")), (None, None));

    // The command that switches auto-sync off counts for paired peers as well.
    b.federation(&["auto-sync", "--stop"]).ok();
    assert!(b.federation(&["list-peers", "--json"]).ok_json()["peers"][0].get("autoSync").is_none());
}

/// The JSON in a line.
fn line_members(line: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let bytes = URL_SAFE_NO_PAD.decode(line.strip_prefix("ark-invite:v1:").unwrap()).unwrap();
    serde_json::from_slice(&bytes[..bytes.len() - 4]).unwrap()
}

#[test]
fn a_wrong_secret_is_refused_and_the_invite_still_works() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    let line = invite(&a, &["--quiet"]);
    let right = InviteLine::parse(&line).unwrap();
    let wrong = InviteLine { secret: InviteSecret::from_bytes([7; 32]), ..right.clone() }.text().unwrap();
    let unknown = InviteLine { id: ark_lattice::trust::invite::InviteId::from_bytes([9; 8]), ..right.clone() };
    let mut texts = Vec::new();
    for line in [&wrong, &unknown.text().unwrap()] {
        let said = join(&b, line, &[]).fails(3);
        assert!(said.contains("invite_refused"), "{said}");
        texts.push(said);
    }
    assert_eq!(texts[0], texts[1], "which invites there are is not told");
    assert_eq!((state(&a), trust(&a, "ark-b")), ("open".to_owned(), None));
    a.bed.wait_until("the refusal is in the audit log", || {
        let log = a.bed.run(&["audit", "list", "--json"]).stdout;
        log.contains("invite_refused") && log.contains("/lattice/trust/join")
    });

    let other_key = InviteLine { key: ark_lattice::types::PublicKey::parse(&key(&b)).unwrap(), ..right.clone() };
    let said = join(&b, &other_key.text().unwrap(), &[]).fails(3);
    assert!(said.contains("trust_not_established") && said.contains(&key(&a)), "{said}");
    let expired = InviteLine { expires: Timestamp::from_seconds(1_600_000_000), ..right.clone() };
    let said = join(&b, &expired.text().unwrap(), &[]).fails(3);
    assert!(said.contains("expired at 2020-09-13") && said.contains("ark-lattice invite"), "{said}");
    let said = join(&b, &line[..line.len() - 9], &[]).fails(3);
    assert!(said.contains("copy the whole line"), "{said}");
    let nowhere = InviteLine { addresses: vec!["http://127.0.0.1:1".to_owned()], ..right };
    let said = join(&b, &nowhere.text().unwrap(), &[]).fails(4);
    assert!(said.contains("peer_unreachable") && said.contains("127.0.0.1:1"), "{said}");
    assert!(join(&a, &line, &[]).fails(3).contains("this instance itself"));

    // Broken by a terminal, and from standard input.
    let (first, second) = line.split_at(50);
    b.bed.run_with(&["join", "-"], &format!("  {first}\n  {second}\n")).ok();
    assert_eq!(state(&a), "used");
}

#[test]
fn revoked_and_expired_invites_are_refused() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    let line = invite(&a, &["--quiet"]);
    let id = InviteLine::parse(&line).unwrap().id.to_string();
    answers_as_its_help_shows(&a.bed, &["invite", "revoke"], &[&id]);
    assert!(a.bed.run(&["invite", "revoke", "0000000000000000"]).fails(3).contains("invite_not_found"));
    let said = join(&b, &line, &[]).fails(3);
    assert!(said.contains("invite_refused") && said.contains("was revoked"), "{said}");
    assert!(a.bed.run(&["invite", "--expires", "5s"]).fails(3).contains("one minute"));

    // The clock of the instance that made the invite decides.
    let line = invite(&a, &["--quiet"]);
    let port = a.service.port.to_string();
    let Instance { bed, service } = a;
    assert!(service.terminate(Duration::from_secs(30)).0.success());
    let path = bed.path("ark_state/invites.json");
    let mut invites: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for invite in invites.as_array_mut().unwrap() {
        invite["expires_at"] = 1_600_000_000_000_000_i64.into();
    }
    std::fs::write(&path, invites.to_string()).unwrap();
    let bed = bed.set("FEDERATION_PORT", "0");
    let service = bed.serve();
    let a = Instance { bed: bed.set("FEDERATION_PORT", &service.port.to_string()), service };
    let moved = line.clone();
    let moved = InviteLine { addresses: vec![a.url().to_owned()], ..InviteLine::parse(&moved).unwrap() };
    let said = join(&b, &moved.text().unwrap(), &[]).fails(3);
    assert!(said.contains("invite_refused") && said.contains("has expired"), "{said} ({port})");
    assert_eq!((trust(&a, "ark-b"), trust(&b, "ark-a")), (None, None));
}

/// Forwards TCP connections to a port and records what the clients send.
fn recording_proxy(to: u16) -> (u16, Recorded) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let recorded = Recorded::default();
    let records = Arc::clone(&recorded);
    thread::spawn(move || {
        for client in listener.incoming() {
            forward(client.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap(), Arc::clone(&records));
        }
    });
    (port, recorded)
}

/// Cuts a recorded connection into its requests.
fn requests(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        let whole = (end + 4 + length).min(bytes.len());
        all.push(bytes[..whole].to_vec());
        bytes = &bytes[whole..];
    }
    all
}

fn replay(to: impl ToSocketAddrs, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Not packed, so that it can be read; the header is not signed.
    let text = request.windows(15).position(|it| it.eq_ignore_ascii_case(b"accept-encoding"));
    let mut request = request.to_vec();
    if let Some(at) = text {
        request[at..at + 15].copy_from_slice(b"ignored-header-");
    }
    stream.write_all(&request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _until_it_closes = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The question and the answer of a join that were recorded, in which the secret does not occur.
fn overheard(recorded: &Recorded, line: &str) -> (Vec<u8>, Vec<u8>) {
    let recorded = recorded.lock().unwrap().clone();
    let sent: Vec<Vec<u8>> = recorded.iter().flat_map(|connection| requests(connection)).collect();
    let of = |route: &str| {
        let start = format!("POST {route} ");
        sent.iter().find(|request| request.starts_with(start.as_bytes())).cloned().unwrap()
    };
    let secret = line_members(line)["s"].as_str().unwrap().to_owned();
    let text = String::from_utf8_lossy(&recorded.concat()).into_owned();
    assert!(!text.contains(&secret) && !text.contains(line), "the secret does not travel");
    (of("/lattice/trust/challenge"), of("/lattice/trust/join"))
}

#[test]
fn a_listener_that_records_everything_cannot_join() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    let (port, recorded) = recording_proxy(a.service.port);
    let address = format!("http://127.0.0.1:{port}");
    let line = invite(&a, &["--quiet", "--address", &address]);
    join(&b, &line, &[]).ok();

    let (challenge, joining) = overheard(&recorded, &line);
    // As it was, and behind the recorded question, which is answered with another nonce.
    let answer = replay(("127.0.0.1", a.service.port), &joining);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("invite_refused"), "{answer}");
    assert!(replay(("127.0.0.1", a.service.port), &challenge).starts_with("HTTP/1.1 200"));
    let answer = replay(("127.0.0.1", a.service.port), &joining);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("invite_refused"), "{answer}");

    // Before the invite is used, too: what was recorded proves nothing for another invite or another key.
    let open = invite(&a, &["--quiet"]);
    let c = Instance::start("ark-c", &[]);
    let guess = InviteLine { secret: InviteSecret::from_bytes([1; 32]), ..InviteLine::parse(&open).unwrap() };
    assert!(join(&c, &guess.text().unwrap(), &[]).fails(3).contains("invite_refused"));
    assert_eq!((state(&a), trust(&a, "ark-c")), ("open".to_owned(), None));
}

#[test]
fn an_instance_that_cannot_be_reached_joins_and_connects_alone() {
    let (a, b) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]));
    let line = invite(&a, &["--quiet"]);
    let run = join(&b, &line, &["--address", "http://127.0.0.1:1"]);
    assert!(run.stdout.contains("only this instance connects") && run.stdout.contains("; in step"), "{run:?}");
    run.ok();
    assert_eq!(a.federation(&["list-peers", "--json"]).ok_json()["count"], 0);
    put(&a, "of-a");
    arrives(&b, "of-a");
    put(&b, "of-b");
    arrives(&a, "of-b");
}

/// A hub, a router that translates addresses and records everything, and a laptop behind it, each with a network of its own; over plain
/// HTTP, with the default `trust.mode`.
#[test]
fn a_laptop_behind_a_router_that_listens_pairs_by_two_lines_and_the_router_gains_nothing() {
    let [cloud, street, home, room] = [(); 4].map(|()| Network::new());
    cloud.connect("uplink", &["10.78.1.1/24"], &street, &["10.78.1.2/24"]);
    // Inside, the router answers for the hub's address.
    home.connect("lan", &["192.168.78.1/24", "10.78.1.1/32"], &room, &["192.168.78.2/24"]);
    room.within(|| ip("route add default via 192.168.78.1"));
    let set = [("ARK_TRUST_MODE", "verified"), ("ARK__SERVER__HOST", "0.0.0.0")];
    let hub = cloud.within(|| Instance::start("ark-hub", &set));
    let address = SocketAddr::from(([10, 78, 1, 1], hub.service.port));
    let recorded = home.relay(address, &street);
    let url = format!("http://{address}");
    let line = cloud.within(|| {
        put(&hub, "of-hub");
        invite(&hub, &["--quiet", "--address", &url])
    });

    let laptop = room.within(|| Instance::start("ark-laptop", &set[..1]));
    room.within(|| {
        let run = join(&laptop, &line, &[]);
        assert!(run.stdout.contains("only this instance connects") && run.stdout.contains("; in step"), "{run:?}");
        run.ok();
        put(&laptop, "of-laptop");
    });
    arrives(&laptop, "of-hub");
    arrives(&hub, "of-laptop");
    cloud.within(|| put(&hub, "later-of-hub"));
    arrives(&laptop, "later-of-hub");

    // On the router: what it heard, a key of its own, and the line that it did not hear.
    let (challenge, joining) = overheard(&recorded, &line);
    let thief = street.within(|| Instance::start("ark-thief", &set[..1]));
    street.within(|| {
        for request in [&joining, &challenge, &joining] {
            let answer = replay(address, request);
            let expected = if request == &challenge { "HTTP/1.1 200" } else { "HTTP/1.1 401" };
            assert!(answer.starts_with(expected), "{answer}");
        }
        put(&thief, "of-thief");
        thief.federation(&["add-peer", &url]).ok();
        let refused = thief.federation(&["sync"]);
        assert!(refused.stdout.contains("not_trusted"), "{refused:?}");
        refused.fails(3);
    });
    let levels = cloud.within(|| [trust(&hub, "ark-laptop"), trust(&hub, "ark-thief")]);
    assert_eq!(levels.map(|level| level.is_some_and(|it| it.0 == "verified")), [true, false]);
    assert!(!hub.bed.path("lattice_data/of-thief.json").exists());
}

#[test]
fn of_two_joins_at_the_same_time_one_succeeds() {
    let (a, b, c) = (Instance::start("ark-a", &[]), Instance::start("ark-b", &[]), Instance::start("ark-c", &[]));
    let line = invite(&a, &["--quiet"]);
    let codes: Vec<i32> = thread::scope(|threads| {
        let joins = [&b, &c].map(|one| threads.spawn(|| join(one, &line, &["--no-sync", "--quiet"]).code));
        joins.into_iter().map(|join| join.join().unwrap()).collect()
    });
    assert!(codes == [0, 3] || codes == [3, 0], "{codes:?}");
    let verified = ["ark-b", "ark-c"].map(|name| trust(&a, name).is_some_and(|it| it.0 == "verified"));
    assert_eq!(verified, [codes[0] == 0, codes[1] == 0]);
}

#[test]
fn an_instance_that_asks_to_write_waits_until_it_is_accepted() {
    let strict = [("ARK__TRUST__REQUIRE_VERIFIED", "true")];
    let (a, b) = (Instance::start("ark-a", &strict), Instance::start("ark-b", &[]));
    let none = a.federation(&["pending"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("No instance waits"), "{none:?}");
    put(&b, "of-b");
    b.sees(1);
    b.federation(&["add-peer", a.url()]).ok();
    let run = b.federation(&["sync"]);
    let command = "ark-lattice federation accept ark-b";
    assert!(run.stdout.contains(&format!("on that machine: {command}")), "{run:?}");
    assert!(run.stdout.contains("not_trusted"), "{run:?}");
    run.fails(3);

    let pending = answers_as_its_help_shows(&a.bed, &["federation", "pending"], &[]);
    assert_eq!((&pending["count"], &pending["pending"][0]["nodeId"]), (&1.into(), &"ark-b".into()));
    assert_eq!(
        (&pending["pending"][0]["publicKey"], &pending["pending"][0]["address"]),
        (&key(&b).into(), &"127.0.0.1".into())
    );
    assert!(a.federation(&["pending"]).ok().contains("SHA256:"));
    let health = get(a.service.port, "/health");
    assert!(health.contains("\"peers_pending\":1"), "{health}");
    let metrics = get(a.service.port, "/metrics");
    assert!(metrics.contains("federation_peers_pending 1\n"), "{metrics}");
    assert!(metrics.contains("ark_events_total{kind=\"peer-pending\"} 1\n"), "{metrics}");

    answers_as_its_help_shows(&a.bed, &["federation", "refuse"], &["ark-b"]);
    b.federation(&["sync"]).fails(3);
    assert_eq!(a.federation(&["pending", "--json"]).ok_json()["count"], 0);
    assert!(a.federation(&["refuse", "ark-b"]).fails(3).contains("key_unknown"));

    // Refused or not, its own announcement says which key it has.
    let accepted = answers_as_its_help_shows(&a.bed, &["federation", "accept"], &["ark-b", "--reason", "compared"]);
    assert_eq!((&accepted["trust_level"], &accepted["public_key"]), (&"verified".into(), &key(&b).into()));
    b.federation(&["sync"]).ok();
    assert!(a.bed.path("lattice_data/of-b.json").is_file());
    assert!(a.federation(&["accept", "ark-nobody"]).fails(3).contains("key_unknown"));
}
