//! The conformance suite on a real Redis, its layout, and what happens when Redis goes.

use super::*;
use crate::registry::StoreState;
use crate::{
    registry::{
        conformance::{Harness, LIMITS, START, Statement, TTL, UNUSED_TTL, conformance_tests},
        redis_server::RedisServer,
    },
    types::TestClock,
};
use std::sync::Arc;
use std::{collections::HashSet, time::Instant};

struct Redis {
    registry: RedisRegistry,
    clock: Arc<TestClock>,
    _server: RedisServer,
}

#[async_trait]
impl Harness for Redis {
    async fn start() -> Self {
        let server = RedisServer::start().await;
        let clock = TestClock::at(START);
        let time = TimeSource::Injected(Arc::<TestClock>::clone(&clock));
        let registry = RedisRegistry::connect(RedisOptions { time, ..options(&server) }).unwrap();
        Self { registry, clock, _server: server }
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

mod shapes;

mod conformance {
    super::conformance_tests! { super::Redis }
}

/// The port's promise.
const ANSWER: Duration = Duration::from_secs(2);
const RECOVERY: Duration = Duration::from_secs(5);

fn options(server: &RedisServer) -> RedisOptions {
    RedisOptions {
        servers: Servers::at(&server.url().into()).unwrap(),
        prefix: "t:".to_owned(),
        ttl: TTL,
        limits: LIMITS,
        unused_ttl: UNUSED_TTL,
        pool_size: 8,
        min_replicas: 0,
        time: TimeSource::Server,
    }
}

fn connect(server: &RedisServer) -> RedisRegistry {
    RedisRegistry::connect(options(server)).unwrap()
}

async fn raw(server: &RedisServer, command: &str) -> String {
    server.inline(command).await.unwrap()
}

/// Every kind of call answers `Unavailable` within the port's promise.
async fn expect_outage(registry: &RedisRegistry) {
    let statement = Statement::of("outage");
    let calls = async {
        let outcomes = [
            statement.register(registry).await.err(),
            registry.envelope(&statement.peer).await.err(),
            registry.list(None, 10).await.err(),
            registry.live().await.err(),
            registry.ping().await.err(),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Some(RegistryError::Unavailable(_))), "{outcome:?}");
        }
    };
    // All five together: the first finds the outage, the others are answered at once.
    tokio::time::timeout(ANSWER, calls).await.expect("an answer in time");
}

