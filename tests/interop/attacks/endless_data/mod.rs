//! A peer whose answer never ends, and a client whose body never does.

use crate::{
    attacks::bed::Victim,
    server::{Hostile, Reply},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
/// More than any answer that is read whole.
const BOUND: usize = 80 << 20;

#[tokio::test]
async fn an_answer_without_an_end_ends_the_round() {
    for route in ["head", "changes"] {
        let endless = Hostile::start("endless", move |_, request| {
            (request.route == route).then(|| Reply::Endless(OK.to_vec(), vec![b'a'; 64 << 10]))
        });
        let endless = endless.await;
        let victim = Victim::with_peer(&endless).await;
        let error = victim.round().await;
        assert!(!error.is_empty(), "{route}");
        assert!(endless.peer.asked(route) > 0, "{error}");
        let sent = endless.peer.sent.load(std::sync::atomic::Ordering::Acquire);
        assert!(sent < BOUND, "{sent} bytes of {route} were read");
        let entry = victim.has_audited("protocol", "round", if route == "head" { "-" } else { "endless" });
        assert_eq!(entry["detail"]["peer"], endless.url);
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_refused() {
    let victim = Victim::start().await;
    for path in ["/manifest", "/sync", "/lattice/changes"] {
        let mut stream = TcpStream::connect(("127.0.0.1", victim.service.port)).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let endless = async {
            let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x1_0000], b"\r\n"].concat();
            let mut sent = 0;
            while writer.write_all(&chunk).await.is_ok() {
                sent += chunk.len();
                assert!(sent < 1 << 30, "{path} takes everything");
            }
            std::future::pending::<()>().await;
        };
        let mut answer = [0; 12];
        let status = tokio::select! {
            read = reader.read_exact(&mut answer) => read.map(|_| String::from_utf8_lossy(&answer[9..]).into_owned()),
            () = endless => unreachable!(),
        };
        let status = status.unwrap();
        assert!(["413", "401", "400", "415"].contains(&status.as_str()), "{path}: {status}");
    }
    victim.has_audited("body_too_large", "/manifest", "-");
    assert_eq!(victim.service.get("/ready").await.status(), 200);
}
