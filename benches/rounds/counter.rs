//! A way between two processes that counts every byte of it, headers and all.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Leads from a free port of the loopback address to another one, for as long as the process lives.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    pub(crate) url: String,
    bytes: Arc<AtomicU64>,
}

impl Counter {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let counter = Self { url, bytes: Arc::default() };
        let bytes = Arc::clone(&counter.bytes);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())] {
                    let bytes = Arc::clone(&bytes);
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    thread::spawn(move || pass_on(from, to, &bytes));
                }
            }
        });
        counter
    }

    /// Bytes both ways since the last time.
    pub(crate) fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        bytes.fetch_add(u64::try_from(count).unwrap(), Ordering::SeqCst);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _already_closed = to.shutdown(Shutdown::Write);
}
