//! A machine for a test: a thread with a network of its own (a Linux network namespace), which no packet leaves but by the cables that
//! the test lays. Any address and any port of it is free. Needs root, as CI has it.

use crate::bed::until;
pub use crate::ip::ip;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use std::{pin::Pin, thread};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Ends with the test: its tasks are dropped with its thread's runtime.
pub struct Machine {
    jobs: mpsc::UnboundedSender<Job>,
    thread_id: i32,
}

impl Machine {
    pub async fn start() -> Self {
        let (jobs, mut to_do) = mpsc::unbounded_channel::<Job>();
        let (tell, told) = oneshot::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("a network namespace; run the tests as root (Linux, CAP_SYS_ADMIN)");
            // Only what the test's own programs send is to be counted.
            for kind in ["all", "default"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/{kind}/disable_ipv6"), "1").unwrap();
            }
            ip("link set lo up");
            tell.send(gettid().as_raw()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let jobs = async {
                while let Some(job) = to_do.recv().await {
                    tokio::task::spawn_local(job());
                }
            };
            LocalSet::new().block_on(&runtime, jobs);
        });
        Self { jobs, thread_id: told.await.expect("the machine did not start; see above") }
    }

    /// Two machines with a cable between them: `cable`, 10.77.0.1 and 10.77.0.2.
    pub async fn two() -> (Self, Self) {
        let (one, two) = (Self::start().await, Self::start().await);
        let other = two.thread_id;
        one.run(async move || {
            ip(&format!("link add cable type veth peer name cable netns {other}"));
            ip("address add 10.77.0.1/24 dev cable");
            ip("link set cable up");
        })
        .await;
        two.run(async || {
            ip("address add 10.77.0.2/24 dev cable");
            ip("link set cable up");
            // The kernel takes its time to notice that both ends are up.
            until("the cable carries", async || ip("-oneline link show cable").contains("state UP")).await;
        })
        .await;
        one.run(async || {
            until("the cable carries", async || ip("-oneline link show cable").contains("state UP")).await
        })
        .await;
        (one, two)
    }

    /// Does this on the machine, and waits until it is done.
    pub async fn run<T: Send + 'static>(&self, work: impl AsyncFnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move || {
            Box::pin(async move {
                let _nobody_waits = tell.send(work().await);
            })
        });
        assert!(self.jobs.send(job).is_ok(), "the machine is gone");
        told.await.expect("what was done on the machine panicked; see above")
    }
}

/// How many packets left by an interface of the machine that this thread is.
pub fn packets_sent(interface: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let row = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    row.unwrap().split_whitespace().nth(9).unwrap().parse().unwrap()
}

/// How many UDP sockets the machine has that this thread is.
pub fn udp_sockets() -> usize {
    let table = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    ["udp", "udp6"].map(|name| table(name).lines().skip(1).count()).iter().sum()
}
