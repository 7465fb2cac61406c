//! Networks of a test (Linux network namespaces), which no packet leaves but by the cables that the test lays. Needs root, as CI has it.

pub use crate::ip::ip;
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};
use std::{
    fs::File,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the clients of a relay sent, one entry a connection.
pub type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;

pub struct Network {
    namespace: File,
}

impl Network {
    pub fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("a network namespace; run the tests as root (Linux, CAP_SYS_ADMIN)");
            ip("link set lo up");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self { namespace: thread::spawn(make).join().unwrap() }
    }

    /// Does this there, on a thread of its own. Programs that it starts are there, too.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Lays a cable to another network; each end has its addresses, such as 10.78.1.1/24.
    pub fn connect(&self, cable: &str, ours: &[&str], other: &Self, theirs: &[&str]) {
        let up = |addresses: &[&str]| {
            addresses.iter().for_each(|address| drop(ip(&format!("address add {address} dev {cable}"))));
            ip(&format!("link set {cable} up"));
        };
        other.within(|| {
            let thread = gettid();
            self.within(|| ip(&format!("link add {cable} type veth peer name {cable} netns {thread}")));
            up(theirs);
        });
        self.within(|| up(ours));
    }

    /// Accepts at `address` here, connects from `outside` to the same address, forwards both ways and records what the clients send: to
    /// clients it is the server, and the server sees the relay's address, as behind a router that translates addresses.
    pub fn relay(&self, address: SocketAddr, outside: &Self) -> Recorded {
        let listener = self.within(|| TcpListener::bind(address).unwrap());
        let (recorded, outside) = (Recorded::default(), outside.namespace.try_clone().unwrap());
        let records = Arc::clone(&recorded);
        thread::spawn(move || {
            // A socket stays in the network in which it was made.
            setns(outside, CloneFlags::CLONE_NEWNET).unwrap();
            for client in listener.incoming() {
                forward(client.unwrap(), TcpStream::connect(address).unwrap(), Arc::clone(&records));
            }
        });
        recorded
    }
}

/// Forwards both ways until both ends are done, and records what the client sends.
pub fn forward(mut client: TcpStream, mut server: TcpStream, records: Recorded) {
    let (mut back_client, mut back_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let at = {
        let mut records = records.lock().unwrap();
        records.push(Vec::new());
        records.len() - 1
    };
    thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut part) {
            records.lock().unwrap()[at].extend_from_slice(&part[..count]);
            if server.write_all(&part[..count]).is_err() {
                break;
            }
        }
        let _gone = server.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let _ended = std::io::copy(&mut back_server, &mut back_client);
        let _gone = back_client.shutdown(Shutdown::Both);
    });
}