async fn expect_recovery(registry: &RedisRegistry) -> Duration {
    let started = Instant::now();
    while registry.ping().await.is_err() {
        assert!(started.elapsed() < RECOVERY, "no recovery");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Statement::of("recovered").register(registry).await.unwrap();
    started.elapsed()
}

async fn connections(server: &RedisServer) -> usize {
    raw(server, "CLIENT LIST").await.lines().filter(|line| line.starts_with("id=")).count()
}

async fn expect_connections(server: &RedisServer, most: usize) {
    let started = Instant::now();
    while connections(server).await > most {
        assert!(started.elapsed() < RECOVERY, "{} connections", connections(server).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn keys_and_fields_are_those_of_the_design() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    let mut statement = Statement::of("pi").seq(4).updated(1_763_696_000);
    statement.fields.push(("nodes".to_owned(), "[{\"id\": \"n\"}]".to_owned()));
    statement.fields.push(("pubkey".to_owned(), "forged".to_owned()));
    statement.expect(&registry, Step::First).await;
    let mut keys: Vec<_> =
        raw(&server, "KEYS *").await.lines().filter(|line| line.starts_with("t:")).map(str::to_owned).collect();
    keys.sort();
    let ids = format!("t:ids:{}", statement.public_key());
    assert_eq!(keys, [ids.as_str(), "t:peer:pi", "t:peers:by_expiry", "t:pin:pi"]);
    assert_eq!(raw(&server, &format!("HGET {ids} count")).await, "$1\r\n1\r\n");
    let hash = raw(&server, "HGETALL t:peer:pi").await;
    for expected in
        ["instance_type\r\n$6\r\nlaptop", "nodes\r\n$13\r\n[{\"id\": \"n\"}]", "node_id\r\n$2\r\npi", "last_seen"]
    {
        assert!(hash.contains(expected), "{expected} in {hash}");
    }
    assert!(hash.contains(&statement.public_key().to_base64()) && !hash.contains("forged"));
    let ttl: i64 = raw(&server, "PTTL t:peer:pi").await.trim().trim_start_matches(':').parse().unwrap();
    assert!((100_000..=120_000).contains(&ttl), "{ttl}");
    assert_eq!(raw(&server, "TTL t:pin:pi").await, ":-1\r\n");
    assert!(raw(&server, "HGET t:pin:pi last_updated").await.contains("1763696000000000"));
    // Fields of an older manifest go with it.
    Statement::of("pi").seq(5).updated(1_763_696_001).expect(&registry, Step::Newer).await;
    assert_eq!(raw(&server, "HEXISTS t:peer:pi nodes").await, ":0\r\n");
    let record = &registry.list(None, 1).await.unwrap().peers[0];
    assert!(record.expires_in > TTL - Duration::from_secs(60) && record.expires_in <= TTL);
    registry.close().await;
}

#[tokio::test]
async fn the_index_is_swept_by_registrations() {
    let harness = <Redis as Harness>::start().await;
    for number in 0..250 {
        Statement::of(&number.to_string()).expect(&harness.registry, Step::First).await;
    }
    harness.advance(TTL);
    for (number, left) in [(0, 151), (1, 52), (2, 3), (3, 4)] {
        Statement::of(&format!("new {number}")).expect(&harness.registry, Step::First).await;
        assert_eq!(raw(&harness._server, "ZCARD t:peers:by_expiry").await, format!(":{left}\r\n"));
    }
    harness.finish().await;
}

#[tokio::test]
async fn an_evicted_entry_is_skipped_and_heals_with_the_next_heartbeat() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    for id in ["a", "b", "c"] {
        Statement::of(id).expect(&registry, Step::First).await;
    }
    raw(&server, "DEL t:peer:b").await;
    let ids = |page: PeerPage| page.peers.iter().map(|record| record.peer.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(registry.list(None, 10).await.unwrap()), ["a", "c"]);
    assert_eq!(registry.envelope(&PeerId::parse("b").unwrap()).await.unwrap(), None);
    assert!(registry.renew(&Statement::of("b").admitted()).await.unwrap().is_none());
    Statement::of("b").expect(&registry, Step::Heartbeat).await;
    assert_eq!(ids(registry.list(None, 10).await.unwrap()).len(), 3);
    registry.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_fails_closed() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    raw(&server, "SET t:pin:a text").await;
    raw(&server, "HSET t:pin:b pubkey x").await;
    raw(&server, "HSET t:pin:c pubkey x digest y seq z last_updated 1").await;
    for id in ["a", "b", "c"] {
        let outcome = Statement::of(id).open().register(&registry).await;
        let Err(RegistryError::Unavailable(fault)) = outcome else { panic!("{id}: {outcome:?}") };
        let expected = if id == "a" { StoreState::WrongType } else { StoreState::Unreadable };
        assert_eq!((fault.state, fault.key.as_deref()), (expected, Some(&*format!("t:pin:{id}"))));
        assert!(registry.renew(&Statement::of(id).open().admitted()).await.unwrap().is_none(), "{id}");
    }
    assert_eq!(registry.live().await.unwrap(), 0);
    Statement::of("d").expect(&registry, Step::First).await;
    raw(&server, "SET t:peers:by_expiry text").await;
    let Err(RegistryError::Unavailable(fault)) = registry.live().await else { panic!("the index is of another type") };
    assert_eq!((fault.state, fault.key.as_deref()), (StoreState::WrongType, Some("t:peers:by_expiry")));
    registry.close().await;
}

#[tokio::test]
async fn an_entry_that_another_program_wrote_hides_no_other() {
    let log = Log::default();
    let _guard = log.listen();
    let server = RedisServer::start().await;
    let registry = connect(&server);
    for id in ["a", "b", "c", "d", "e"] {
        Statement::of(id).expect(&registry, Step::First).await;
    }
    raw(&server, "HSET t:peer:b pubkey x").await;
    raw(&server, "HDEL t:peer:c summary").await;
    raw(&server, "SET t:peer:d text").await;
    // Ids that are none, first, in between and last; the last one also where a page would end.
    raw(&server, "ZADD t:peers:by_expiry 99999999999998 \"\\x01\" 99999999999999.5 strange +inf z").await;
    for limit in [1, 2, 3, 4, 5, 8, 100] {
        let (mut shown, mut after) = (Vec::new(), None);
        loop {
            let page = registry.list(after.as_ref(), limit).await.unwrap();
            shown.extend(page.peers.iter().map(|record| record.peer.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(shown, ["a", "e"], "pages of {limit}");
    }
    assert!(log.text().contains("is left out"), "{}", log.text());
    let unreadable = PeerId::parse("d").unwrap();
    assert_eq!(registry.envelope(&unreadable).await.unwrap(), None);
    for id in ["b", "d"] {
        assert!(registry.renew(&Statement::of(id).admitted()).await.unwrap().is_none(), "{id}");
    }
    // A registration puts the entry right, also as a heartbeat.
    Statement::of("b").content("newer").expect(&registry, Step::Newer).await;
    Statement::of("c").content("newer").expect(&registry, Step::Newer).await;
    Statement::of("d").expect(&registry, Step::Heartbeat).await;
    assert_eq!(registry.list(None, 10).await.unwrap().peers.len(), 5);
    registry.close().await;
}

#[test]
fn who_waits_for_a_renewal_when_its_runtime_ends_is_told() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, passing) = (runtime(), runtime());
    let (server, registry) = home.block_on(async {
        let server = RedisServer::start().await;
        let registry = Arc::new(connect(&server));
        Statement::of("a").expect(&*registry, Step::First).await;
        raw(&server, "CLIENT PAUSE 300 ALL").await;
        (server, registry)
    });
    let renewal = |registry: &Arc<RedisRegistry>| {
        let registry = Arc::clone(registry);
        async move { registry.renew(&Statement::of("a").admitted()).await }
    };
    // Asks, and goes while Redis says nothing; another one waits behind it.
    passing.block_on(async {
        tokio::spawn(renewal(&registry));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    });
    let behind = home.spawn(renewal(&registry));
    home.block_on(tokio::task::yield_now());
    drop(passing);
    home.block_on(async {
        let outcome = behind.await.unwrap();
        assert!(matches!(outcome, Err(RegistryError::Unavailable(_))), "{outcome:?}");
        until_renewed(&registry).await;
        registry.close().await;
        drop(server);
    });
}

/// A renewal that was given up may have lost its connection; the next ones are served again.
async fn until_renewed(registry: &RedisRegistry) {
    for _ in 0..50 {
        if registry.renew(&Statement::of("a").admitted()).await.is_ok_and(|renewed| renewed.is_some()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing is renewed any more");
}

#[tokio::test]
async fn a_redis_without_memory_takes_nothing() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    Statement::of("a").expect(&registry, Step::First).await;
    raw(&server, "CONFIG SET maxmemory 1").await;
    let outcome = Statement::of("b").register(&registry).await;
    assert!(matches!(outcome, Err(RegistryError::Unavailable(_))), "{outcome:?}");
    assert_eq!(registry.live().await.unwrap(), 1);
    assert_eq!(raw(&server, "EXISTS t:pin:b t:peer:b").await, ":0\r\n");
    raw(&server, "CONFIG SET maxmemory 0").await;
    Statement::of("b").expect(&registry, Step::First).await;
    registry.close().await;
}

#[tokio::test]
async fn a_replica_that_refuses_writes_is_unavailable_until_it_is_a_master() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    Statement::of("a").expect(&registry, Step::First).await;
    raw(&server, "REPLICAOF 127.0.0.1 1").await;
    let outcome = Statement::of("b").register(&registry).await;
    assert!(matches!(outcome, Err(RegistryError::Unavailable(_))), "{outcome:?}");
    assert_eq!(registry.live().await.unwrap(), 1);
    raw(&server, "REPLICAOF NO ONE").await;
    Statement::of("b").expect(&registry, Step::First).await;
    registry.close().await;
}

#[tokio::test]
async fn a_lost_script_is_loaded_again() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    Statement::of("a").expect(&registry, Step::First).await;
    raw(&server, "SCRIPT FLUSH").await;
    Statement::of("a").expect(&registry, Step::Heartbeat).await;
    registry.close().await;
}

#[tokio::test]
async fn a_paused_redis_is_unavailable_in_time_and_comes_back() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    let statements: Vec<_> = (0..8).map(|number| Statement::of(&number.to_string())).collect();
    futures_util::future::join_all(statements.iter().map(|statement| statement.register(&registry))).await;
    server.pause();
    expect_outage(&registry).await;
    expect_outage(&registry).await;
    server.resume();
    let took = expect_recovery(&registry).await;
    assert!(took < ANSWER, "{took:?}");
    registry.close().await;
}

#[tokio::test]
async fn a_killed_redis_is_unavailable_in_time_and_comes_back() {
    let mut server = RedisServer::start().await;
    let registry = connect(&server);
    Statement::of("a").expect(&registry, Step::First).await;
    server.stop();
    expect_outage(&registry).await;
    server.restart().await;
    let took = expect_recovery(&registry).await;
    assert!(took < ANSWER, "{took:?}");
    registry.close().await;
}

#[tokio::test]
async fn setting_up_needs_no_redis() {
    let mut server = RedisServer::start().await;
    server.stop();
    let registry = connect(&server);
    expect_outage(&registry).await;
    server.restart().await;
    expect_recovery(&registry).await;
    registry.close().await;
}

#[tokio::test]
async fn twenty_outages_leak_no_connection() {
    let mut server = RedisServer::start().await;
    let registry = connect(&server);
    for round in 0..20 {
        expect_recovery(&registry).await;
        if round % 4 == 0 {
            server.pause();
            let calls: Vec<_> = (0..16).map(|_| registry.live()).collect();
            let answers = tokio::time::timeout(ANSWER, futures_util::future::join_all(calls)).await.unwrap();
            assert!(answers.iter().all(Result::is_err));
            server.resume();
        } else if round % 4 == 1 {
            server.restart().await;
            let _ = registry.ping().await;
        } else {
            raw(&server, "CLIENT KILL TYPE normal SKIPME yes").await;
            let _ = registry.ping().await;
        }
    }
    expect_recovery(&registry).await;
    // The pool's eight, and the one that asks.
    expect_connections(&server, 9).await;
    registry.close().await;
    expect_connections(&server, 1).await;
}

#[tokio::test]
async fn a_crowd_of_calls_is_answered_over_few_connections() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    Statement::of("a").expect(&registry, Step::First).await;
    let answers = futures_util::future::join_all((0..200).map(|_| registry.live())).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 1));
    expect_connections(&server, 5).await;
    registry.close().await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_costs_no_call() {
    let server = RedisServer::start().await;
    let registry = connect(&server);
    for _ in 0..5 {
        // More calls than connections: each of them has been used.
        futures_util::future::join_all((0..8).map(|_| async { registry.live().await.unwrap() })).await;
        raw(&server, "CLIENT KILL TYPE normal SKIPME yes").await;
        futures_util::future::join_all((0..8).map(|_| async { registry.live().await.unwrap() })).await;
        raw(&server, "CLIENT KILL TYPE normal SKIPME yes").await;
        registry.ping().await.unwrap();
    }
    registry.close().await;
}

