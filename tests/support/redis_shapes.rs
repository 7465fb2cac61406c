//! Real Redis servers in more than one process: behind Sentinels, as a Cluster; and certificates for those that speak TLS.

#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test without its servers must fail")]

use super::redis_server::{RedisServer, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long servers may take to find each other on a busy machine.
const TOGETHER: Duration = Duration::from_secs(60);

/// The name that the Sentinels know the master by.
pub(crate) const MASTER: &str = "ark-master";

/// Not `std::fs::write`, which the library may not use: this file is also a part of its tests.
fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < TOGETHER, "not within {TOGETHER:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn says(server: &RedisServer, command: &str, expected: &str) -> bool {
    server.inline(command).await.is_ok_and(|answer| answer.contains(expected))
}

/// A master with replicas, and three Sentinels that watch it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Watched {
    /// `down_after`: how long a silent master is left alone.
    pub(crate) async fn start(replicas: usize, down_after: Duration) -> Self {
        Self::start_over(Wire::Plain, replicas, down_after).await
    }

    pub(crate) async fn start_over(wire: Wire<'_>, replicas: usize, down_after: Duration) -> Self {
        let master = RedisServer::start_with(|port, _| wire.arguments(port)).await;
        let mut servers = vec![master];
        for _ in 0..replicas {
            let of = servers[0].port().to_string();
            let arguments = |port: u16, _: &Path| {
                let follow = ["--replicaof", "127.0.0.1", &of].map(str::to_owned);
                wire.arguments(port).into_iter().chain(follow).collect()
            };
            servers.push(RedisServer::start_with(arguments).await);
        }
        for replica in &servers[1..] {
            until("the replica is in step", async || says(replica, "INFO replication", "master_link_status:up").await)
                .await;
        }
        let master = servers[0].port();
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let arguments = |port: u16, directory: &Path| {
                let file = directory.join("sentinel.conf");
                let text = format!(
                    "sentinel monitor {MASTER} 127.0.0.1 {master} 2\nsentinel down-after-milliseconds {MASTER} {}\n\
                     sentinel failover-timeout {MASTER} 6000\n",
                    down_after.as_millis()
                );
                write(&file, &text);
                let first = [file.display().to_string(), "--sentinel".to_owned()];
                first.into_iter().chain(wire.arguments(port)).collect()
            };
            sentinels.push(RedisServer::start_with(arguments).await);
        }
        let question = format!("SENTINEL MASTER {MASTER}");
        for sentinel in &sentinels {
            until("the Sentinels know each other and the replicas", async || {
                let answer = sentinel.inline(&question).await.unwrap_or_default();
                let field = |name: &str| answer.lines().skip_while(|line| *line != name).nth(2).map(str::to_owned);
                field("num-other-sentinels").as_deref() == Some("2")
                    && field("num-slaves") == Some(replicas.to_string())
                    && field("flags").as_deref() == Some("master")
            })
            .await;
        }
        Self { servers, sentinels }
    }

    /// `host:port,host:port,…`, as the settings write it.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::address).collect()
    }

    /// The port of the master that the first Sentinel names.
    pub(crate) async fn master_port(&self) -> u16 {
        let answer = self.sentinels[0].inline(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}")).await.unwrap();
        answer.lines().nth(4).unwrap().parse().unwrap()
    }

    pub(crate) async fn until_another_master(&self, old: u16) {
        until("another master", async || self.master_port().await != old).await;
        let new = self.master_port().await;
        let master = self.servers.iter().find(|server| server.port() == new).unwrap();
        until("it is one", async || says(master, "ROLE", "master").await).await;
    }
}

/// Three masters of a Cluster, each with as many replicas.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The masters first, then their replicas in the same order.
    pub(crate) servers: Vec<RedisServer>,
}

impl Cluster {
    /// `node_timeout`: how long a silent master is left alone.
    pub(crate) async fn start(replicas: usize, node_timeout: Duration) -> Self {
        Self::start_over(Wire::Plain, replicas, node_timeout).await
    }

