//! The sections, one declaration each.

use super::{Span, section::TomlDefault};
use crate::{guard::PlainHttp, trust::TrustMode};
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

macro_rules! word_enum {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        pub enum $name { $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// The word as the settings write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl TomlDefault for $name {
            fn toml(&self) -> Option<String> {
                Some(format!("{:?}", self.as_str()))
            }

            fn expected() -> String {
                one_of(&[$($text),*])
            }
        }
    };
}

/// `a, b or c`.
fn one_of(words: &[&str]) -> String {
    match words {
        [words @ .., before, last] => [words, &[format!("{before} or {last}").as_str()]].concat().join(", "),
        _ => words.concat(),
    }
}

word_enum! {
    /// Where an instance runs.
    InstanceType {
        /// A workstation.
        Local = "local",
        /// A server.
        Cloud = "cloud",
        /// A Raspberry Pi or the like.
        Pi = "pi",
    }
}
word_enum! {
    /// Which headers of a trusted proxy are read. Never both: a proxy writes one kind and passes a client's own of the other on.
    ProxyHeaders {
        /// X-Forwarded-For, -Proto, -Host and -Prefix.
        XForwarded = "x-forwarded",
        /// Forwarded (RFC 7239), and X-Forwarded-Prefix, which it has no word for.
        Forwarded = "forwarded",
    }
}
word_enum! {
    /// How log lines look.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
word_enum! {
    /// The shape of a federation.
    FederationMode {
        /// Every instance with every other.
        P2p = "p2p",
        /// Through one hub.
        Hub = "hub",
        /// Both.
        Hybrid = "hybrid",
    }
}

impl TomlDefault for TrustMode {
    fn toml(&self) -> Option<String> {
        Some(format!("{:?}", self.as_str()))
    }

    fn expected() -> String {
        one_of(&[Self::Open, Self::Tofu, Self::Verified, Self::Allowlist].map(Self::as_str))
    }
}

word_enum! {
    /// To which peers requests go over plain HTTP.
    PlainHttpPeers {
        /// Those at loopback and private addresses.
        Private = "private",
        /// All.
        Always = "always",
        /// Those on this machine only.
        Never = "never",
    }
}

impl From<PlainHttpPeers> for PlainHttp {
    fn from(peers: PlainHttpPeers) -> Self {
        match peers {
            PlainHttpPeers::Private => Self::Private,
            PlainHttpPeers::Always => Self::Always,
            PlainHttpPeers::Never => Self::Never,
        }
    }
}

/// Which peers may be at private addresses, beside those of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WordOrFlag")]
pub enum PrivatePeers {
    /// Those that the operator named or accepted.
    Auto,
    /// All.
    All,
    /// None.
    Listed,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WordOrFlag {
    Flag(bool),
    Word(String),
}

impl TryFrom<WordOrFlag> for PrivatePeers {
    type Error = &'static str;

    fn try_from(value: WordOrFlag) -> Result<Self, Self::Error> {
        match value {
            WordOrFlag::Flag(true) => Ok(Self::All),
            WordOrFlag::Flag(false) => Ok(Self::Listed),
            WordOrFlag::Word(word) => match word.as_str() {
                "auto" => Ok(Self::Auto),
                "true" => Ok(Self::All),
                "false" => Ok(Self::Listed),
                _ => Err("it is \"auto\", true or false"),
            },
        }
    }
}

impl TomlDefault for PrivatePeers {
    fn toml(&self) -> Option<String> {
        Some(match self {
            Self::Auto => "\"auto\"".to_owned(),
            Self::All => true.to_string(),
            Self::Listed => false.to_string(),
        })
    }

    fn expected() -> String {
        "\"auto\", true or false".to_owned()
    }
}

/// An instance whose key the operator knows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedPeer {
    /// The instance's id.
    pub node_id: String,
    /// Its public key, base64.
    pub pubkey: String,
}

impl TomlDefault for ListedPeer {
    fn toml(&self) -> Option<String> {
        let (node_id, pubkey) = (self.node_id.toml()?, self.pubkey.toml()?);
        Some(format!("{{ node_id = {node_id}, pubkey = {pubkey} }}"))
    }

    fn expected() -> String {
        "{ node_id = \"…\", pubkey = \"…\" }".to_owned()
    }
}

/// A program that is told of events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookEntry {
    /// Where it takes them.
    pub url: String,
    /// What they are signed with.
    pub secret: Option<SecretString>,
    /// A file with the secret.
    pub secret_file: Option<PathBuf>,
    /// Of which events; none: of all.
    #[serde(default)]
    pub types: Vec<String>,
}

