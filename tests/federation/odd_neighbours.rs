//! What else answers on a network: things that are no instance.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// How many connections one had: in all, now, and at most at the same time.
#[derive(Default)]
pub struct Count {
    pub all: AtomicUsize,
    now: AtomicUsize,
    pub most: AtomicUsize,
}

impl Count {
    pub fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }

    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }
}

/// Serves every connection to an address with `serve`.
pub async fn neighbour<F: Future<Output = ()> + 'static>(
    address: &str,
    serve: impl Fn(TcpStream) -> F + 'static,
) -> Arc<Count> {
    let listener = TcpListener::bind(address).await.unwrap();
    let count = Arc::new(Count::default());
    let counted = Arc::clone(&count);
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (served, count) = (serve(stream), Arc::clone(&counted));
            count.all.fetch_add(1, Ordering::SeqCst);
            let now = count.now.fetch_add(1, Ordering::SeqCst) + 1;
            count.most.fetch_max(now, Ordering::SeqCst);
            tokio::task::spawn_local(async move {
                served.await;
                count.now.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    count
}

/// Takes everything and never says a word.
pub async fn silent(address: &str) -> Arc<Count> {
    neighbour(address, async |mut stream| {
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    })
    .await
}

/// Answers with this, whatever is asked.
pub async fn answering(address: &str, answer: String) -> Arc<Count> {
    neighbour(address, move |mut stream| {
        let answer = answer.clone();
        async move {
            let mut buffer = [0; 1024];
            let _read = stream.read(&mut buffer).await;
            let _sent = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await
}

/// Begins an answer that has no end.
pub async fn endless(address: &str) -> Arc<Count> {
    neighbour(address, async |mut stream| {
        let mut buffer = [b' '; 8192];
        let _read = stream.read(&mut buffer).await;
        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n").await;
        while stream.write_all(&buffer).await.is_ok() {}
    })
    .await
}

/// Another way to the same instance.
pub async fn another_way(address: &str, to: SocketAddr) -> Arc<Count> {
    neighbour(address, move |mut stream| async move {
        let mut onward = TcpStream::connect(to).await.unwrap();
        let _ended = copy_bidirectional(&mut stream, &mut onward).await;
    })
    .await
}
