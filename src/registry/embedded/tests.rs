//! The conformance suite on the embedded registry, then what only a file can get wrong.

use super::*;
use crate::{
    registry::{
        NoPlace, Share,
        conformance::{Harness, LIMITS, MAX_PEERS, START, Statement, TTL, UNUSED_TTL, conformance_tests, line},
    },
    trust::VersionError,
    types::{TestClock, Timestamp},
};
use std::{fs, path::Path, time::Instant};
use tempfile::TempDir;

struct Embedded {
    registry: EmbeddedRegistry,
    clock: Arc<TestClock>,
    _directory: TempDir,
}

#[async_trait]
impl Harness for Embedded {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::at(START);
        let registry = open(&directory.path().join("registry.redb"), &clock);
        Self { registry, clock, _directory: directory }
    }

    fn registry(&self) -> &dyn Registry {
        &self.registry
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn finish(self) {
        self.registry.close().await;
    }
}

mod sizes;

mod conformance {
    super::conformance_tests! { super::Embedded }
}

/// Nobody decided on anybody, but on this id.
#[derive(Debug)]
struct Decided(&'static str);

impl KnownPeers for Decided {
    fn is_known(&self, peer: &PeerId, _key: PublicKey) -> bool {
        peer.as_str() == self.0
    }
}

fn options(path: &Path, clock: SharedClock) -> EmbeddedOptions {
    let known = Arc::new(Decided("decided"));
    EmbeddedOptions { path: path.to_owned(), ttl: TTL, limits: LIMITS, unused_ttl: UNUSED_TTL, known, clock }
}

fn try_open(path: &Path, clock: &Arc<TestClock>) -> Result<EmbeddedRegistry, OpenError> {
    let clock: SharedClock = Arc::<TestClock>::clone(clock);
    EmbeddedRegistry::open(options(path, clock))
}

fn open(path: &Path, clock: &Arc<TestClock>) -> EmbeddedRegistry {
    try_open(path, clock).unwrap()
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "it does not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_without_a_close() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("registry.redb"), directory.path().join("copy.redb"));
    let clock = TestClock::at(START);
    let registry = open(&path, &clock);
    for number in 0..50 {
        let statement = Statement::of(&format!("peer {number}")).seq(number);
        statement.expect(&registry, Step::First).await;
        if number % 10 == 0 {
            // The files as a process killed now would leave them.
            for extension in ["redb", "log"] {
                fs::copy(path.with_extension(extension), copy.with_extension(extension)).unwrap();
            }
            let survivor = open(&copy, &clock);
            assert_eq!(survivor.live().await.unwrap(), number + 1);
            assert_eq!(survivor.envelope(&statement.peer).await.unwrap(), Some(statement.envelope()));
            Statement::of(&format!("peer {number}"))
                .key(2)
                .seq(99)
                .expect_refused(&survivor, VersionError::KeyMismatch)
                .await;
            survivor.close().await;
        }
    }
}

#[tokio::test]
async fn reopening_brings_everything_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let registry = open(&path, &clock);
    let (early, late) = (Statement::of("early").seq(7), Statement::of("late").seq(8));
    early.expect(&registry, Step::First).await;
    clock.advance(Duration::from_secs(60));
    late.expect(&registry, Step::First).await;
    let before = registry.list(None, 10).await.unwrap();
    drop(registry);

    let registry = open(&path, &clock);
    assert_eq!(registry.list(None, 10).await.unwrap(), before);
    assert_eq!(registry.envelope(&late.peer).await.unwrap(), Some(late.envelope()));
    early.expect(&registry, Step::Heartbeat).await;
    drop(registry);

    clock.advance(Duration::from_secs(119));
    let registry = open(&path, &clock);
    assert_eq!(registry.live().await.unwrap(), 2, "the heartbeat was flushed");
    clock.advance(Duration::from_secs(1));
    assert_eq!(registry.live().await.unwrap(), 0);
    Statement::of("early").key(2).seq(9).expect_refused(&registry, VersionError::KeyMismatch).await;
    Statement::of("late").seq(7).expect_refused(&registry, VersionError::Rollback { field: "seq" }).await;
}