impl TomlDefault for WebhookEntry {
    fn toml(&self) -> Option<String> {
        let (url, types) = (self.url.toml()?, self.types.toml()?);
        let secret = match &self.secret_file {
            Some(file) => format!("secret_file = {}", file.toml()?),
            None => format!("secret = {}", self.secret.toml()?),
        };
        Some(format!("{{ url = {url}, {secret}, types = {types} }}"))
    }

    fn expected() -> String {
        "{ url = \"…\", secret_file = \"…\", types = [\"…\"] }".to_owned()
    }
}

section! {
    /// Who this instance is.
    InstanceSettings "instance" {
        /// Id of this instance in its manifests; unset: ark-, the machine's name and a random part, made once. ARK_NODE_ID, FEDERATION_NODE_NAME.
        node_id: Option<String> = None,
        /// local, cloud or pi. ARK_INSTANCE_TYPE.
        instance_type: InstanceType = InstanceType::Local,
        /// Public key, base64 of 32 bytes; must fit the private key where both are set. ARK_FED_PUBKEY.
        public_key: Option<String> = None,
        /// Private key, base64 of 32 bytes. Better in the environment or in key_file. ARK_FED_PRIVKEY.
        private_key: Option<SecretString> = None,
        /// File with the private key (mode 0600); unset: identity.key in the state directory, where that exists.
        key_file: Option<PathBuf> = None,
        /// Passphrase of an encrypted key file. Better in key_passphrase_file. ARK_KEY_PASSPHRASE.
        key_passphrase: Option<SecretString> = None,
        /// File with that passphrase, as Docker, Kubernetes and systemd hand over secrets. ARK_KEY_PASSPHRASE_FILE.
        key_passphrase_file: Option<PathBuf> = None,
        /// How long a key is meant to be used, such as "365days"; past half of it the log and a metric say so. Unset: for ever.
        key_lifetime: Option<Span> = None,
    }
}

section! {
    /// The HTTP server.
    ServerSettings "server" {
        /// Address to listen on; 0.0.0.0 takes requests from other machines.
        host: String = "127.0.0.1".to_owned(),
        /// Port to listen on; 0 takes a free one. FEDERATION_PORT, FEDERATION_BIND_PORT.
        port: u16 = 9001,
        /// Further ports with the same routes, such as 9000 and 8084: PORT on the same host, or HOST:PORT. None: that port alone.
        also_listen: Vec<String> = Vec::new(),
        /// Worker threads; 0: one for each processor.
        workers: usize = 0,
        /// Most connections that each worker holds open.
        max_connections: usize = 10_000,
        /// How long a client may take to send a request's headers.
        header_timeout: Span = Span::seconds(10),
        /// How long a client may take to send a request's body.
        body_timeout: Span = Span::seconds(60),
        /// Least bytes a second of a body of more than 64 KiB, over each 10 s of it, or a third of body_timeout (408 body_too_slow); 0: no bound.
        body_bytes_per_second: usize = 4096,
        /// How long a client may take nothing of an answer, less than 16 KiB of a longer one, or not be there at all (Linux), before it is cut off.
        write_timeout: Span = Span::seconds(60),
        /// How long an idle connection is kept open. Longer than federation.sync_interval, so that peers need no new one for each round.
        keep_alive: Span = Span::seconds(75),
        /// How long new requests are still served after a stop signal, while /ready answers 503: longer than a load balancer takes to notice.
        drain_delay: Span = Span::seconds(0),
        /// How long requests may take to finish after that.
        shutdown_timeout: Span = Span::seconds(10),
        /// Prefix such as /ark under which a proxy that does not strip it serves us. Probes and metrics answer without it too.
        base_path: String = String::new(),
        /// Addresses and networks (10.0.0.0/8) of our proxies: only they are believed when they say for whom they ask.
        trusted_proxies: Vec<String> = Vec::new(),
        /// What they say it with: x-forwarded (X-Forwarded-For, -Proto, -Host, -Prefix) or forwarded (RFC 7239).
        proxy_headers: ProxyHeaders = ProxyHeaders::XForwarded,
        /// PEM file of our own certificate and its chain; set with tls_key, the port speaks HTTPS only.
        tls_certificate: Option<PathBuf> = None,
        /// PEM file of its private key, which others than owner and group must not be able to read.
        tls_key: Option<PathBuf> = None,
        /// PEM file with the authorities that issue other instances' certificates: the routes for instances ask for one then.
        tls_client_ca: Option<PathBuf> = None,
        /// Require a client certificate for every connection.
        tls_client_required: bool = false,
        /// How often these files are looked at for new certificates; SIGHUP does it at once.
        tls_reload_interval: Span = Span::seconds(10),
        /// HSTS max-age (Strict-Transport-Security), sent over HTTPS; 0s: not sent.
        hsts_max_age: Span = Span::seconds(30 * 24 * 3600),
        /// Web pages of these origins (`https://app.example`) may read from us in a browser; "*": of any. None: CORS is off.
        cors_origins: Vec<String> = Vec::new(),
        /// How long a browser may remember what they are allowed.
        cors_max_age: Span = Span::seconds(600),
        /// Give admin rights to every program of this machine without a token, where no admin token is set. TCP forwarders count as such.
        trust_loopback: bool = false,
    }
}

