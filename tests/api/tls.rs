//! TLS on our own port, with real handshakes.

use crate::{
    app::{TestApp, spawn_in},
    certificates::{Authority, Issued, PairFiles, replace},
};
use ark_lattice::settings::Span;
use reqwest::{Client, Response, StatusCode, tls::TlsInfo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

struct Bed {
    app: TestApp,
    authority: Authority,
    files: PairFiles,
    first: Issued,
}

/// A service on TLS with a certificate of serial number 1, which looks at its files all the time.
async fn bed() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let first = authority.issue(1, 2040);
    let files = PairFiles::in_folder(folder.path(), &first);
    replace(&folder.path().join("authority.pem"), &authority.pem, 0o644);
    let app = spawn_in(folder, |settings| {
        settings.server.workers = 1;
        settings.server.tls_certificate = Some(files.certificate.clone());
        settings.server.tls_key = Some(files.key.clone());
        settings.server.tls_reload_interval = Span::millis(20);
        // No connection is to end of age on a slow machine.
        settings.server.keep_alive = Span::seconds(600);
        settings.server.header_timeout = Span::seconds(600);
    })
    .await;
    Bed { app, authority, files, first }
}

impl Bed {
    /// A client that has no connection yet.
    fn client(&self) -> Client {
        let authority = reqwest::Certificate::from_pem(self.authority.pem.as_bytes()).unwrap();
        let builder = Client::builder().no_proxy().timeout(Duration::from_secs(30)).tls_info(true);
        builder.tls_certs_only([authority]).build().unwrap()
    }

    async fn get(&self, client: &Client, path: &str) -> Response {
        client.get(format!("{}{path}", self.app.url)).send().await.unwrap()
    }

    /// What a new connection is shown.
    async fn shown(&self) -> Vec<u8> {
        shown(&self.get(&self.client(), "/ready").await)
    }

    /// One handshake of a client that offers these protocols; what was agreed on.
    async fn negotiate(&self, protocols: &[&[u8]]) -> Result<Option<Vec<u8>>, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let port = self.app.port;
        let handshake = move || {
            let name = ServerName::try_from("localhost").unwrap();
            let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut tcp).map_err(|error| error.to_string())?;
            }
            Ok(tls.alpn_protocol().map(<[u8]>::to_vec))
        };
        tokio::task::spawn_blocking(handshake).await.unwrap()
    }
}

fn shown(response: &Response) -> Vec<u8> {
    assert_eq!(response.status(), StatusCode::OK);
    response.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

fn der(pair: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn the_port_speaks_tls_and_http_1_only() {
    let bed = bed().await;
    assert_eq!(bed.shown().await, der(&bed.first));
    assert_eq!(bed.negotiate(&[b"h2", b"http/1.1"]).await, Ok(Some(b"http/1.1".to_vec())));
    assert_eq!(bed.negotiate(&[]).await, Ok(None));
    assert!(bed.negotiate(&[b"h2"]).await.is_err());
    let metrics = bed.app.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("ark_tls_certificate_not_after_seconds{serial=\"01\"} 2208988800"), "{metrics}");
}

#[tokio::test]
async fn who_speaks_plain_http_to_it_is_turned_away_at_once() {
    let bed = bed().await;
    let port = bed.app.port;
    let speak = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // A reset is an end too; a timeout is not.
        match stream.read_to_end(&mut answer) {
            Ok(_) => answer,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
            Err(error) => panic!("the connection hangs: {error}"),
        }
    };
    let answer = tokio::task::spawn_blocking(speak).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(bed.shown().await, der(&bed.first));
}

#[tokio::test]
async fn a_crowd_that_connects_and_says_nothing_keeps_nobody_out() {
    let bed = bed().await;
    let mut silent = Vec::new();
    // More than one worker takes at the same time where nobody tells it to; few enough for a process with 1024 files.
    for _ in 0..280 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", bed.app.port)).await.unwrap());
    }
    assert_eq!(bed.shown().await, der(&bed.first));
    drop(silent);
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_who_comes_and_those_who_are_there_stay() {
    let bed = bed().await;
    let staying = bed.client();
    assert_eq!(shown(&bed.get(&staying, "/ready").await), der(&bed.first));

    // The certificate before its key: the pair would not fit, so the first goes on.
    let second = bed.authority.issue(2, 2041);
    bed.files.put_certificate(&second.certificate);
    for _ in 0..20 {
        assert_eq!(bed.shown().await, der(&bed.first));
    }
    bed.files.put_key(&second.key);
    bed.app.wait_until("the second certificate is shown", async |_| bed.shown().await == der(&second)).await;

    // Garbage in both: the second goes on.
    bed.files.put_certificate("no certificate");
    bed.files.put_key("no key");
    for _ in 0..20 {
        assert_eq!(bed.shown().await, der(&second));
    }
    let third = bed.authority.issue(3, 2042);
    bed.files.put_key(&third.key);
    bed.files.put_certificate(&third.certificate);
    bed.app.wait_until("the third certificate is shown", async |_| bed.shown().await == der(&third)).await;

    // The connection of the beginning is the same still: what its handshake was shown is what it has.
    assert_eq!(shown(&bed.get(&staying, "/ready").await), der(&bed.first));
}