#[tokio::test]
async fn a_password_never_shows() {
    let secret = "hunter2secret";
    let with = |url: String| {
        Ok::<_, RedisConfigError>(RedisOptions {
            servers: Servers::at(&url.into())?,
            prefix: String::new(),
            ttl: TTL,
            limits: PlaceLimits { max_peers: 1, ..LIMITS },
            unused_ttl: UNUSED_TTL,
            pool_size: 1,
            min_replicas: 0,
            time: TimeSource::Server,
        })
    };
    for url in [
        format!("http://:{secret}@localhost/"),
        format!("redis://:{secret}@localhost:port/"),
        format!("redis://:{secret}@localhost/notanumber"),
        format!("redis://:{secret}@/x/y?{secret}={secret}"),
        secret.to_owned(),
        String::new(),
    ] {
        let Err(error) = with(url) else { panic!("a URL that is none was taken") };
        assert!(!format!("{error} {error:?}").contains(secret));
    }
    let server = RedisServer::start().await;
    let url = server.url().replace("redis://", &format!("redis://:{secret}@"));
    let options = with(url).unwrap();
    assert!(!format!("{options:?}").contains(secret));
    let registry = RedisRegistry::connect(options).unwrap();
    let error = registry.ping().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error} {error:?} {registry:?}").contains(secret));
    registry.close().await;
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(move || writer.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_why_redis_cannot_be_used() {
    let log = Log::default();
    let _guard = log.listen();
    let server = RedisServer::start().await;
    raw(&server, "CONFIG SET requirepass another").await;
    let servers = Servers::at(&server.url().replace("redis://", "redis://:hunter2secret@").into()).unwrap();
    let registry = RedisRegistry::connect(RedisOptions { servers, ..options(&server) }).unwrap();
    assert!(registry.ping().await.is_err());
    registry.close().await;
    let said = log.text();
    assert!(said.contains("uthentication") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_long_list_comes_in_several_runs() {
    let server = RedisServer::start().await;
    let registry =
        RedisRegistry::connect(RedisOptions { limits: PlaceLimits { max_peers: 2000, ..LIMITS }, ..options(&server) })
            .unwrap();
    for number in 0..1200 {
        Statement::of(&number.to_string()).expect(&registry, Step::First).await;
    }
    let (mut seen, mut after) = (HashSet::new(), None);
    loop {
        let page = registry.list(after.as_ref(), 1100).await.unwrap();
        assert_eq!(page.total, 1200);
        seen.extend(page.peers.into_iter().map(|record| record.peer));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 1200);
    registry.close().await;
}

#[tokio::test]
async fn replicas_share_what_a_payer_has_and_count_alone_while_redis_is_away() {
    let server = RedisServer::start().await;
    let one = RedisRegistry::connect(options(&server)).unwrap();
    let other = RedisRegistry::connect(options(&server)).unwrap();
    let payer = Payer::of("192.0.2.1".parse().unwrap());
    let hour = Duration::from_secs(3600);
    // An hour's allowance of four: one comes back in a quarter of an hour, which no test takes.
    for (replica, left) in [(&one, 3), (&other, 2), (&one, 1), (&other, 0)] {
        assert_eq!(replica.spend(Class::Signed, payer, 4, hour).await, Some(Spent::Left(left)));
    }
    for replica in [&one, &other] {
        let Some(Spent::Wait(wait)) = replica.spend(Class::Signed, payer, 4, hour).await else {
            panic!("nothing is left")
        };
        assert!(wait <= hour / 4 && wait > hour / 5, "{wait:?}");
    }
    assert_eq!(one.spend(Class::NewId, payer, 4, hour).await, Some(Spent::Left(3)), "another class");
    let other_payer = Payer::of("192.0.2.2".parse().unwrap());
    assert_eq!(one.spend(Class::Signed, other_payer, 4, hour).await, Some(Spent::Left(3)));
    assert_eq!(one.spend(Class::Signed, payer, 0, hour).await, None);
    drop(server);
    assert_eq!(one.spend(Class::Signed, other_payer, 4, hour).await, None);
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn bindings_of_strangers_expire_and_their_bytes_are_counted() {
    let server = RedisServer::start().await;
    let limits = PlaceLimits { stranger_bytes: 1_000_000, ..LIMITS };
    let clock = TestClock::at(START);
    let time = TimeSource::Injected(Arc::<TestClock>::clone(&clock));
    let registry = RedisRegistry::connect(RedisOptions { limits, time, ..options(&server) }).unwrap();
    let pin_ttl_ms = async |id: &str| -> i64 {
        raw(&server, &format!("PTTL t:pin:{id}")).await.trim().trim_start_matches(':').parse().unwrap()
    };
    let ninety_days = i64::try_from(UNUSED_TTL.as_millis()).unwrap();
    let large = |id: &str| {
        let mut statement = Statement::of(id).stranger(Some("4:c0000201"));
        statement.envelope = Some(vec![1; 300_000].into());
        statement
    };
    for id in ["a", "b", "c"] {
        large(id).expect(&registry, Step::First).await;
    }
    let is_over =
        |outcome| matches!(outcome, Err(RegistryError::NoPlace(NoPlace::Bytes { share: Share::Strangers, .. })));
    assert!(is_over(large("d").register(&registry).await));
    // Renewing, and as many bytes in the place of others, takes no more.
    assert!(registry.renew(&large("a").admitted()).await.unwrap().is_some());
    large("b").content("newer").expect(&registry, Step::Newer).await;
    assert!(is_over(large("d").register(&registry).await));
    let ttl = pin_ttl_ms("a").await;
    assert!((ninety_days - 60_000..=ninety_days).contains(&ttl), "{ttl}");
    // Known now: it gives its bytes back, and its binding stays.
    let mut known = Statement::of("c").content("known");
    known.envelope = large("c").envelope;
    known.expect(&registry, Step::Newer).await;
    assert!(pin_ttl_ms("c").await > 20 * ninety_days);
    large("d").expect(&registry, Step::First).await;
    Statement::of("always").expect(&registry, Step::First).await;
    assert_eq!(pin_ttl_ms("always").await, -1);
    // What expired gives its bytes back.
    clock.advance(TTL);
    for id in ["e", "f", "g"] {
        large(id).expect(&registry, Step::First).await;
    }
    assert!(is_over(large("h").register(&registry).await));
    registry.close().await;
}