section! {
    /// Admin rights. Commands on this machine use the local token, local.token in the state directory, which is new at each start.
    AdminSettings "admin" {
        /// Bearer token for administrative requests from other machines, at least 16 characters. No default. ARK_ADMIN_TOKEN.
        token: Option<SecretString> = None,
        /// File with the token, as Docker, Kubernetes and systemd hand over secrets; instead of token. ARK_ADMIN_TOKEN_FILE.
        token_file: Option<PathBuf> = None,
    }
}

section! {
    /// The registry of live peers.
    RegistrySettings "registry" {
        /// redis://user:password@host:port/db, rediss://… (TLS) or unix:///path. No Redis setting at all: the embedded registry. REDIS_URL.
        redis_url: Option<SecretString> = None,
        /// User of Redis' ACL, where the URL names none.
        redis_username: Option<String> = None,
        /// Password, where the URL holds none. Better in redis_password_file.
        redis_password: Option<SecretString> = None,
        /// File with the password, read at the start.
        redis_password_file: Option<PathBuf> = None,
        /// PEM file with the authorities that sign Redis' certificates; unset: the public ones. For rediss://.
        redis_ca_file: Option<PathBuf> = None,
        /// PEM file with this service's certificate and its chain, where Redis asks for one. For rediss://.
        redis_client_certificate: Option<PathBuf> = None,
        /// PEM file with the key of redis_client_certificate.
        redis_client_key: Option<PathBuf> = None,
        /// Sentinels, host:port each: the master is asked of them. A redis_url then names one of them, for its scheme and login.
        redis_sentinels: Vec<String> = Vec::new(),
        /// The name that the Sentinels know the master by.
        redis_sentinel_master: String = "mymaster".to_owned(),
        /// User of the Sentinels themselves, where they ask for one.
        redis_sentinel_username: Option<String> = None,
        /// Password of the Sentinels themselves, where they ask for one.
        redis_sentinel_password: Option<SecretString> = None,
        /// Some nodes of a Redis Cluster, host:port each. A redis_url then names one of them, for its scheme and login.
        redis_cluster_nodes: Vec<String> = Vec::new(),
        /// Replicas that must hold a registration before it is acknowledged (WAIT); 0: none.
        redis_min_replicas: u32 = 0,
        /// Put before every Redis key.
        prefix: String = String::new(),
        /// How long a peer lives without a new manifest or heartbeat. ARK_PEER_TTL.
        peer_ttl: Span = Span::seconds(120),
        /// Most live peers. A quarter of them, and as many as are verified, listed or added, is left to those.
        max_peers: u64 = 100_000,
        /// Most bytes of live manifests of peers that are not verified, listed or added; of one key and one address a quarter of it.
        stranger_bytes: u64 = 256 << 20,
        /// The binding of an id to a key that was never verified goes when it was not used for so long.
        unused_binding_ttl: Span = Span::seconds(90 * 86_400),
        /// Most connections to Redis.
        pool_size: usize = 16,
    }
}

section! {
    /// The directory of nodes.
    LatticeSettings "lattice" {
        /// The directory; it must exist. LATTICE_PATH.
        path: PathBuf = PathBuf::from("./lattice_data"),
        /// How often every file is looked at, as a net under the file events.
        rescan_interval: Span = Span::seconds(60),
        /// Keep manifest.json in the directory up to date, for programs that read it there.
        write_manifest: bool = true,
    }
}

section! {
    /// Keys, key bindings, journal and the embedded registry.
    StateSettings "state" {
        /// The directory; made with mode 0700 where it does not exist. One process at a time. ARK_STATE_PATH.
        path: PathBuf = PathBuf::from("./ark_state"),
    }
}