#[tokio::test]
async fn setting_the_wall_clock_moves_no_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let registry = open(&directory.path().join("registry.redb"), &clock);
    Statement::of("a").expect(&registry, Step::First).await;
    for wall in [START.plus(Duration::from_secs(3600)), Timestamp::EPOCH] {
        clock.set_wall(wall);
        assert_eq!(registry.list(None, 1).await.unwrap().peers[0].expires_in, TTL);
    }
    clock.advance(TTL);
    assert_eq!(registry.live().await.unwrap(), 0);
}

#[tokio::test]
async fn a_clock_set_back_while_closed_gives_at_most_one_ttl() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let registry = open(&path, &clock);
    Statement::of("a").expect(&registry, Step::First).await;
    drop(registry);
    clock.set_wall(Timestamp::EPOCH);
    let registry = open(&path, &clock);
    assert_eq!(registry.list(None, 1).await.unwrap().peers[0].expires_in, TTL);
    drop(registry);
    clock.set_wall(START.plus(TTL));
    assert_eq!(open(&path, &clock).live().await.unwrap(), 0);
}

#[tokio::test]
async fn expired_rows_leave_the_file_and_pins_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let registry = open(&path, &clock);
    for number in 0..10 {
        Statement::of(&number.to_string()).expect(&registry, Step::First).await;
    }
    let long = Statement { envelope: Some(Bytes::from(vec![b'x'; 5000])), ..Statement::of("long") };
    long.expect(&registry, Step::First).await;
    assert_eq!(registry.shared.store.row_counts(), [11, 11, 0, 1]);
    for number in 0..5 {
        Statement::of(&number.to_string()).expect(&registry, Step::Heartbeat).await;
    }
    Statement::of("9").content("newer").expect(&registry, Step::Newer).await;
    drop(registry);
    let registry = open(&path, &clock);
    assert_eq!(registry.shared.store.row_counts(), [11, 11, 5, 1]);
    assert_eq!(registry.envelope(&long.peer).await.unwrap(), Some(long.envelope()));
    let short = Statement::of("long").content("newer");
    short.expect(&registry, Step::Newer).await;
    assert_eq!(registry.shared.store.row_counts(), [11, 11, 5, 0]);
    assert_eq!(registry.envelope(&long.peer).await.unwrap(), Some(short.envelope()));
    long.content("newest").expect(&registry, Step::Newer).await;
    clock.advance(TTL);
    Statement::of("3").expect(&registry, Step::Heartbeat).await;
    drop(registry);
    let registry = open(&path, &clock);
    // It came back before its row had gone.
    assert_eq!(registry.shared.store.row_counts(), [11, 1, 11, 0]);
    clock.advance(TTL);
    drop(registry);
    let registry = open(&path, &clock);
    drop(registry);
    let registry = open(&path, &clock);
    assert_eq!(registry.shared.store.row_counts(), [11, 0, 11, 0]);
}

#[tokio::test]
async fn a_dropped_call_is_done_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("registry.redb"), &TestClock::at(START));
    let statement = Statement::of("a").seq(1);
    let admitted = statement.admitted();
    let mut call = registry.register(&admitted);
    assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
    drop(call);
    until(async || registry.live().await.unwrap() == 1).await;
    assert_eq!(registry.envelope(&statement.peer).await.unwrap(), Some(statement.envelope()));
    Statement::of("a").key(2).expect_refused(&registry, VersionError::KeyMismatch).await;
}

#[tokio::test]
async fn registrations_share_an_fsync() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(&directory.path().join("registry.redb"), &TestClock::at(START));
    let statements: Vec<_> = (0..MAX_PEERS).map(|number| Statement::of(&number.to_string())).collect();
    let outcomes =
        futures_util::future::join_all(statements.iter().map(|statement| statement.register(&registry))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(registry.live().await.unwrap(), MAX_PEERS);
}

