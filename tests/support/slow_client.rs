//! A client that asks for everything and takes its time.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

/// Asks for everything, and reads nothing of the answer yet.
pub(crate) async fn ask(port: u16, header: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The answer must not fit into what lies between the two.
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let body = r#"{"nodes":[]}"#;
    let request = format!(
        "POST /sync HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{header}\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads slowly to the end: how many bytes, and the last of them.
pub(crate) async fn read_slowly(mut stream: TcpStream) -> (usize, String) {
    let (mut total, mut end, mut buffer) = (0, Vec::new(), vec![0; 256 << 10]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return (total, String::from_utf8_lossy(&end).into_owned());
        }
        total += read;
        end.extend_from_slice(&buffer[..read]);
        end.drain(..end.len().saturating_sub(100));
        sleep(Duration::from_millis(1)).await;
    }
}