    pub(crate) async fn start_over(wire: Wire<'_>, replicas: usize, node_timeout: Duration) -> Self {
        let mut servers = Vec::new();
        for number in 0..3 * (1 + replicas) {
            let arguments = |port: u16, _: &Path| {
                let (bus, patience) = (free_port().to_string(), node_timeout.as_millis().to_string());
                let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", &patience]
                    .map(str::to_owned);
                wire.arguments(port).into_iter().chain(cluster).collect()
            };
            let server = RedisServer::start_with(arguments).await;
            expect(&server, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await;
            servers.push(server);
        }
        for (server, slots) in servers.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            expect(server, &format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
        }
        let all = servers.len();
        for server in &servers[1..] {
            let bus = server.argument("--cluster-port");
            expect(&servers[0], &format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port())).await;
        }
        for server in &servers {
            until("the nodes know each other", async || {
                says(server, "CLUSTER INFO", &format!("cluster_known_nodes:{all}\r")).await
            })
            .await;
        }
        for (replica, master) in (3..all).zip((0..3).cycle()) {
            let id = servers[master].inline("CLUSTER MYID").await.unwrap();
            let id = id.lines().nth(1).unwrap().to_owned();
            until("the replica follows", async || {
                servers[replica]
                    .inline(&format!("CLUSTER REPLICATE {id}"))
                    .await
                    .is_ok_and(|answer| answer.starts_with("+OK"))
            })
            .await;
        }
        let cluster = Self { servers };
        cluster.until_whole(replicas).await;
        cluster
    }

    /// Waits until every slot is served and every replica in step, as every node sees it.
    pub(crate) async fn until_whole(&self, replicas: usize) {
        for server in &self.servers {
            until("the Cluster serves", async || says(server, "CLUSTER INFO", "cluster_state:ok").await).await;
            until("replicas are in step", async || {
                let answer = server.inline("INFO replication").await.unwrap_or_default();
                answer.contains(&format!("role:master\r\nconnected_slaves:{replicas}\r"))
                    || answer.contains("master_link_status:up")
            })
            .await;
            until("replicas are known", async || {
                let nodes = server.inline("CLUSTER NODES").await.unwrap_or_default();
                nodes.lines().filter(|line| line.contains("slave") && !line.contains("fail")).count() == 3 * replicas
            })
            .await;
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(RedisServer::address).collect()
    }

    /// Waits until the replica of master `number` has taken its place.
    pub(crate) async fn until_replaced(&self, number: usize) {
        let replica = &self.servers[3 + number];
        until("the replica is a master", async || says(replica, "ROLE", "master").await).await;
        until("the Cluster serves", async || says(replica, "CLUSTER INFO", "cluster_state:ok").await).await;
    }
}

async fn expect(server: &RedisServer, command: &str) {
    let answer = server.inline(command).await.unwrap();
    assert!(answer.starts_with("+OK"), "{command}: {answer}");
}

/// An authority, and what it signed for a server on the loopback address and for a client.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        Self::for_names(&["127.0.0.1", "localhost"])
    }

    pub(crate) fn for_names(names: &[&str]) -> Self {
        let made = Self { directory: tempfile::tempdir().unwrap() };
        let mut params = CertificateParams::default();
        // Named apart from what it signs: OpenSSL takes a certificate that is its own issuer for self-signed.
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        write(&made.path("ca.pem"), &authority.pem());
        let (serve, ask) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
        // Servers also connect to each other.
        for (name, names, usages) in
            [("server", names, vec![serve, ask.clone()]), ("client", &["ark-lattice"][..], vec![ask])]
        {
            let key = KeyPair::generate().unwrap();
            let mut params =
                CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
            params.extended_key_usages = usages;
            write(&made.path(&format!("{name}.pem")), &params.signed_by(&key, &authority).unwrap().pem());
            write(&made.path(&format!("{name}.key")), &key.serialize_pem());
        }
        made
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As the settings write it.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A server that speaks TLS only, and asks for a client's certificate.
    pub(crate) async fn serve(&self) -> RedisServer {
        RedisServer::start_with(|port, _| Wire::Tls(self).arguments(port)).await
    }
}

/// What servers speak, with clients and with each other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire<'a> {
    Plain,
    /// TLS only, and nobody without a certificate.
    Tls(&'a Certificates),
}

impl Wire<'_> {
    fn arguments(self, port: u16) -> Vec<String> {
        let port = port.to_string();
        let Self::Tls(certificates) = self else { return vec!["--port".to_owned(), port] };
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| certificates.text(name));
        let arguments = [
            ["--port", "0"],
            ["--tls-port", &port],
            ["--tls-ca-cert-file", &ca],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "yes"],
            ["--tls-replication", "yes"],
            ["--tls-cluster", "yes"],
        ];
        arguments.as_flattened().iter().map(|argument| (*argument).to_owned()).collect()
    }
}