#[tokio::test]
async fn a_file_that_is_not_a_registry_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let good = directory.path().join("registry.redb");
    let registry = open(&good, &clock);
    Statement::of("a").expect(&registry, Step::First).await;
    drop(registry);
    let whole = fs::read(&good).unwrap();
    let mut garbled_header = whole.clone();
    garbled_header[..64].fill(0xA5);
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("text", b"not a registry".to_vec()),
        ("long text", b"not a registry\n".repeat(10_000)),
        ("zeros", vec![0; 1 << 20]),
        ("cut to a page", whole[..4096].to_vec()),
        ("cut to half", whole[..whole.len() / 2].to_vec()),
        ("garbled header", garbled_header),
    ] {
        let path = directory.path().join(name);
        fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes)).unwrap();
        let error = try_open(&path, &clock).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name));
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was changed");
    }
}

#[tokio::test]
async fn a_log_that_is_missing_or_of_another_time_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let path = directory.path().join("registry.redb");
    let at = |name: &str| directory.path().join(name);
    let copy = |from: &Path, to: &Path| assert_ne!(fs::copy(from, to).unwrap(), 0);
    let registry = open(&path, &clock);
    Statement::of("a").seq(1).expect(&registry, Step::First).await;
    copy(&path, &at("early.redb"));
    copy(&path.with_extension("log"), &at("early.log"));
    drop(registry);
    copy(&path, &at("settled.redb"));
    let registry = open(&path, &clock);
    Statement::of("a").seq(2).expect(&registry, Step::Newer).await;
    copy(&path.with_extension("log"), &at("late.log"));
    drop(registry);

    // Closed in order, the file is whole without its log.
    let settled = open(&at("settled.redb"), &clock);
    Statement::of("a").seq(1).expect(&settled, Step::Heartbeat).await;

    // While it was open its log has what nobody may forget.
    for (log, reason) in [(None, "its log is missing"), (Some("late.log"), "its log is of a later time")] {
        copy(&at("early.redb"), &at("damaged.redb"));
        if let Some(log) = log {
            copy(&at(log), &at("damaged.log"));
        }
        let said = try_open(&at("damaged.redb"), &clock).unwrap_err().to_string();
        assert!(said.contains(reason) && said.contains("damaged.log") && said.contains("move it away"), "{said}");
    }
    let early = open(&at("early.redb"), &clock);
    Statement::of("a").key(2).seq(1).expect_refused(&early, VersionError::KeyMismatch).await;
    Statement::of("a").seq(1).expect(&early, Step::Heartbeat).await;
}

#[tokio::test]
async fn keys_with_statements_and_long_envelopes_find_their_way_past_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (path, clock) = (directory.path().join("registry.redb"), TestClock::at(START));
    let registry = open(&path, &clock);
    let long = Statement { envelope: Some(Bytes::from(vec![b'x'; log::MAX_FRAME_BYTES])), ..Statement::of("long") };
    long.expect(&registry, Step::First).await;
    Statement::of("a").seq(1).expect(&registry, Step::First).await;
    assert_eq!(registry.envelope(&long.peer).await.unwrap(), Some(long.envelope()));
    // In the log of now, then in the file.
    for round in 0..2 {
        let before = registry.bound(&Statement::of("a").peer).await.unwrap().unwrap();
        let line = KeyLine { public_key: before.public_key, ..line(1, &[]) };
        if round == 0 {
            assert!(registry.bind(&Statement::of("a").peer, Some(&before), &line, "").await.unwrap());
        }
        Statement::of("a").seq(2 + round).expect(&registry, Step::Newer).await;
        let bound = registry.bound(&Statement::of("a").peer).await.unwrap().unwrap();
        assert_eq!(bound.line, Some(line));
    }
    drop(registry);
    let registry = open(&path, &clock);
    assert_eq!(registry.envelope(&long.peer).await.unwrap(), Some(long.envelope()));
    Statement::of("a").seq(3).expect(&registry, Step::Heartbeat).await;
}

