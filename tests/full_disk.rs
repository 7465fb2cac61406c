//! A disk that is full, and one that cannot be written: writes are refused, reads go on, nothing is torn, and all is well again
//! by itself afterwards. On real file systems of a few megabytes, in a mount namespace of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]
#![cfg(target_os = "linux")]

#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use ark_lattice::lattice::NodeDocument;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::{Place, Service, problem, text, until};
use signing::{key, manifest, signed};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

/// A mount namespace in which `lattice` and `state` of a place are file systems of their own. They last as long as this does,
/// whatever services come and go.
struct Disks {
    holder: Child,
    place: Place,
}

impl Disks {
    /// Two disks of these sizes.
    fn new(lattice: &str, state: &str) -> Self {
        let tmpfs = "mount -t tmpfs -o mode=700,size";
        Self::mounted(&format!("{tmpfs}={lattice} tmpfs lattice && {tmpfs}={state} tmpfs state"))
    }

    /// One disk, `disk`, for both.
    fn shared(size: &str) -> Self {
        Self::mounted(&format!(
            "mount -t tmpfs -o mode=700,size={size} tmpfs disk && mkdir disk/lattice disk/state \
             && mount --bind disk/lattice lattice && mount --bind disk/state state"
        ))
    }

    fn mounted(script: &str) -> Self {
        let mut place = Place::new().set("ARK__LATTICE__WRITE_MANIFEST", "false");
        fs::create_dir(place.path("state")).unwrap();
        fs::create_dir(place.path("disk")).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &format!("{script} && echo mounted && exec sleep 3600")])
            .current_dir(place.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (package util-linux) is needed");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let disks = |holder, place| Self { holder, place };
        let pid = holder.id().to_string();
        if line.trim() != "mounted" {
            drop(disks(holder, place));
            panic!(
                "this machine lets nobody mount: run the tests as root, or allow user namespaces (sysctl user.max_user_namespaces)"
            );
        }
        place.run_by(&["nsenter", "--target", &pid, "--mount", "--user", "--preserve-credentials"]);
        disks(holder, place)
    }

    /// Where this test finds what stands at `name` in the namespace.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.place.path(name);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(path.strip_prefix("/").unwrap())
    }

    /// Fills a disk to its last page, also with what the service gives up meanwhile.
    fn fill(&self, disk: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(disk).join("fill")).unwrap();
        let mut before = u64::MAX;
        while before != file.metadata().unwrap().len() {
            before = file.metadata().unwrap().len();
            for size in [64 << 10, 4 << 10, 1] {
                let refused = loop {
                    if let Err(error) = file.write(&vec![b'x'; size]) {
                        break error;
                    }
                };
                assert_eq!(refused.kind(), io::ErrorKind::StorageFull, "{refused}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn free(&self, disk: &str) {
        fs::remove_file(self.path(disk).join("fill")).unwrap();
    }

    /// `ro` or `rw`.
    fn remount(&self, disk: &str, how: &str) {
        let script = format!("mount -o remount,{how} \"$0\"");
        let pid = self.holder.id().to_string();
        let args = ["--target", &pid, "--mount", "--user", "--preserve-credentials", "sh", "-c", &script];
        let mut remount = Command::new("nsenter");
        remount.args(args).arg(self.place.path(disk));
        // A file that was replaced is open for two seconds longer: so long it may be busy.
        let remounted = (0..100).any(|_| {
            let is_done = remount.status().unwrap().success();
            if !is_done {
                std::thread::sleep(Duration::from_millis(100));
            }
            is_done
        });
        assert!(remounted, "remount {how}");
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let _already_gone = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

/// A node of a few pages, whose content shows whether all of it is of one version.
fn node(id: &str, version: u64) -> Value {
    json!({"id": id, "version": version, "filler": version.to_string().repeat(3000), "end": version})
}

/// Nothing is torn, and the index says what the files are.
async fn check_files(disks: &Disks, service: &Service) -> BTreeMap<String, u64> {
    let (mut hashes, mut versions) = (BTreeMap::new(), BTreeMap::new());
    for entry in fs::read_dir(disks.path("lattice")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if ["fill", "manifest.json", ".ark-lattice"].contains(&name.as_str()) {
            continue;
        }
        let bytes = Bytes::from(fs::read(entry.path()).unwrap());
        let document = NodeDocument::parse(bytes.clone(), 64).unwrap_or_else(|error| panic!("{name} is torn: {error}"));
        let id = document.id().to_string();
        let content: Value = serde_json::from_slice(&bytes).unwrap();
        let version = content["version"].as_u64().unwrap();
        let expected = node(&id, version);
        assert!(expected["filler"] == content["filler"] && expected["end"] == content["end"], "{name} is torn");
        hashes.insert(id.clone(), document.content_hash().to_string());
        versions.insert(id, version);
    }
    let listed: BTreeMap<String, String> = service.nodes().await.into_iter().collect();
    assert_eq!(listed, hashes, "the index and the files");
    versions
}

/// Reads of every kind are served.
async fn check_reads(service: &Service) {
    for path in ["/nodes/kept", "/nodes?limit=3", "/discover", "/manifest/kept", "/health", "/ready", "/metrics"] {
        let answer = service.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}: {}", answer.text().await.unwrap());
    }
    // Asks the journal whether `unknown` was deleted.
    let body = json!({"nodes": [{"id": "unknown", "hash": "x"}, {"id": "deleted", "hash": "x"}]});
    assert_eq!(service.post_json("/sync", &body).await["wanted"], json!(["unknown"]));
}

async fn prepare(service: &Service) {
    for id in ["kept", "deleted", "other"] {
        assert_eq!(service.put(id, &node(id, 1)).await.status(), 201);
    }
    assert_eq!(service.delete("deleted").await.status(), 200);
    assert_eq!(register(service, "kept", 1).await.status(), 200);
}

async fn register(service: &Service, peer: &str, seq: u64) -> reqwest::Response {
    service.post("/manifest", signed(&key(1), &manifest(peer, seq))).await
}

/// Registers peers `p{first}` and on until the disk takes no more: the registry's file may have free pages left. The first that was refused.
async fn register_until_refused(service: &Service, first: u64) -> u64 {
    for seq in first..2_000 {
        let answer = register(service, &format!("p{seq}"), seq).await;
        if answer.status() != StatusCode::OK {
            assert_eq!(problem(answer).await, (507, "no_space".to_owned()));
            return seq;
        }
    }
    panic!("the disk never was full");
}

/// Whoever was told so is registered, and nobody else.
async fn check_peers(service: &Service, refused: &Option<u64>) {
    for seq in 2..=refused.unwrap_or_default() {
        let status = service.get(&format!("/manifest/p{seq}")).await.status();
        assert_eq!(status == StatusCode::OK, Some(seq) != *refused, "p{seq}: {status}");
    }
}

async fn until_healthy(service: &Service) {
    until("it is healthy by itself", LIMIT, async || service.get_json("/health").await["status"] == "healthy").await;
}

/// Writes until the disk takes no more; the versions that were acknowledged.
async fn write_until_refused(service: &Service, code: &str) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    for number in 0..2_000 {
        let id = format!("n{number}");
        let answer = service.put(&id, &node(&id, number)).await;
        if answer.status() != StatusCode::CREATED {
            let status = if code == "no_space" { 507 } else { 503 };
            assert_eq!(problem(answer).await, (status, code.to_owned()));
            return acknowledged;
        }
        acknowledged.insert(id, number);
    }
    panic!("the disk never was full");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_the_rest() {
    for (disk, lattice, state) in [("lattice", "4m", "24m"), ("state", "24m", "12m")] {
        let disks = Disks::new(lattice, state);
        let service = disks.place.serve().await;
        prepare(&service).await;
        disks.fill(disk);
        let mut expected = write_until_refused(&service, "no_space").await;
        let mut registered = None;
        expected.extend([("kept".to_owned(), 1), ("other".to_owned(), 1)]);
        // The journal has given up its reserve.
        disks.fill(disk);
        assert_eq!(check_files(&disks, &service).await, expected, "{disk}: what was refused did not happen");

        for (id, version) in [("kept", 2), ("new", 2), ("new", 3)] {
            assert_eq!(problem(service.put(id, &node(id, version)).await).await, (507, "no_space".to_owned()));
        }
        check_reads(&service).await;
        let health = service.get_json("/health").await;
        assert_eq!((&health["status"], &health["lattice"]["status"]), (&json!("degraded"), &json!("failing")));
        assert!(text(&health["lattice"]["detail"]).contains("full"), "{health}");
        if disk == "state" {
            assert_eq!(problem(service.delete("other").await).await, (507, "no_space".to_owned()));
            registered = Some(register_until_refused(&service, 2).await);
            check_peers(&service, &registered).await;
            check_reads(&service).await;
            let health = service.get_json("/health").await;
            assert_eq!(health["registry"]["status"], "failing", "{health}");
        } else {
            assert_eq!(register(&service, "late", 1).await.status(), 200, "its disk is another one");
            // Deleting makes room.
            assert_eq!(service.delete("other").await.status(), 200);
            expected.remove("other");
            disks.fill(disk);
        }
        assert_eq!(check_files(&disks, &service).await, expected);

        // A restart finds the same, after an orderly stop and after a kill.
        assert!(service.terminate().await.success());
        disks.place.serve().await.kill();
        if disk == "state" {
            // Edited while nobody looked: served, though it cannot be written down.
            fs::write(disks.path("lattice/other.json"), node("other", 9).to_string()).unwrap();
        }
        let service = disks.place.serve().await;
        check_reads(&service).await;
        check_peers(&service, &registered).await;
        if disk == "state" {
            assert_eq!(service.get_json("/nodes/other").await["version"], 9);
            expected.insert("other".to_owned(), 9);
        } else {
            assert_eq!(check_files(&disks, &service).await, expected);
        }
        assert_eq!(problem(service.put("kept", &node("kept", 2)).await).await, (507, "no_space".to_owned()));

        disks.free(disk);
        until_healthy(&service).await;
        assert_eq!(service.put("kept", &node("kept", 2)).await.status(), 200);
        assert_eq!(service.put("new", &node("new", 4)).await.status(), 201);
        assert_eq!(register(&service, "kept", 3).await.status(), 200);
        expected.extend([("kept".to_owned(), 2), ("new".to_owned(), 4)]);
        assert_eq!(check_files(&disks, &service).await, expected, "{disk}: all works again");
        until_healthy(&service).await;
        assert!(!disks.place.log().contains("panic"), "{}", disks.place.log());
    }
}

#[tokio::test]
async fn a_registry_whose_disk_was_full_is_healthy_again_by_itself() {
    let disks = Disks::new("4m", "12m");
    let service = disks.place.serve().await;
    prepare(&service).await;
    disks.fill("state");
    let refused = register_until_refused(&service, 2).await;
    assert_eq!(service.get_json("/health").await["registry"]["status"], "failing");
    check_reads(&service).await;
    // Also where the first registration after a start finds it full.
    assert!(service.terminate().await.success());
    disks.fill("state");
    let service = disks.place.serve().await;
    // Not those who are registered: the same `seq` in another second is another statement, which is refused for that.
    let refused_now = register_until_refused(&service, refused).await;
    check_peers(&service, &Some(refused_now)).await;
    check_reads(&service).await;
    disks.free("state");
    until_healthy(&service).await;
    assert_eq!(register(&service, "late", 1).await.status(), 200);
}

#[tokio::test]
async fn registrations_alone_fill_no_small_disk() {
    let disks = Disks::new("4m", "12m");
    let service = disks.place.serve().await;
    prepare(&service).await;
    // More than the disk holds, of three peers.
    let mut sent = 0;
    for seq in 2.. {
        let mut long = manifest(&format!("p{}", seq % 3), seq);
        long["filler"] = json!("x".repeat(7 << 10));
        let envelope = signed(&key(1), &long);
        sent += envelope.len();
        assert_eq!(service.post("/manifest", envelope).await.status(), 200, "after {sent} bytes");
        if sent > 24 << 20 {
            break;
        }
    }
    assert_eq!(service.put("new", &node("new", 1)).await.status(), 201, "and there is room for a node");
    assert_eq!(service.get_json("/health").await["status"], "healthy");
}

/// What one writer knows of its own nodes.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<String, u64>,
    /// Sent when the service was killed: it may have happened.
    unanswered: Option<(String, u64)>,
    refused: u32,
}

async fn write_on(service: &Service, writer: u64, first: u64, ledger: &mut Ledger) {
    for version in first.. {
        let id = format!("w{writer}-{}", version % 60);
        let request = service.request(Method::PUT, &format!("/nodes/{id}")).bearer_auth(service::TOKEN);
        ledger.unanswered = Some((id.clone(), version));
        let Ok(answer) = request.json(&node(&id, version)).send().await else { return };
        ledger.unanswered = None;
        match answer.status() {
            status if status.is_success() => drop(ledger.acknowledged.insert(id, version)),
            StatusCode::INSUFFICIENT_STORAGE => ledger.refused += 1,
            status => panic!("{status}: {}", answer.text().await.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_kill_on_a_full_disk_tears_nothing_and_loses_nothing() {
    let disks = Disks::shared("24m");
    let mut ledgers: [Ledger; 3] = Default::default();
    for round in 0..6 {
        let mut service = disks.place.serve().await;
        {
            let first = 1 + round * 100_000;
            let [a, b, c] = &mut ledgers;
            let writes = async {
                tokio::join!(
                    write_on(&service, 0, first, a),
                    write_on(&service, 1, first, b),
                    write_on(&service, 2, first, c)
                );
            };
            let pid = service.process.id().to_string();
            let accident = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                disks.fill("disk");
                tokio::time::sleep(Duration::from_millis(60 * round)).await;
                assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
            };
            tokio::join!(writes, accident);
        }
        service.process.kill();
        // Every second time it starts while the disk is full still.
        if round % 2 == 0 {
            disks.free("disk");
        }
        let service = disks.place.serve().await;
        let found = check_files(&disks, &service).await;
        for ledger in &mut ledgers {
            for (id, version) in &ledger.acknowledged {
                let maybe = ledger.unanswered.as_ref().filter(|(other, _)| other == id).map(|(_, version)| *version);
                let now = found.get(id).copied();
                assert!(
                    now == Some(*version) || maybe.is_some() && now == maybe,
                    "{id}: {now:?}, acknowledged {version}"
                );
            }
            if let Some((id, version)) = ledger.unanswered.take()
                && found.get(&id) == Some(&version)
            {
                ledger.acknowledged.insert(id, version);
            }
        }
        if round % 2 == 1 {
            disks.free("disk");
            until_healthy(&service).await;
        }
        service.kill();
    }
    let refused: u32 = ledgers.iter().map(|ledger| ledger.refused).sum();
    let acknowledged: usize = ledgers.iter().map(|ledger| ledger.acknowledged.len()).sum();
    eprintln!("{acknowledged} nodes, {refused} writes refused");
    assert!(refused > 0 && acknowledged > 0, "the disk was full and was not");
}

#[tokio::test]
async fn what_cannot_be_written_is_read_all_the_same() {
    let disks = Disks::new("8m", "16m");
    let service = disks.place.serve().await;
    prepare(&service).await;
    let unavailable = || (503, "lattice_unavailable".to_owned());
    disks.remount("lattice", "ro");
    for seq in 1..3 {
        assert_eq!(problem(service.put("kept", &node("kept", 2)).await).await, unavailable());
        assert_eq!(problem(service.put("new", &node("new", 2)).await).await, unavailable());
        assert_eq!(problem(service.delete("other").await).await, unavailable());
        assert_eq!(register(&service, "late", seq).await.status(), 200, "its disk is another one");
        check_reads(&service).await;
    }
    assert_eq!(service.get_json("/health").await["lattice"]["status"], "failing");
    let expected = BTreeMap::from([("kept".to_owned(), 1), ("other".to_owned(), 1)]);
    assert_eq!(check_files(&disks, &service).await, expected, "what was refused did not happen");
    disks.remount("lattice", "rw");
    until_healthy(&service).await;
    assert_eq!(service.put("new", &node("new", 3)).await.status(), 201, "all works again");

    // A start says in one line what is in its way.
    assert!(service.terminate().await.success());
    for disk in ["lattice", "state"] {
        disks.remount(disk, "ro");
        let refused = disks.place.command(&["serve", "--port", "0"]).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        let path = disks.place.path(disk).display().to_string();
        assert!(said.contains(&path) && said.contains("Read-only file system"), "{said}");
        disks.remount(disk, "rw");
    }
}

#[tokio::test]
async fn a_directory_without_permission_is_read_all_the_same() {
    let mut disks = Disks::new("8m", "16m");
    disks.place.without_power();
    let service = disks.place.serve().await;
    let permit = |mode| fs::set_permissions(disks.path("lattice"), fs::Permissions::from_mode(mode)).unwrap();
    prepare(&service).await;
    permit(0o555);
    for _ in 0..2 {
        let unavailable = (503, "lattice_unavailable".to_owned());
        assert_eq!(problem(service.put("kept", &node("kept", 2)).await).await, unavailable);
        assert_eq!(problem(service.delete("other").await).await, unavailable);
        check_reads(&service).await;
    }
    permit(0o755);
    until_healthy(&service).await;
    assert_eq!(service.put("kept", &node("kept", 2)).await.status(), 200);
}

#[tokio::test]
async fn commands_on_a_full_disk_say_so_and_leave_nothing_half_done() {
    let disks = Disks::new("1m", "16m");
    let source = Place::new();
    let nodes: Vec<Value> = (0..20).map(|number| node(&format!("n{number}"), 100_000 + number)).collect();
    nodes.iter().for_each(|node| source.write_node(node["id"].as_str().unwrap(), node));
    fs::write(source.path("nodes.json"), json!(nodes).to_string()).unwrap();
    let peer = source.serve().await;
    let from = text(&json!(source.path("nodes.json")));
    for args in [vec!["import", &from], vec!["pull", "--from", &peer.url]] {
        disks.fill("lattice");
        let refused = disks.place.command(&args).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("No space left"), "{args:?}: {said}");
        let names =
            || fs::read_dir(disks.path("lattice")).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        assert_eq!(names().collect::<Vec<_>>(), ["fill"], "{args:?}");
        disks.free("lattice");
        let done = disks.place.command(&args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(names().filter(|name| name.starts_with('n')).count(), 20, "{args:?}");
        names().for_each(|name| fs::remove_file(disks.path("lattice").join(name)).unwrap());
    }
}

/// Copies of nodes take only what nobody else needs.
#[tokio::test]
async fn nothing_is_copied_where_the_disk_has_little_room_left() {
    const NODES: usize = 1200;
    // The journal and its reserve leave some two megabytes; the copies would take one and a half.
    let disks = Disks::new("16m", "8m");
    for number in 0..NODES {
        let id = format!("n{number}");
        let node = json!({"id": id, "filler": "x".repeat(1200)});
        fs::write(disks.path("lattice").join(format!("{id}.json")), node.to_string()).unwrap();
    }
    let service = disks.place.serve().await;
    for _ in 0..4 {
        assert_eq!(service.post_json("/sync", &json!({"nodes": []})).await["delta_count"], NODES);
    }
    let said = || disks.place.log().matches("small nodes cannot be copied").count();
    until("it says so", LIMIT, async || said() > 0).await;
    assert_eq!(service.post_json("/sync", &json!({"nodes": []})).await["delta_count"], NODES);
    assert_eq!(service.put("new", &node("new", 1)).await.status(), StatusCode::CREATED);
    assert!(service.terminate().await.success());
    assert_eq!(said(), 1);
    let names = fs::read_dir(disks.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let copies: Vec<_> = names.filter(|name| name.to_string_lossy().contains("pack")).collect();
    assert!(copies.is_empty(), "{copies:?}");
}
