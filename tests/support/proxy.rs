//! nginx and Caddy with the files of deploy/, as processes of their own on free loopback ports. In the files only ports, addresses
//! and paths are replaced, and each replacement must find its text: so a test sees what an operator copies.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use reqwest::{Certificate, Client, ClientBuilder, redirect::Policy};
use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
/// How long a proxy may take to come up on a busy machine.
const START: Duration = Duration::from_secs(30);

/// What the file lets through.
const LARGEST: &str = "33m";

/// A running proxy. It does not outlive its owner.
pub(crate) struct Proxy {
    folder: TempDir,
    process: Child,
    root: Certificate,
    pub(crate) https: u16,
    pub(crate) http: u16,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Replaces a text that must be there.
pub(crate) fn replace(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "there is no {old:?} in\n{text}");
    text.replace(old, new)
}

impl Proxy {
    /// nginx before the service on `upstream`. The prefix /ark, which the file has as an example, is switched on.
    pub(crate) async fn nginx(upstream: u16) -> Self {
        Self::nginx_that_passes(upstream, LARGEST).await
    }

    /// As [`Proxy::nginx`], with another `client_max_body_size`. Unlike that of the file, its answer to more is a page of its own.
    pub(crate) async fn nginx_that_passes(upstream: u16, body: &str) -> Self {
        Self::start(|folder, http, https| {
            let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            fs::write(folder.join("fullchain.pem"), key.cert.pem()).unwrap();
            fs::write(folder.join("privkey.pem"), key.signing_key.serialize_pem()).unwrap();
            fs::create_dir(folder.join("snippets")).unwrap();
            fs::create_dir_all(folder.join(".well-known/acme-challenge")).unwrap();
            fs::write(folder.join(".well-known/acme-challenge/token"), "for the authority").unwrap();
            let snippet = Path::new(DEPLOY).join("nginx/ark-lattice-proxy.conf");
            fs::copy(snippet, folder.join("snippets/ark-lattice-proxy.conf")).unwrap();
            let mut site = fs::read_to_string(Path::new(DEPLOY).join("nginx/ark-lattice.conf")).unwrap();
            for (old, new) in [
                ("listen [::]:80;", String::new()),
                ("listen [::]:443 ssl http2;", String::new()),
                ("listen 80;", format!("listen 127.0.0.1:{http};")),
                ("listen 443 ssl http2;", format!("listen 127.0.0.1:{https} ssl http2;")),
                ("server 127.0.0.1:9001;", format!("server 127.0.0.1:{upstream};")),
                ("/etc/letsencrypt/live/ark.example.org", folder.display().to_string()),
                ("ark.example.org", "localhost".to_owned()),
                ("client_max_body_size 33m;", format!("client_max_body_size {body};")),
                (
                    "error_page 413 @too_large;",
                    if body == LARGEST { "error_page 413 @too_large;" } else { "" }.to_owned(),
                ),
                ("/var/www/html", folder.display().to_string()),
                ("\n    #location", "\n    location".to_owned()),
                ("\n    #    ", "\n        ".to_owned()),
                ("\n    #}", "\n    }".to_owned()),
            ] {
                site = replace(&site, old, &new);
            }
            fs::write(folder.join("site.conf"), site).unwrap();
            let temp =
                ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n"));
            // One process, so that to kill it is to kill all of it; and whoever runs the test runs it.
            let main = format!(
                "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {{ worker_connections 256; }}\n\
                 http {{\naccess_log off;\n{}include site.conf;\n}}\n",
                temp.concat()
            );
            fs::write(folder.join("nginx.conf"), main).unwrap();
            // Debian keeps it out of the path of plain users.
            let installed = Path::new("/usr/sbin/nginx");
            let mut command = Command::new(if installed.exists() { installed } else { Path::new("nginx") });
            command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "nginx-error.log"]);
            (command, folder.join("fullchain.pem"))
        })
        .await
    }

    /// Caddy before the service on `upstream`, with these variables, as docker-compose.yml starts it.
    pub(crate) async fn caddy(upstream: u16, variables: &[(&str, &str)]) -> Self {
        Self::start(|folder, http, https| {
            let file = fs::read_to_string(Path::new(DEPLOY).join("caddy/Caddyfile")).unwrap();
            let ports = format!("admin off\n\thttp_port {http}\n\thttps_port {https}\n\tdefault_bind 127.0.0.1\n");
            fs::write(folder.join("Caddyfile"), replace(&file, "admin off\n", &ports)).unwrap();
            let mut command = Command::new("caddy");
            command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]).env("XDG_DATA_HOME", folder);
            command.env("XDG_CONFIG_HOME", folder).env("HOME", folder).envs(variables.iter().copied());
            command.env("ARK_UPSTREAM", format!("127.0.0.1:{upstream}"));
            (command, folder.join("caddy/pki/authorities/local/root.crt"))
        })
        .await
    }

    /// `prepare` writes files for HTTP and HTTPS on two ports, and gives the command and where the authority's certificate will be.
    async fn start(prepare: impl Fn(&Path, u16, u16) -> (Command, PathBuf)) -> Self {
        // Between finding a free port and using it, someone else may take it: then try another.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let (http, https) = (free_port(), free_port());
            let (mut command, root) = prepare(folder.path(), http, https);
            let log = File::create(folder.path().join("log")).unwrap();
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let mut process = match command.spawn() {
                Ok(process) => Guard(Some(process)),
                Err(error) => panic!("{command:?} cannot be run ({error}); `make test` installs it"),
            };
            let started = Instant::now();
            while process.0.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none()) {
                // Caddy listens before it has made itself a certificate.
                if let Some(root) = fs::read(&root).ok().and_then(|pem| Certificate::from_pem(&pem).ok())
                    && client(&root).get(format!("https://localhost:{https}/health")).send().await.is_ok()
                {
                    return Self { folder, process: process.0.take().unwrap(), root, https, http };
                }
                assert!(started.elapsed() < START, "not up in time: {}", log_of(folder.path()));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            eprintln!("one more try: {}", log_of(folder.path()));
        }
        panic!("the proxy does not start");
    }

    /// The file with the certificate that a client must trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("fullchain.pem")
    }

    /// A client that trusts the proxy's certificate and no other, at an address that is not the proxy's own.
    pub(crate) fn client(&self) -> Client {
        client(&self.root)
    }

    /// As [`Proxy::client`], with a connection for each request.
    pub(crate) fn forgetful_client(&self) -> Client {
        client_builder(&self.root).pool_max_idle_per_host(0).build().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https)
    }

    /// What the proxy said.
    pub(crate) fn log(&self) -> String {
        log_of(self.folder.path())
    }
}

/// Where clients come from: the loopback network has more than one address.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn client(root: &Certificate) -> Client {
    client_builder(root).build().unwrap()
}

fn client_builder(root: &Certificate) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .tls_certs_only([root.clone()])
        .resolve("localhost", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .local_address(IpAddr::from(CLIENT))
        .redirect(Policy::none())
        .timeout(Duration::from_secs(60))
}

fn log_of(folder: &Path) -> String {
    ["log", "nginx-error.log"].map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default()).concat()
}

/// A process that is still to come up.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _already_gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