section! {
    /// Who may speak for an id.
    TrustSettings "trust" {
        /// open (any key), tofu (the first key owns the id and writes), verified (the first key owns the id; verified keys and named peers
        /// write) or allowlist (only listed keys). ARK_TRUST_MODE.
        mode: TrustMode = TrustMode::Verified,
        /// Keys that the operator knows: listed = [{ node_id = "ark-1", pubkey = "…" }].
        listed: Vec<ListedPeer> = Vec::new(),
        /// Exchange nodes with verified keys only; otherwise also with the first key that spoke for an id.
        require_verified: bool = false,
        /// An instance that proves federation.network_key counts as named by the admin: its changes are taken in mode verified.
        network_key_names: bool = true,
        /// How many verified keys must vouch for another one to make it verified; 0: they cannot.
        vouchers: usize = 0,
        /// PEM file with the authorities whose certificates prove who a peer is (POST /v1/trust/establish, method certificate).
        ca_file: Option<PathBuf> = None,
    }
}

section! {
    /// Bounds on what clients may send.
    LimitSettings "limits" {
        /// Largest body of POST /manifest, bytes.
        manifest_bytes: usize = crate::types::Limits::default().manifest_bytes,
        /// Largest body of POST /sync, bytes.
        sync_bytes: usize = crate::types::Limits::default().sync_bytes,
        /// Largest node, bytes.
        node_bytes: usize = crate::types::Limits::default().node_bytes,
        /// Most memory that all bodies that have come may take while they are read, bytes. Half as much beside it for bodies that still
        /// arrive, of which one address has a quarter. Beyond it requests wait, then get 503.
        inflight_bytes: usize = 256 << 20,
        /// Most memory that all answers under way may take together, bytes; one address: an eighth. Beyond it requests get 503.
        answer_bytes: usize = 512 << 20,
        /// Most nodes in one manifest.
        manifest_nodes: usize = crate::types::Limits::default().manifest_nodes,
        /// Most bytes of a manifest's fields other than nodes.
        manifest_field_bytes: usize = crate::types::Limits::default().manifest_field_bytes,
        /// Most nodes that requests, imports and peers may bring the lattice to; a peer that has more is not pulled from.
        lattice_nodes: usize = crate::types::Limits::default().lattice_nodes,
        /// Most bytes that all nodes' files may come to take together by requests, imports and peers.
        lattice_bytes: u64 = crate::types::Limits::default().lattice_bytes,
        /// Most local edits that lost against one peer and are kept; then what would add to them is refused until they are settled.
        peer_conflicts: u64 = crate::types::Limits::default().peer_conflicts,
        /// Most nodes or peers in one answer.
        page_items: usize = crate::types::Limits::default().page_items,
        /// Most look-ups in a minute from one address (IPv6: one /64); 0: no bound. As all of these, it may be used up at once.
        reads_per_minute: u32 = 60_000,
        /// Most requests with a body in a minute from one address; 0: no bound.
        bodies_per_minute: u32 = 12_000,
        /// Most manifests and signed requests in a minute from one address, one with a wrong signature counted as ten; 0: no bound.
        signed_per_minute: u32 = 12_000,
        /// Most manifests and signed requests in a minute of one key, wherever from; 0: no bound.
        signed_per_key_per_minute: u32 = 6_000,
        /// Most ids in a minute from one address that were never registered before; 0: no bound.
        new_ids_per_minute: u32 = 600,
        /// Most ids that one key may be bound to in modes tofu and verified; 0: no bound.
        ids_per_key: u64 = 10_000,
        /// Most connections that one address holds open; 0: no bound but a part of the descriptors that this process may have.
        connections_per_address: u32 = 1_024,
        /// Most streams of changes and events (GET /lattice/notify, GET /events) that one address listens to; 0: no bound.
        listeners_per_address: u32 = 128,
        /// Count requests and connections of this machine's own programs too.
        count_loopback: bool = false,
    }
}

section! {
    /// Log lines go to standard error.
    LogSettings "log" {
        /// error, warn, info, debug, trace, or filters such as info,ark_lattice=debug.
        level: String = "info".to_owned(),
        /// text or json.
        format: LogFormat = LogFormat::Text,
    }
}

