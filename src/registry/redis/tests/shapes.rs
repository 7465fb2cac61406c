//! The conformance suite on every shape of Redis, and what each shape refuses.

use super::*;
use crate::{
    registry::redis_shapes::{Certificates, Cluster, MASTER, Watched, Wire},
    settings::{RegistrySettings, SettingsError},
};
use std::{
    cell::RefCell,
    io::Write,
    path::{Path, PathBuf},
};

fn write(path: &Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// No server is taken for dead in these tests.
const PATIENT: Duration = Duration::from_secs(120);

thread_local! {
    /// Where the harness of this thread's test connects, and how many registries it has made there.
    static SHAPE: RefCell<Option<(RedisOptions, u64)>> = const { RefCell::new(None) };
}

/// A registry of its own on servers that are shared by all cases of one test: the prefix keeps them apart.
struct Shaped {
    registry: RedisRegistry,
    clock: Arc<TestClock>,
}

#[async_trait]
impl Harness for Shaped {
    async fn start() -> Self {
        let options = SHAPE.with_borrow_mut(|shape| {
            let (options, made) = shape.as_mut().unwrap();
            *made += 1;
            RedisOptions { prefix: format!("t{made}:"), ..options.clone() }
        });
        let clock = TestClock::at(START);
        let time = TimeSource::Injected(Arc::<TestClock>::clone(&clock));
        Self { registry: RedisRegistry::connect(RedisOptions { time, ..options }).unwrap(), clock }
    }

    fn registry(&self) -> &dyn Registry {
        &self.registry
    }

    fn renews(&self) -> bool {
        !self.registry.cluster
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn finish(self) {
        self.registry.close().await;
    }
}

mod suite {
    super::conformance_tests! { in_turn super::Shaped }
}

fn options_of(section: &RegistrySettings) -> RedisOptions {
    RedisOptions {
        servers: Servers::from_settings(section).unwrap().unwrap(),
        prefix: "t:".to_owned(),
        ttl: TTL,
        limits: LIMITS,
        unused_ttl: UNUSED_TTL,
        pool_size: 8,
        min_replicas: section.redis_min_replicas,
        time: TimeSource::Server,
    }
}

async fn conforms(section: &RegistrySettings) {
    SHAPE.set(Some((options_of(section), 0)));
    Box::pin(suite::every_case()).await;
}

fn at(url: String) -> RegistrySettings {
    RegistrySettings { redis_url: Some(url.into()), ..RegistrySettings::default() }
}

/// What a registry with these settings answers, and what it logs meanwhile.
async fn refusal(section: &RegistrySettings) -> (RegistryError, String) {
    let log = Log::default();
    let guard = log.listen();
    let registry = RedisRegistry::connect(options_of(section)).unwrap();
    let error = Statement::of("a").register(&registry).await.unwrap_err();
    registry.close().await;
    drop(guard);
    (error, log.text())
}

async fn expect_unavailable(section: &RegistrySettings, advice: &str) {
    let (error, log) = refusal(section).await;
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error:?}");
    assert!(log.contains(advice) && !log.contains("hunter2"), "{advice:?} in {log}");
}

#[tokio::test]
async fn the_suite_behind_sentinels_with_a_replica_that_must_have_every_write() {
    let watched = Watched::start(1, PATIENT).await;
    let section = RegistrySettings {
        redis_sentinels: watched.addresses(),
        redis_sentinel_master: MASTER.to_owned(),
        redis_min_replicas: 1,
        ..RegistrySettings::default()
    };
    for server in &watched.servers {
        make_user(server, &["behind Sentinels", "with redis_min_replicas"]).await;
    }
    let section = as_ark(section);
    conforms(&section).await;
    assert_eq!(denials(&watched.servers).await, 0);
    let wrong = RegistrySettings { redis_sentinel_master: "nobody".to_owned(), ..section.clone() };
    expect_unavailable(&wrong, "registry.redis_sentinel_master").await;

    // Sentinels with users of their own.
    for sentinel in &watched.sentinels {
        let line = acl_line("ACL SETUSER ark-watch ").replace("<password>", "hunter2");
        assert_eq!(raw(sentinel, &line).await, "+OK\r\n", "{line}");
        assert_eq!(raw(sentinel, "ACL SETUSER default resetpass >hunter3").await, "+OK\r\n");
    }
    expect_unavailable(&section, "registry.redis_sentinel_username").await;
    let known = RegistrySettings {
        redis_sentinel_username: Some("ark-watch".to_owned()),
        redis_sentinel_password: Some("hunter2".to_owned().into()),
        ..section
    };
    let registry = RedisRegistry::connect(options_of(&RegistrySettings { prefix: "t:".to_owned(), ..known })).unwrap();
    Statement::of("a").expect(&registry, Step::First).await;
    registry.close().await;
}

#[tokio::test]
async fn a_registration_that_too_few_replicas_have_is_not_acknowledged() {
    let watched = Watched::start(1, PATIENT).await;
    let master = at(format!("redis://{}/", watched.servers[0].address()));
    let section = RegistrySettings { redis_min_replicas: 1, ..master.clone() };
    let (sure, quick) = (options_of(&section), options_of(&master));
    let (sure, quick) = (RedisRegistry::connect(sure).unwrap(), RedisRegistry::connect(quick).unwrap());
    Statement::of("a").seq(1).expect(&sure, Step::First).await;
    watched.servers[1].pause();
    Statement::of("b").expect(&quick, Step::First).await;
    for statement in [Statement::of("a").seq(2), Statement::of("a").seq(2), Statement::of("c")] {
        let outcome = tokio::time::timeout(ANSWER, statement.register(&sure)).await.unwrap();
        let Err(RegistryError::Unavailable(fault)) = outcome else { panic!("{statement:?}: {outcome:?}") };
        assert!(fault.answer.contains("0 of 1 replicas"), "{fault}");
    }
    // A refusal writes nothing that a replica would have to have; and reading goes on.
    Statement::of("a").seq(1).expect_refused(&sure, VersionError::Rollback { field: "seq" }).await;
    assert_eq!(sure.list(None, 10).await.unwrap().peers.len(), 3);
    watched.servers[1].resume();
    // What was written but not acknowledged is acknowledged when it is sent again.
    Statement::of("a").seq(2).expect(&sure, Step::Heartbeat).await;
    sure.close().await;
    quick.close().await;
}

#[tokio::test]
async fn a_demoted_master_that_still_answers_is_left_for_the_new_one() {
    let watched = Watched::start(1, PATIENT).await;
    let section = RegistrySettings {
        redis_sentinels: watched.addresses(),
        redis_sentinel_master: MASTER.to_owned(),
        ..RegistrySettings::default()
    };
    let registry = RedisRegistry::connect(options_of(&section)).unwrap();
    Statement::of("a").expect(&registry, Step::First).await;
    let (old, new) = (&watched.servers[0], &watched.servers[1]);
    // Without the Sentinels, so that nobody closes the connection that is in the pool; they find out by hand, too.
    raw(new, "REPLICAOF NO ONE").await;
    raw(old, &format!("REPLICAOF 127.0.0.1 {}", new.port())).await;
    // The old one would still list what it has.
    let outcome = registry.list(None, 10).await;
    assert!(matches!(outcome, Err(RegistryError::Unavailable(_))), "{outcome:?}");
    for sentinel in &watched.sentinels {
        raw(sentinel, &format!("SENTINEL REMOVE {MASTER}")).await;
        raw(sentinel, &format!("SENTINEL MONITOR {MASTER} 127.0.0.1 {} 2", new.port())).await;
    }
    expect_recovery(&registry).await;
    assert!(raw(new, "EXISTS t:peer:recovered").await.contains(":1"));
    registry.close().await;
}

#[tokio::test]
async fn the_suite_on_a_cluster() {
    let cluster = Cluster::start(0, PATIENT).await;
    let section = RegistrySettings { redis_cluster_nodes: cluster.addresses(), ..RegistrySettings::default() };
    for server in &cluster.servers {
        make_user(server, &["on a Cluster"]).await;
    }
    conforms(&as_ark(section.clone())).await;
    assert_eq!(denials(&cluster.servers).await, 0);
    // One address is enough to find the others.
    let section = RegistrySettings { redis_cluster_nodes: cluster.addresses().split_off(2), ..section };
    let registry =
        RedisRegistry::connect(RedisOptions { prefix: "layout:".to_owned(), ..options_of(&section) }).unwrap();
    for id in ["ark-1", "}odd{", "x"] {
        Statement::of(id).expect(&registry, Step::First).await;
    }
    let mut keys = Vec::new();
    for server in &cluster.servers {
        let answer = raw(server, "KEYS layout:*").await;
        keys.extend(answer.lines().filter(|line| line.starts_with("layout:")).map(str::to_owned));
    }
    keys.sort();
    assert_eq!(
        keys,
        [
            &format!("layout:ids:{}", Statement::of("x").public_key()),
            "layout:peer:{%7Dodd%7B}",
            "layout:peer:{ark-1}",
            "layout:peer:{x}",
            "layout:peers:by_expiry:{0}",
            "layout:peers:by_expiry:{2}",
            "layout:peers:by_expiry:{8}",
            "layout:pin:{%7Dodd%7B}",
            "layout:pin:{ark-1}",
            "layout:pin:{x}",
        ]
    );
    // An index entry that was lost comes back with the next heartbeat; one that another program wrote hides nobody.
    for server in &cluster.servers {
        raw(server, "DEL layout:peers:by_expiry:{8}").await;
        raw(server, "ZADD layout:peers:by_expiry:{0} 99999999999999.5 strange").await;
    }
    assert_eq!(registry.list(None, 10).await.unwrap().peers.len(), 2);
    Statement::of("ark-1").expect(&registry, Step::Heartbeat).await;
    assert_eq!(registry.list(None, 10).await.unwrap().peers.len(), 3);
    registry.close().await;
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_told_apart() {
    let server = RedisServer::start().await;
    let section = RegistrySettings { redis_cluster_nodes: vec![server.address()], ..RegistrySettings::default() };
    expect_unavailable(&section, "instead of redis_cluster_nodes").await;
}

#[tokio::test]
async fn the_suite_over_tls_with_a_clients_certificate_and_nothing_less() {
    let certificates = Certificates::make();
    let server = certificates.serve().await;
    let section = RegistrySettings {
        redis_ca_file: Some(certificates.path("ca.pem")),
        redis_client_certificate: Some(certificates.path("client.pem")),
        redis_client_key: Some(certificates.path("client.key")),
        ..at(format!("rediss://{}/", server.address()))
    };
    conforms(&section).await;

    let without = RegistrySettings { redis_client_certificate: None, redis_client_key: None, ..section.clone() };
    expect_unavailable(&without, "registry.redis_client_certificate").await;
    let unknown = RegistrySettings { redis_ca_file: None, ..section.clone() };
    expect_unavailable(&unknown, "registry.redis_ca_file").await;
    let others = Certificates::make();
    let stranger = RegistrySettings { redis_ca_file: Some(others.path("ca.pem")), ..section.clone() };
    expect_unavailable(&stranger, "registry.redis_ca_file").await;
    expect_unavailable(&at(format!("redis://{}/", server.address())), "cannot be used").await;

    let elsewhere = Certificates::for_names(&["redis.example"]);
    let misnamed = elsewhere.serve().await;
    let section = RegistrySettings {
        redis_ca_file: Some(elsewhere.path("ca.pem")),
        redis_client_certificate: Some(elsewhere.path("client.pem")),
        redis_client_key: Some(elsewhere.path("client.key")),
        ..at(format!("rediss://{}/", misnamed.address()))
    };
    expect_unavailable(&section, "host name").await;
    // Never the other way round: a server without TLS is not spoken to without it.
    let plain = RedisServer::start().await;
    let section = RegistrySettings { redis_url: Some(format!("rediss://{}/", plain.address()).into()), ..section };
    expect_unavailable(&section, "cannot be used").await;
}

#[tokio::test]
async fn sentinels_and_clusters_are_spoken_to_over_tls_as_well() {
    let certificates = Certificates::make();
    let watched = Watched::start_over(Wire::Tls(&certificates), 0, PATIENT).await;
    let cluster = Cluster::start_over(Wire::Tls(&certificates), 0, PATIENT).await;
    let files = RegistrySettings {
        redis_ca_file: Some(certificates.path("ca.pem")),
        redis_client_certificate: Some(certificates.path("client.pem")),
        redis_client_key: Some(certificates.path("client.key")),
        ..RegistrySettings::default()
    };
    let sections = [
        RegistrySettings {
            redis_url: Some(format!("rediss://{}/", watched.sentinels[0].address()).into()),
            redis_sentinels: watched.addresses(),
            redis_sentinel_master: MASTER.to_owned(),
            ..files.clone()
        },
        RegistrySettings {
            redis_url: Some(format!("rediss://{}/", cluster.servers[0].address()).into()),
            redis_cluster_nodes: cluster.addresses(),
            ..files
        },
    ];
    for section in sections {
        let registry = RedisRegistry::connect(options_of(&section)).unwrap();
        for id in ["a", "b", "c"] {
            Statement::of(id).expect(&registry, Step::First).await;
        }
        assert_eq!(registry.list(None, 10).await.unwrap().peers.len(), 3);
        registry.close().await;
        let others = Certificates::make();
        let stranger = RegistrySettings { redis_ca_file: Some(others.path("ca.pem")), ..section };
        expect_unavailable(&stranger, "registry.redis_ca_file").await;
    }
}

/// Read when the tests run: what the compiler takes in must be in every build.
fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README")
}

/// A line of the README, as it stands there.
fn acl_line(start: &str) -> String {
    readme().lines().find(|line| line.starts_with(start)).expect("the README has the ACL line").to_owned()
}

/// The keys of the suite's registries start with a prefix of their own, as an operator's may.
const PREFIXED: &str = "ACL SETUSER ark resetkeys ~t*:peer:* ~t*:pin:* ~t*:peers:by_expiry* ~t*:ids:* ~t*:spent:*";

/// Makes the README's user, with what it says that these shapes need besides.
async fn make_user(server: &RedisServer, shapes: &[&str]) {
    let mut lines = vec![acl_line("ACL SETUSER ark on ").replace("<password>", "hunter2"), PREFIXED.to_owned()];
    for shape in shapes {
        let readme = readme();
        let also = readme.lines().skip_while(|line| *line != format!("# also, {shape}:"));
        lines.push(also.skip(1).map(str::to_owned).next().expect("the README has the shape's line"));
    }
    for line in lines {
        assert_eq!(raw(server, &line).await, "+OK\r\n", "{line}");
    }
    raw(server, "ACL LOG RESET").await;
}

fn as_ark(section: RegistrySettings) -> RegistrySettings {
    RegistrySettings {
        redis_username: Some("ark".to_owned()),
        redis_password: Some("hunter2".to_owned().into()),
        ..section
    }
}

/// How many commands the servers denied to anybody.
async fn denials(servers: &[RedisServer]) -> usize {
    let mut denied = 0;
    for server in servers {
        denied += raw(server, "ACL LOG").await.matches("client-info").count();
    }
    denied
}

/// A server that only knows the README's user, and an operator.
async fn guarded() -> RedisServer {
    RedisServer::start_with(|port, directory| {
        let file = directory.join("users.acl");
        let ark = acl_line("ACL SETUSER ark on ").trim_start_matches("ACL SETUSER ").replace("<password>", "hunter2");
        let text = format!("user default off\nuser operator on >operator ~* &* +@all\nuser {ark}\n");
        write(&file, &text);
        ["--port".to_owned(), port.to_string(), "--aclfile".to_owned(), file.display().to_string()].to_vec()
    })
    .await
}

async fn as_user(server: &RedisServer, login: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{login}@{}/", server.address())).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn the_suite_as_the_readmes_user_who_may_do_nothing_else() {
    let server = guarded().await;
    let url = |login: &str| format!("redis://{login}@{}/", server.address());
    let mut operator = as_user(&server, "operator:operator").await;
    let line_as_it_stands = options_of(&at(url("ark:hunter2")));
    let registry = RedisRegistry::connect(RedisOptions { prefix: String::new(), ..line_as_it_stands }).unwrap();
    Statement::of("a").expect(&registry, Step::First).await;
    assert_eq!(registry.list(None, 10).await.unwrap().peers.len(), 1);
    assert!(registry.envelope(&PeerId::parse("a").unwrap()).await.unwrap().is_some());
    registry.close().await;

    let mut ark = as_user(&server, "ark:hunter2").await;
    for command in
        ["FLUSHALL", "KEYS *", "CONFIG GET *", "ACL LIST", "SAVE", "GET elsewhere", "SET peer:a x", "MONITOR"]
    {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        let error = command.query_async::<Value>(&mut ark).await.unwrap_err();
        assert_eq!(error.code(), Some("NOPERM"), "{command:?}: {error}");
    }
    let error = redis::cmd("HMGET").arg("elsewhere").arg("x").query_async::<Value>(&mut ark).await.unwrap_err();
    assert_eq!(error.code(), Some("NOPERM"));

    let mut set = redis::cmd("ACL");
    set.arg(PREFIXED.split(' ').skip(1).collect::<Vec<_>>());
    set.query_async::<()>(&mut operator).await.unwrap();
    redis::cmd("ACL").arg("LOG").arg("RESET").query_async::<()>(&mut operator).await.unwrap();
    conforms(&at(url("ark:hunter2"))).await;
    let denied: Vec<Value> = redis::cmd("ACL").arg("LOG").query_async(&mut operator).await.unwrap();
    assert!(denied.is_empty(), "the registry asked for more: {denied:?}");

    // User and password from settings of their own do the same.
    let registry = RedisRegistry::connect(options_of(&as_ark(at(format!("redis://{}/", server.address()))))).unwrap();
    Statement::of("a").expect(&registry, Step::First).await;
    registry.close().await;

    expect_unavailable(&at(url("ark:hunter22")), "check the user name and the password").await;
    expect_unavailable(&at(url("")).clone(), "registry.redis_username").await;
    for lacking in ["-hset", "-evalsha", "-time", "-zadd", "resetkeys"] {
        redis::cmd("ACL").arg("SETUSER").arg("ark").arg(lacking).query_async::<()>(&mut operator).await.unwrap();
        let (error, log) = refusal(&at(url("ark:hunter2"))).await;
        assert!(matches!(error, RegistryError::Unavailable(_)), "{lacking}: {error:?}");
        assert!(log.contains("ACL line") && !log.contains("hunter2"), "{lacking}: {log}");
        let back = lacking.replace('-', "+").replace("resetkeys", "~t*");
        redis::cmd("ACL").arg("SETUSER").arg("ark").arg(back).query_async::<()>(&mut operator).await.unwrap();
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_name_their_key() {
    let certificates = Certificates::make();
    let others = Certificates::make();
    let path = |name: &str| Some(certificates.path(name));
    let tls = at("rediss://localhost/".to_owned());
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    let empty = certificates.path("empty");
    write(&empty, "");
    let plain = at("redis://localhost/".to_owned());
    let missing = Some(PathBuf::from("/nowhere/file"));
    let cases = [
        (RegistrySettings { redis_ca_file: missing, ..tls.clone() }, "registry.redis_ca_file: /nowhere/file"),
        (RegistrySettings { redis_ca_file: Some(empty), ..tls.clone() }, "registry.redis_ca_file"),
        (RegistrySettings { redis_ca_file: path("server.key"), ..tls.clone() }, "registry.redis_ca_file"),
        (RegistrySettings { redis_ca_file: path("ca.pem"), ..plain.clone() }, "rediss://"),
        (
            RegistrySettings {
                redis_client_certificate: path("client.pem"),
                redis_client_key: Some(others.path("client.key")),
                ..tls.clone()
            },
            "registry.redis_client_key",
        ),
        (
            RegistrySettings {
                redis_client_certificate: path("client.pem"),
                redis_client_key: path("ca.pem"),
                ..tls.clone()
            },
            "registry.redis_client_key",
        ),
        (
            RegistrySettings {
                redis_client_certificate: path("client.key"),
                redis_client_key: path("client.key"),
                ..tls.clone()
            },
            "registry.redis_client_certificate",
        ),
        (RegistrySettings { redis_username: Some("ark".to_owned()), ..plain.clone() }, "registry.redis_username"),
        (
            RegistrySettings {
                redis_username: Some("ark".to_owned()),
                ..at("redis://other:hunter2@localhost".to_owned())
            },
            "registry.redis_username",
        ),
        (
            RegistrySettings {
                redis_password: Some("hunter3".to_owned().into()),
                ..at("redis://:hunter2@localhost".to_owned())
            },
            "registry.redis_password",
        ),
        (at("rediss://localhost/#insecure".to_owned()), "registry.redis_url"),
        (at("http://hunter2@localhost/".to_owned()), "registry.redis_url"),
        (
            RegistrySettings { redis_sentinels: list(&["a:1", "b:2"]), ..plain.clone() },
            "registry.redis_url: names a host",
        ),
        (RegistrySettings { redis_cluster_nodes: list(&["a:1"]), ..plain.clone() }, "registry.redis_url: names a host"),
        (
            RegistrySettings { redis_sentinels: list(&["redis://a:1"]), ..RegistrySettings::default() },
            "redis_sentinels",
        ),
        (RegistrySettings { redis_sentinels: list(&["a:99999"]), ..RegistrySettings::default() }, "redis_sentinels"),
        (
            RegistrySettings { redis_cluster_nodes: list(&["a b"]), ..RegistrySettings::default() },
            "redis_cluster_nodes",
        ),
        (
            RegistrySettings { redis_cluster_nodes: list(&["localhost"]), ..at("redis://localhost/3".to_owned()) },
            "only number 0",
        ),
    ];
    for (section, expected) in cases {
        let Err(error @ SettingsError::Value { .. }) = Servers::from_settings(&section) else {
            panic!("taken, though it should say {expected}: {section:?}");
        };
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("hunter") && !text.contains('\n'), "{expected}: {text}");
    }
    assert!(Servers::from_settings(&RegistrySettings::default()).unwrap().is_none());
    let good = [
        RegistrySettings {
            redis_sentinels: list(&["localhost", "[::1]:7"]),
            ..at("rediss://u:p@localhost/3".to_owned())
        },
        RegistrySettings { redis_cluster_nodes: list(&["localhost:1"]), ..at("redis://u:p@localhost:1".to_owned()) },
        RegistrySettings {
            redis_ca_file: path("ca.pem"),
            redis_client_certificate: path("client.pem"),
            redis_client_key: path("client.key"),
            ..tls
        },
    ];
    for section in good {
        let servers = Servers::from_settings(&section).unwrap().unwrap();
        assert!(!format!("{servers:?} {:?}", options_of(&section)).contains(":p"), "a password shows");
    }
}
