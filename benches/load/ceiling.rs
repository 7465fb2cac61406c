//! What the HTTP stack can do at best: the same server with the same socket options and one worker, and nothing of the service. It is this
//! program, started again, so that its CPU time can be told like the service's.

use crate::{
    engine::{Pace, Plan, Run, run},
    http1::{Connection, request},
    process::cpu_time,
};
use actix_web::{App, HttpResponse, HttpServer, web};
use ark_lattice::{
    json::{Document, python},
    manifest::verify,
    types::{Limits, PublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The argument that makes this program such a server.
pub(crate) const ARGUMENT: &str = "--ceiling-server";
/// More than any request of the rows has.
const BODY_BYTES: usize = 64 << 20;
/// For how long signatures are checked to know what one costs.
const CHECKING: Duration = Duration::from_millis(300);

/// With what a row is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    /// A short answer to a request without a body.
    Hello,
    /// The request's body comes back.
    Echo,
    /// As [`Self::Echo`], and checking the envelope once: gate, canonical form and shape as the service does them, and the signature
    /// as the library does, the key's decoding included.
    VerifiedEcho,
    /// A body as long as the service's answer, always the same one.
    Static,
    /// The request's body is read, and a body as long as the service's answer sent.
    Trade,
}

impl Limit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Hello => "hello",
            Self::Echo => "echo",
            Self::VerifiedEcho => "verify + echo",
            Self::Static => "static body",
            Self::Trade => "read + static",
        }
    }
}

/// Serves until standard input ends: with whoever started it.
pub(crate) fn serve() {
    std::thread::spawn(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    actix_web::rt::System::new().block_on(async {
        let answer: web::Data<Mutex<Bytes>> = web::Data::from(Arc::new(Mutex::new(Bytes::new())));
        let json = |bytes: Bytes| HttpResponse::Ok().content_type("application/json").body(bytes);
        let server = HttpServer::new(move || {
            let show =
                move |answer: web::Data<Mutex<Bytes>>| async move { json(answer.lock().expect("whole").clone()) };
            let keep = |answer: web::Data<Mutex<Bytes>>, body: Bytes| async move {
                *answer.lock().expect("whole") = body;
                HttpResponse::Ok().finish()
            };
            let trade = move |answer: web::Data<Mutex<Bytes>>, body: Bytes| async move {
                drop(body);
                json(answer.lock().expect("whole").clone())
            };
            App::new()
                .app_data(answer.clone())
                .app_data(web::PayloadConfig::new(BODY_BYTES))
                .route("/hello", web::get().to(|| async { HttpResponse::Ok().body("hello") }))
                .route("/echo", web::post().to(move |body: Bytes| async move { json(body) }))
                .service(
                    web::resource("/answer")
                        .route(web::get().to(show))
                        .route(web::put().to(keep))
                        .route(web::post().to(trade)),
                )
        });
        let server = server.workers(1).tcp_nodelay(true).backlog(4096).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).expect("a free port");
        println!("{}", server.addrs().first().expect("an address").port());
        server.run().await.expect("the server works");
    });
}

/// Such a server, gone with its owner.
pub(crate) struct Ceiling {
    process: Child,
    port: u16,
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Requests, and the CPU time that they took.
#[derive(Default)]
pub(crate) struct Cost {
    requests: u64,
    cpu: Duration,
}

impl Cost {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.cpu += other.cpu;
    }

    pub(crate) fn of(run: &Run, cpu: Duration) -> Self {
        Self { requests: run.answered, cpu }
    }

    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.requests as f64 / self.cpu.as_secs_f64().max(0.01)
    }
}

impl Ceiling {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("the program's own path");
        let mut command = Command::new(program);
        let mut process = command
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts again");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("a port");
        Self { process, port }
    }

    /// What requests of this kind cost here at best.
    pub(crate) async fn measure(
        &self,
        limit: Limit,
        sample: &[u8],
        answer_bytes: usize,
        connections: usize,
        lasts: Duration,
    ) -> Cost {
        let body = body_of(sample);
        if matches!(limit, Limit::Static | Limit::Trade) {
            let answer = vec![b' '; answer_bytes];
            let mut connection = Connection::open(self.port).await.expect("a connection");
            let kept = connection.exchange(&request("PUT", "/answer", "", Some(&answer))).await.expect("an answer");
            assert_eq!(kept.status, 200);
        }
        let request = match limit {
            Limit::None | Limit::Hello => request("GET", "/hello", "", None),
            Limit::Echo | Limit::VerifiedEcho => request("POST", "/echo", "", Some(body)),
            Limit::Static => request("GET", "/answer", "", None),
            Limit::Trade => request("POST", "/answer", "", Some(body)),
        };
        let plan = Rc::new(Plan::again(request, ""));
        run(self.port, &plan, Pace::Closed, connections, lasts / 5).await;
        let before = cpu_time(self.process.id());
        let run = run(self.port, &plan, Pace::Closed, connections, lasts).await;
        assert!(run.wrong.is_empty(), "{:?}", run.wrong);
        Cost::of(&run, cpu_time(self.process.id()).saturating_sub(before))
    }
}

fn body_of(request: &[u8]) -> &[u8] {
    memchr::memmem::find(request, b"\r\n\r\n").map_or(&[], |at| &request[at + 4..])
}

/// CPU time of the calling thread so far, exact to its last turn on a processor.
fn thread_cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// CPU seconds that `check` takes, on a thread that does nothing else.
fn seconds_of(mut check: impl FnMut() -> bool) -> f64 {
    let (began, mut checked) = (thread_cpu_time(), 0_u32);
    loop {
        for _ in 0..64 {
            assert!(std::hint::black_box(check()), "a right envelope");
        }
        checked += 64;
        let took = thread_cpu_time().saturating_sub(began);
        if took >= CHECKING {
            return took.as_secs_f64() / f64::from(checked);
        }
    }
}

/// What was signed of an envelope in the `python` form, the signature, and the key.
fn signed_part(envelope: &Bytes, limits: &Limits) -> (Vec<u8>, [u8; 64], [u8; 32]) {
    let document = Document::parse(envelope.clone(), limits.json_depth).expect("JSON");
    let object = document.root().as_object().expect("an object");
    let mut signed = Vec::new();
    python::write(object.get("manifest").expect("a manifest"), &mut signed);
    let bytes = |field| STANDARD.decode(object.get(field).expect("there").as_str().expect("text").as_bytes());
    let [signature, key] = ["signature", "pubkey"].map(|field| bytes(field).expect("base64"));
    (signed, signature.try_into().expect("64 bytes"), key.try_into().expect("32 bytes"))
}

/// Envelopes checked a CPU second, by one thread that does nothing else. The service spares some of what the library does where it has
/// taken the key before; the limit does not.
pub(crate) fn verified_per_cpu_second(sample: &[u8]) -> f64 {
    let (envelope, limits) = (Bytes::copy_from_slice(body_of(sample)), Limits::default());
    let (signed, signature, key) = signed_part(&envelope, &limits);
    let known = PublicKey::from_bytes(key);
    let whole = seconds_of(|| verify(envelope.clone(), &limits).is_ok());
    let spared = seconds_of(|| known.has_signed(&signed, &signature));
    let library = seconds_of(|| {
        let key = VerifyingKey::from_bytes(&key).expect("a point");
        key.verify_strict(&signed, &Signature::from_bytes(&signature)).is_ok()
    });
    1.0 / (whole - spared + library)
}