#[tokio::test]
async fn a_file_in_use_or_out_of_reach_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let _registry = open(&path, &clock);
    assert!(matches!(try_open(&path, &clock), Err(OpenError::InUse { .. })));
    let nowhere = directory.path().join("missing").join("registry.redb");
    assert!(matches!(try_open(&nowhere, &clock), Err(OpenError::Io { .. })));
}

#[tokio::test]
async fn after_a_failed_write_reads_go_on_and_the_next_write_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let registry = open(&path, &TestClock::at(START));
    Statement::of("a").seq(1).expect(&registry, Step::First).await;
    // As if the disk had gone: the open file is shut and its name leads nowhere.
    registry.shared.store.close();
    fs::rename(&path, directory.path().join("away")).unwrap();
    for _ in 0..2 {
        let outcome = Statement::of("a").seq(2).register(&registry).await;
        assert!(matches!(outcome, Err(RegistryError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(registry.live().await.unwrap(), 1);
    assert_eq!(registry.list(None, 1).await.unwrap().peers.len(), 1);
    assert!(!path.exists(), "a missing file is not made anew");
    fs::rename(directory.path().join("away"), &path).unwrap();
    Statement::of("a").key(2).seq(2).expect_refused(&registry, VersionError::KeyMismatch).await;
    Statement::of("a").seq(2).expect(&registry, Step::Newer).await;
}

/// The process that the next test kills: registers in its working directory, where that is prepared for it, and says what was
/// acknowledged. Run with all the others it has nothing to do.
#[tokio::test]
async fn child_that_registers_until_it_is_killed() {
    let path = Path::new("killed.redb");
    if !Path::new("registers-here").exists() {
        return;
    }
    let clock = TestClock::at(START);
    let options = EmbeddedOptions { limits: PlaceLimits { max_peers: u64::MAX, ..LIMITS }, ..options(path, clock) };
    let registry = EmbeddedRegistry::open(options).unwrap();
    let from = registry.live().await.unwrap();
    let registry = &registry;
    // Eight at once, so that the kill also meets batches of several.
    futures_util::future::join_all((0..8).map(|lane| async move {
        for number in 0..5000 {
            let name = format!("{from}-{lane}-{number}");
            Statement::of(&name).seq(1).register(registry).await.unwrap();
            println!("acknowledged {name}.");
        }
    }))
    .await;
}

#[tokio::test]
async fn a_process_killed_at_any_moment_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    fs::File::create(directory.path().join("registers-here")).unwrap();
    let path = directory.path().join("killed.redb");
    let mut acknowledged = Vec::new();
    // The last of them are killed after the log began anew, or while it did.
    for (round, kill_after) in [40, 63, 86, 3000, 6000].into_iter().enumerate() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "--exact"])
            .arg("registry::embedded::tests::child_that_registers_until_it_is_killed")
            .current_dir(directory.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            // The last line may be cut by the kill.
            let Some((_, name)) = line.strip_suffix('.').and_then(|line| line.split_once("acknowledged ")) else {
                continue;
            };
            acknowledged.push(name.to_owned());
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "round {round}: the child did not register");
        let clock: SharedClock = TestClock::at(START);
        let options =
            EmbeddedOptions { limits: PlaceLimits { max_peers: u64::MAX, ..LIMITS }, ..options(&path, clock) };
        let registry = EmbeddedRegistry::open(options).unwrap();
        for (place, name) in acknowledged.iter().rev().enumerate() {
            let statement = Statement::of(name).seq(1);
            let envelope = registry.envelope(&statement.peer).await.unwrap();
            assert_eq!(envelope, Some(statement.envelope()), "{name} is lost");
            if place < 50 {
                statement.key(2).expect_refused(&registry, VersionError::KeyMismatch).await;
            }
        }
        registry.close().await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_or_keeps_its_bindings() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let path = directory.path().join("registry.redb");
    let registry = open(&path, &clock);
    for number in 0..100 {
        Statement::of(&number.to_string()).expect(&registry, Step::First).await;
    }
    drop(registry);
    let whole = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    // Fixed, so that a failure can be repeated.
    let mut state: u64 = 7;
    for round in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = used[usize::try_from(state >> 33).unwrap() % used.len()];
            bytes[at] ^= 0x55;
        }
        let damaged = directory.path().join("damaged.redb");
        fs::File::create(&damaged).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes)).unwrap();
        drop(fs::remove_file(damaged.with_extension("log")));
        match Store::open(&damaged).and_then(|store| store.load().map(|loaded| (store, loaded))) {
            Err(OpenError::Corrupt { .. }) => {}
            Err(other) => panic!("round {round}: {other}"),
            Ok((_, (loaded, _))) => {
                for entry in loaded {
                    assert_eq!(entry.pin.public_key, Statement::of("a").public_key(), "round {round}");
                }
            }
        }
    }
}