section! {
    /// Traces of rounds between instances, by OpenTelemetry's protocol (OTLP over HTTP, protobuf). Off without an endpoint.
    TracingSettings "tracing" {
        /// The collector, such as `http://127.0.0.1:4318`; /v1/traces is put behind it. OTEL_EXPORTER_OTLP_ENDPOINT.
        endpoint: Option<String> = None,
        /// What is sent along, such as authorization=Bearer%20…; separated by commas. OTEL_EXPORTER_OTLP_HEADERS.
        headers: Option<SecretString> = None,
        /// This service's name in traces. OTEL_SERVICE_NAME.
        service_name: String = "ark-lattice".to_owned(),
        /// Of a hundred rounds that this instance begins, so many are traced.
        sample_percent: u16 = 100,
    }
}

section! {
    /// Rounds between instances.
    FederationSettings "federation" {
        /// p2p, hub or hybrid. FEDERATION_MODE.
        mode: FederationMode = FederationMode::P2p,
        /// The hub's address. FEDERATION_HUB_URL.
        hub_url: Option<String> = None,
        /// Where other instances reach this one; told in its manifests.
        address: Option<String> = None,
        /// Exchange with peers by itself: regularly, and whenever something changes. FEDERATION_AUTO_SYNC.
        auto_sync: bool = false,
        /// How often. FEDERATION_SYNC_INTERVAL (a bare number there: milliseconds from 1000 up, seconds below).
        sync_interval: Span = Span::seconds(60),
        /// Most rounds at the same time.
        concurrent_rounds: usize = 8,
        /// Most bytes a second that all rounds send and all answers to peers hold, together; 0: no bound.
        upload_bytes_per_second: u64 = 0,
        /// Most bytes a second that all rounds receive together; 0: no bound.
        download_bytes_per_second: u64 = 0,
        /// A mirror: takes what its peers have and gives nothing; refuses every other write over HTTP.
        read_only: bool = false,
        /// PEM file of the certificate, with its chain, that this instance shows to others that ask for one; with tls_client_key.
        tls_client_certificate: Option<PathBuf> = None,
        /// PEM file of its private key. Both are looked at for each connection.
        tls_client_key: Option<PathBuf> = None,
        /// PEM file with the authorities that issue other instances' certificates, and no others; unset: the public ones.
        tls_ca: Option<PathBuf> = None,
        /// Peers at private addresses, beside those of this file: "auto" those that the operator named or accepted, true all, false none.
        private_peers: PrivatePeers = PrivatePeers::Auto,
        /// Peers that are asked over http://: "private" those at loopback and private addresses, "always" all, "never" this machine's only.
        plain_http: PlainHttpPeers = PlainHttpPeers::Private,
        /// How long a peer may be silent; over this time it must send 1024 bytes a second at least.
        peer_timeout: Span = Span::seconds(30),
        /// Only instances with the same key see and accept each other; 24 characters or more. FEDERATION_NETWORK_KEY.
        network_key: Option<SecretString> = None,
        /// Addresses of peers, or id=key@address where the key (base64) is known. FEDERATION_TRUSTED_PEERS (separated by commas).
        trusted_peers: Vec<String> = Vec::new(),
        /// How often peers are looked for, where discovery is on. FEDERATION_DISCOVERY_INTERVAL.
        discovery_interval: Span = Span::seconds(300),
    }
}

section! {
    /// Finding other instances on the same network. Off until mdns, interfaces or scan_subnets says otherwise: no packet is sent.
    DiscoverySettings "discovery" {
        /// Say by multicast DNS (_ark-lattice._tcp) that this instance is here, and listen for others.
        mdns: bool = false,
        /// On these interfaces only, such as eth0; naming one turns multicast DNS on. None: all with a private address, except loopback.
        interfaces: Vec<String> = Vec::new(),
        /// Private networks whose every address may be asked, such as 192.168.1.0/24; 4096 addresses at most. None: no address is asked.
        scan_subnets: Vec<String> = Vec::new(),
        /// The port that is asked there; 0: the one that this instance has.
        scan_port: u16 = 0,
        /// Make peers of all who are found and prove who they are. Only where everybody on the network may have, and change, every node.
        accept: bool = false,
    }
}

section! {
    /// What happens between instances: GET /events, and webhooks (Standard Webhooks).
    EventSettings "events" {
        /// Most clients that listen to GET /events at the same time.
        max_listeners: usize = 100,
        /// Programs that are told: webhooks = [{ url = "https://…", secret_file = "…", types = ["sync-complete"] }]; no types: all.
        webhooks: Vec<WebhookEntry> = Vec::new(),
        /// How long a webhook may take to answer.
        webhook_timeout: Span = Span::seconds(10),
        /// How long an event is tried again, with growing pauses, while later ones wait (1000 at most).
        webhook_patience: Span = Span::seconds(600),
    }
}
