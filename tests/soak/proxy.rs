//! A bad network: between the service and Redis, and as slow as it is told to be.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Weather {
    Fair,
    /// Each piece, each way, comes this much later.
    Delay(Duration),
    /// Each connection carries this many bytes a second each way.
    Narrow(u32),
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (weather, told) = watch::channel(Weather::Fair);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((near, _)) = listener.accept() => drop(open.spawn(pass(near, port, told.clone()))),
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Self { port: own, weather, task }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until either side closes; then both do.
async fn pass(near: TcpStream, port: u16, weather: watch::Receiver<Weather>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_read, far_write, weather.clone()) => {}
        () = pump(far_read, near_write, weather) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let now = *weather.borrow();
        match now {
            Weather::Fair => {}
            Weather::Delay(delay) => sleep(delay).await,
            Weather::Narrow(bytes_per_second) => sleep(Duration::from_secs(1) * read as u32 / bytes_per_second).await,
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