/// Wakes the writer, which looks for unused bindings when it is time, until this holds.
async fn until_swept(registry: &EmbeddedRegistry, mut holds: impl AsyncFnMut() -> bool) {
    until(async || {
        let nudge = Statement::of("decided").content(&format!("{:?}", Instant::now()));
        nudge.register(registry).await.unwrap();
        holds().await
    })
    .await;
}

async fn is_bound(registry: &EmbeddedRegistry, id: &str) -> bool {
    let statement = Statement::of(id);
    registry.bindings(&statement.peer, statement.public_key()).await.unwrap().known
}

#[tokio::test]
async fn bindings_of_strangers_that_are_not_used_go_and_those_that_were_decided_on_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let registry = open(&path, &clock);
    for number in 0..100_u8 {
        Statement::of(&format!("s{number}")).stranger(None).key(number % 3 + 2).expect(&registry, Step::First).await;
    }
    Statement::of("decided").expect(&registry, Step::First).await;
    registry.close().await;
    drop(registry);
    // A restart in between, and a heartbeat of one of them: its binding is used.
    let registry = open(&path, &clock);
    let of_key = async |registry: &EmbeddedRegistry| {
        let statement = Statement::of("s0").key(2);
        registry.bindings(&statement.peer, statement.public_key()).await.unwrap().of_key
    };
    assert_eq!(of_key(&registry).await, 34);
    clock.advance(UNUSED_TTL - Duration::from_secs(1));
    Statement::of("s1").stranger(None).key(3).expect(&registry, Step::Heartbeat).await;
    registry.close().await;
    drop(registry);
    let registry = open(&path, &clock);
    assert!(is_bound(&registry, "s0").await);
    clock.advance(TTL + Duration::from_secs(2));
    until_swept(&registry, async || !is_bound(&registry, "s0").await).await;
    assert_eq!(of_key(&registry).await, 0, "another key may have the id now, and the key others");
    for number in 2..100 {
        assert!(!is_bound(&registry, &format!("s{number}")).await, "{number}");
    }
    Statement::of("s0").key(9).stranger(None).expect(&registry, Step::First).await;
    Statement::of("s1").key(9).expect_refused(&registry, VersionError::KeyMismatch).await;
    Statement::of("decided").key(9).expect_refused(&registry, VersionError::KeyMismatch).await;
    registry.close().await;
}

