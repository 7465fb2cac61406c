//! A name that means an address of the internet first and one of the service's own network, or of a cloud's metadata, a moment later. A
//! real name server says so, on a machine of its own: a network namespace, in which any address is free and from which no packet gets
//! out. Needs root, as CI has it.

use crate::{
    attacks::bed::{VICTIM, Victim, until},
    server::Hostile,
    service::Place,
};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use std::{
    fs,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tokio::{net::UdpSocket, runtime::Builder, task::JoinHandle};

/// For documentation (RFC 5737); for the service it is one of the internet like any other.
pub(crate) const OUTSIDE: &str = "203.0.113.7";
const INSIDE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const HEADER_BYTES: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// Answers every question for an IPv4 address.
pub(crate) struct NameServer {
    said: Arc<Said>,
    served: JoinHandle<()>,
}

#[derive(Default)]
struct Said {
    /// So many answers lead outside; all after them inside.
    outside: AtomicUsize,
    metadata: AtomicUsize,
    inside: AtomicUsize,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
        let said = Arc::new(Said::default());
        let saying = Arc::clone(&said);
        let served = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _lost = socket.send_to(&saying.answer(&buffer[..length]), from).await;
            }
        });
        Self { said, served }
    }

    /// From now on.
    pub(crate) fn leads_outside(&self, times: usize) {
        self.said.outside.store(times, Ordering::Release);
    }

    fn led_inside(&self) -> usize {
        self.said.inside.load(Ordering::Acquire)
    }
}

impl Said {
    /// RFC 1035: the question again, and one record with TTL 0.
    fn answer(&self, asked: &[u8]) -> Vec<u8> {
        let name = asked[HEADER_BYTES..].iter().position(|byte| *byte == 0).unwrap();
        let question = &asked[HEADER_BYTES..HEADER_BYTES + name + 5];
        let (of_address, text) = (question[name + 1..name + 3] == TYPE_A, String::from_utf8_lossy(question));
        let count = u8::from(of_address);
        let mut answer = [&asked[..2], &[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0], question].concat();
        if of_address {
            let address = if text.contains("metadata") {
                self.metadata.fetch_add(1, Ordering::AcqRel);
                METADATA
            } else if !text.contains("within") && self.leads_outside() {
                OUTSIDE.parse().unwrap()
            } else {
                self.inside.fetch_add(1, Ordering::AcqRel);
                INSIDE
            };
            // A pointer to the name, type A, class IN, no time to live, four bytes.
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        answer
    }

    fn leads_outside(&self) -> bool {
        self.outside.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }
}

/// Where the services of this place look names up.
pub(crate) fn with_names(place: Place) -> Place {
    let mut place = place;
    let (servers, switch) = (place.path("resolv.conf"), place.path("nsswitch.conf"));
    fs::write(&servers, "nameserver 127.0.0.1\noptions timeout:2 attempts:5\n").unwrap();
    fs::write(&switch, "hosts: files dns\n").unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && {{ [ ! -e /etc/nsswitch.conf ] || mount --bind {} /etc/nsswitch.conf; }} && \
         exec \"$0\" \"$@\"",
        servers.display(),
        switch.display()
    );
    place.run_by(&["unshare", "--mount", "sh", "-c", &script]);
    place
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// On a machine of its own.
pub(crate) fn on_a_machine(work: impl AsyncFnOnce() + Send + 'static) {
    let machine = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace; run the tests as root (Linux, CAP_SYS_ADMIN)");
        ip("link set lo up");
        ip(&format!("address add {OUTSIDE}/32 dev lo"));
        // One thread: what it opens is on this machine.
        Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    });
    if let Err(panic) = machine.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_name_that_led_to_the_internet_leads_nowhere_inside() {
    on_a_machine(async || {
        let names = NameServer::start().await;
        let outside = Hostile::start_on(&format!("{OUTSIDE}:0"), "outside", |_, _| None).await;
        let port = outside.url.rsplit(':').next().unwrap().to_owned();
        // At the same port, so that the same address leads there by the name alone.
        let hidden = Hostile::start_on(&format!("127.0.0.1:{port}"), "hidden", |_, _| None).await;
        let url = |name: &str| format!("http://{name}.example:{port}");
        let came = |peer: &Hostile| {
            ["head", "manifest", "identity", "changes"].map(|it| peer.peer.asked(it)).iter().sum::<usize>()
        };

        // The operator's own peer, and his name server is not his own.
        names.leads_outside(usize::MAX);
        let plain = || Place::new().set("ARK__FEDERATION__PLAIN_HTTP", "always");
        let place = with_names(plain().set("FEDERATION_TRUSTED_PEERS", &url("rebound")));
        let victim = Victim::start_in(place).await;
        victim.round().await;
        assert!(outside.peer.asked("head") > 0, "the name leads there");
        names.leads_outside(0);
        let (before, led_inside) = (came(&outside), names.led_inside());
        let error = victim.round().await;
        assert!(error.contains("led to the internet before and leads into this machine's network now"), "{error}");
        assert!(names.led_inside() > led_inside, "it was looked up again");
        assert_eq!((came(&outside), came(&hidden)), (before, 0));
        victim.has_audited("out_of_reach", "round", "outside");
        // Whoever is right goes on.
        names.leads_outside(usize::MAX);
        let error = victim.round().await;
        assert!(!error.contains("led to the internet") && came(&outside) > before, "{error}");
        drop(victim);

        // Once right, and then wrong within the same round.
        let victim = Victim::start_in(with_names(plain().set("FEDERATION_TRUSTED_PEERS", &url("at-once")))).await;
        until("the start has looked it up", async || victim.place.log().contains("at-once.example")).await;
        names.leads_outside(1);
        let (before, led_inside) = (came(&outside), names.led_inside());
        let error = victim.round().await;
        assert!(error.contains("led to the internet before"), "{error}");
        assert!(came(&outside) > before && names.led_inside() > led_inside);
        assert_eq!(came(&hidden), 0);

        // A cloud's secrets, from the first time on.
        let added = victim.operate("/api/federation/peers/add", &json!({"peerUrl": url("metadata")})).await;
        assert_eq!(added["status"], "added");
        let synced = victim.operate("/api/federation/sync", &json!({"peerUrl": url("metadata")})).await;
        let error = synced["result"][0]["error"].as_str().unwrap();
        assert!(error.contains("is an address that is never asked"), "{error}");

        // A name of the operator that always was of his own network leads there: the name server works, and so does who hides.
        victim.operate("/api/federation/peers/add", &json!({"peerUrl": url("within")})).await;
        victim.operate("/api/federation/sync", &json!({"peerUrl": url("within")})).await;
        assert!(came(&hidden) > 0, "{VICTIM} never came to {}", url("within"));
    });
}