#[tokio::test]
async fn bindings_without_a_date_count_as_used_when_they_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let registry = open(&directory.path().join("registry.redb"), &clock);
    Statement::of("a").stranger(None).expect(&registry, Step::First).await;
    let peer = Statement::of("a").peer;
    let pin = Pin::fresh(Statement::of("a").public_key());
    // As an older version left it; before the clock moves, which makes the next look due.
    registry.shared.store.write(|tables| tables.put_pin(&peer, &pin)).unwrap();
    clock.advance(TTL);
    let dated =
        || registry.shared.store.idle("", 9).unwrap().0.iter().any(|it| it.peer == peer && it.used_until_ms.is_some());
    until_swept(&registry, async || dated()).await;
    clock.advance(UNUSED_TTL - TTL);
    until_swept(&registry, async || registry.shared.store.idle("", 9).is_ok()).await;
    assert!(is_bound(&registry, "a").await);
    clock.advance(TTL * 2);
    until_swept(&registry, async || !is_bound(&registry, "a").await).await;
    registry.close().await;
}

const STRANGER_BYTES: u64 = 4_000_000;

fn large(id: &str, key: u8, address: &str) -> Statement {
    let mut statement = Statement::of(id).key(key).stranger(Some(address));
    statement.envelope = Some(vec![key; 100_000].into());
    statement
}

/// Whose bytes are used up, or none: then it is registered. A disk that is slow is asked again.
async fn over_bytes(registry: &EmbeddedRegistry, statement: &Statement) -> Option<Share> {
    loop {
        match statement.register(registry).await {
            Ok(_) => return None,
            Err(RegistryError::NoPlace(NoPlace::Bytes { share, .. })) => return Some(share),
            Err(RegistryError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn the_bytes_of_strangers_are_bounded_in_memory_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let clock = TestClock::at(START);
    let shared: SharedClock = clock.clone();
    let limits = PlaceLimits { stranger_bytes: STRANGER_BYTES, ..LIMITS };
    let registry = EmbeddedRegistry::open(EmbeddedOptions { limits, ..options(&path, shared) }).unwrap();
    for round in 0..6_u8 {
        let name = |number: usize| format!("{round}-{number}");
        // A key, an address, and all of them.
        let mut taken = 0;
        for number in 0..12 {
            taken += usize::from(over_bytes(&registry, &large(&name(number), 1, "4:1")).await.is_none());
        }
        assert_eq!(taken, 9, "a quarter of 4 MB, with what is beside the envelopes");
        assert_eq!(over_bytes(&registry, &large(&name(20), 1, "4:2")).await, Some(Share::Key));
        assert_eq!(over_bytes(&registry, &large(&name(20), 2, "4:1")).await, Some(Share::Address));
        for number in 30..80 {
            let spread = u8::try_from(number % 10 + 10).unwrap();
            let address = format!("4:{spread}");
            taken += usize::from(over_bytes(&registry, &large(&name(number), spread, &address)).await.is_none());
        }
        assert_eq!(taken, 39);
        assert_eq!(over_bytes(&registry, &large(&name(20), 3, "4:3")).await, Some(Share::Strangers));
        // A small one is taken, and cannot grow.
        let small = Statement::of(&name(21)).key(4).stranger(Some("4:4"));
        assert_eq!(over_bytes(&registry, &small).await, None);
        let mut grown = small.clone().content("grown");
        grown.envelope = Some(vec![4; 100_000].into());
        assert_eq!(over_bytes(&registry, &grown).await, Some(Share::Strangers));
        // Known peers are not counted.
        let mut known = Statement::of("decided").content(&round.to_string());
        known.envelope = grown.envelope;
        assert_eq!(over_bytes(&registry, &known).await, None);
        let all = registry.shared.mirror().tallies().all;
        assert!(all.entries == 40 && all.bytes <= STRANGER_BYTES, "{all:?}");
        clock.advance(TTL);
        assert_eq!(registry.live().await.unwrap(), 0);
        assert_eq!(registry.shared.mirror().tallies().all.bytes, 0);
        assert_eq!(registry.shared.mirror().tallies().sizes(), (0, 0));
    }
    registry.close().await;
    let bytes = fs::metadata(&path).unwrap().len();
    // What is freed is used again: six times as much came. The file is written beside itself, so it may be twice as long.
    assert!(bytes < 3 * STRANGER_BYTES, "{bytes}");
}
