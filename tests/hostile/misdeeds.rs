//! What peers do that mean harm, and what must be said of them.

use crate::server::{Peer, Reply, Request, deleted, feed, head_of_answer, listed, node, now, ok, open, set_of, whole};
use ark_lattice::{
    identity::KeyPair,
    manifest::{Head, sign_head},
    types::{ContentHash, PeerId},
};
use serde_json::{Value, json};
use std::time::Duration;

type Script = Box<dyn Fn(&Peer, &Request) -> Option<Reply> + Send + Sync>;

/// One peer: its name, what its state must say in the end, what it does.
pub(crate) struct Misdeed {
    pub(crate) name: &'static str,
    /// One of these, separated by `|`.
    pub(crate) said: &'static str,
    pub(crate) script: Script,
}

/// How often a slow one sends.
const NOW_AND_THEN: Duration = Duration::from_millis(50);
/// Nodes that the instance has before, and that are nobody's to take away.
pub(crate) const BASE: usize = 60;

pub(crate) fn base_id(number: usize) -> String {
    format!("base-{number:03}")
}

fn deed(
    name: &'static str,
    said: &'static str,
    script: impl Fn(&Peer, &Request) -> Option<Reply> + Send + Sync + 'static,
) -> Misdeed {
    Misdeed { name, said, script: Box::new(script) }
}

/// Answers one route with these bytes.
fn at(name: &'static str, route: &'static str, said: &'static str, bytes: impl Into<Vec<u8>>) -> Misdeed {
    let bytes = bytes.into();
    deed(name, said, move |_, request| (request.route == route).then(|| Reply::Bytes(bytes.clone())))
}

/// Signs a head that was changed so.
fn head(name: &'static str, said: &'static str, change: fn(&mut Head)) -> Misdeed {
    deed(name, said, move |peer, request| (request.route == "head").then(|| Reply::Bytes(ok(peer.head(change)))))
}

/// Answers `changes` with a feed of these lines, ended at 9.
fn lines(name: &'static str, said: &'static str, lines: Vec<Value>) -> Misdeed {
    deed(name, said, move |peer, request| match request.route {
        "head" => Some(Reply::Bytes(ok(peer.head(|head| head.manifest_hash = set_of(&lines))))),
        "changes" => Some(Reply::Bytes(ok(feed(request, 9, &lines) + "{\"end\":9}\n"))),
        _ => None,
    })
}

/// Announces these nodes, and does something else where they are fetched.
fn fetched(
    name: &'static str,
    said: &'static str,
    ids: &'static [&'static str],
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> Misdeed {
    let lines = move || -> Vec<Value> { (1..).zip(ids).map(|(seq, id)| listed(seq, id, "announced")).collect() };
    deed(name, said, move |peer, request| match request.route {
        "head" => Some(Reply::Bytes(ok(peer.head(|head| head.manifest_hash = set_of(&lines()))))),
        "changes" => Some(Reply::Bytes(ok(feed(request, 9, &lines()) + "{\"end\":9}\n"))),
        "nodes" => Some(reply()),
        _ => None,
    })
}

/// gzip of one letter, again and again: a byte becomes about 160.
fn endless_gzip() -> Reply {
    let mut bits = Bits::default();
    // The last block, fixed codes (RFC 1951 section 3.2.6); `a`; then the same again, 258 times each.
    bits.low_first(0b011, 3);
    bits.high_first(0x30 + u32::from(b'a'), 8);
    bits.again();
    let mut first = head_of_answer("Content-Encoding: gzip");
    first.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    first.extend(&bits.bytes);
    assert_eq!(bits.used % 8, 0);
    let mut cycle = Bits::default();
    (0..8).for_each(|_| cycle.again());
    Reply::Endless(first, cycle.bytes.repeat(500))
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn low_first(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= u8::from(value >> bit & 1 == 1) << (self.used % 8);
            self.used += 1;
        }
    }

    fn high_first(&mut self, value: u32, count: usize) {
        (0..count).rev().for_each(|bit| self.low_first(value >> bit & 1, 1));
    }

    /// Length 258 from distance 1.
    fn again(&mut self) {
        self.high_first(0b1100_0101, 8);
        self.high_first(0, 5);
    }
}

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// All of them.
pub(crate) fn all() -> Vec<Misdeed> {
    let mut all = heads();
    all.extend(identities());
    all.extend(feeds());
    all.extend(fetches());
    all.extend(pushes());
    all.extend(over_time());
    all
}

/// In `GET /lattice/identity`.
fn identities() -> Vec<Misdeed> {
    let on_identity = |name, said, reply: fn() -> Reply| {
        deed(name, said, move |_, request| (request.route == "identity").then(reply))
    };
    let nested = format!("{{\"statements\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    vec![
        at("html-of-its-key", "identity", "its statements: it is not strict JSON", ok("<html>Please log in</html>")),
        at("nested-statements", "identity", "its statements: it is not strict JSON", ok(nested)),
        at("no-statement", "identity", "its statements: statement 1", ok(r#"{"statements":[{"payload":"AAAA"}]}"#)),
        on_identity("endless-statements", "larger than 1048576 bytes", || Reply::Endless(open(), vec![b' '; 4096])),
        on_identity("silent-of-its-key", "no answer in time", || Reply::Silence(Vec::new())),
    ]
}

/// In `GET /lattice/head`.
fn heads() -> Vec<Misdeed> {
    let on_head = |name, said, reply: fn(&Peer) -> Reply| {
        deed(name, said, move |peer, request| (request.route == "head").then(|| reply(peer)))
    };
    vec![
        at("html", "head", "its head: '<' stands where", ok("<html>Please log in</html>")),
        on_head("endless-head", "larger than 16384 bytes", |_| Reply::Endless(open(), vec![b' '; 4096])),
        on_head("slow-head", "less than 1024 bytes a second", |_| Reply::Slowly(open(), raw(" "), NOW_AND_THEN)),
        on_head("silent", "no answer in time", |_| Reply::Silence(Vec::new())),
        on_head("slow-headers", "no answer in time", |_| {
            Reply::Slowly(raw("HTTP/1.1 200 OK\r\nX: "), raw("x"), NOW_AND_THEN)
        }),
        on_head("endless-headers", "cannot be reached", |_| {
            Reply::Endless(raw("HTTP/1.1 200 OK\r\n"), raw("X-Flood: flood\r\n").repeat(100))
        }),
        on_head("endless-header", "cannot be reached", |_| {
            Reply::Endless(raw("HTTP/1.1 200 OK\r\nX-Flood: "), vec![b'x'; 4096])
        }),
        on_head("endless-continue", "no answer in time", |_| {
            Reply::Slowly(Vec::new(), raw("HTTP/1.1 102 Processing\r\n\r\n"), Duration::from_millis(1))
        }),
        at("cut-in-headers", "head", "cannot be reached", raw("HTTP/1.1 200 OK\r\nContent-")),
        at(
            "cut-in-body",
            "head",
            "cannot be reached",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"payload\""),
        ),
        at("no-http", "head", "cannot be reached", raw("SSH-2.0-OpenSSH_9.6\r\n")),
        at("negative-length", "head", "cannot be reached", raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}")),
        at(
            "two-lengths",
            "head",
            "cannot be reached",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}"),
        ),
        at(
            "huge-length",
            "head",
            "cannot be reached",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}"),
        ),
        at(
            "elsewhere",
            "head",
            "redirects to http://192.0.2.1/",
            raw("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/lattice/head\r\nContent-Length: 0\r\n\r\n"),
        ),
        at(
            "in-circles",
            "head",
            "redirects to",
            raw("HTTP/1.1 307 Temporary Redirect\r\nLocation: /lattice/head\r\nContent-Length: 0\r\n\r\n"),
        ),
        at(
            "busy-for-ever",
            "head",
            "failed with 503",
            raw("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 18446744073709551615\r\nContent-Length: 0\r\n\r\n"),
        ),
        at(
            "too-many",
            "head",
            "refused with 429",
            raw("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 99999999999\r\nContent-Length: 3\r\n\r\nno\x1b"),
        ),
        at("half-in-http-1.0", "head", "the text ends before", raw("HTTP/1.0 200 OK\r\n\r\n{\"payload\":\"")),
        on_head("bomb-head", "larger than 16384 bytes", |_| endless_gzip()),
        on_head("zstd-nobody-asked-for", "not valid UTF-8", |_| {
            Reply::Bytes(
                [head_of_answer("Content-Encoding: zstd").as_slice(), &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x88]].concat(),
            )
        }),
        on_head("forged", "its head: the signature", |peer| {
            let other = KeyPair::generate().unwrap();
            let real = peer.head(|_| {});
            Reply::Bytes(ok(real.replace(&peer.key.public_key().to_base64(), &other.public_key().to_base64())))
        }),
        head("expired", "its head is dated", |head| head.expires = now().minus(Duration::from_secs(400))),
        head("ahead", "its head is dated", |head| head.issued_at = now().plus(Duration::from_secs(400))),
        head("beyond-every-journal", "cannot be true", |head| head.seq = u64::MAX),
        head("just-beyond", "cannot be true", |head| head.seq = 1 << 53),
        head("floor-above", "cannot be true", |head| head.floor = 10),
        head("more-nodes-than-changes", "cannot be true", |head| head.count = 10),
        head("a-billion-nodes", "limits.lattice_nodes", |head| (head.count, head.seq) = (1 << 30, 1 << 30)),
        head("the-victim", "has the id of this one", |head| head.node_id = PeerId::parse("victim").unwrap()),
        deed("other-key", "signs with another key", |peer, request| {
            // At first contact it is asked twice.
            if request.route != "head" || request.before < 2 {
                return None;
            }
            let other = KeyPair::generate().unwrap();
            let mut signed = None;
            peer.head(|head| signed = Some(sign_head(head, other.public_key(), |bytes| other.sign(bytes))));
            Some(Reply::Bytes(ok(signed.unwrap())))
        }),
        deed("other-name", "the instance there is now somebody-else", |peer, request| {
            let later = request.route == "head" && request.before > 1;
            later.then(|| Reply::Bytes(ok(peer.head(|head| head.node_id = PeerId::parse("somebody-else").unwrap()))))
        }),
        deed("two-faced", "the instance there is now another-face", |peer, request| {
            let second = request.route == "head" && request.before % 2 == 1;
            second.then(|| Reply::Bytes(ok(peer.head(|head| head.node_id = PeerId::parse("another-face").unwrap()))))
        }),
    ]
}

/// In `GET /lattice/changes`.
fn feeds() -> Vec<Misdeed> {
    let on_feed = |name, said, reply: fn(&Request) -> Reply| {
        deed(name, said, move |_, request| (request.route == "changes").then(|| reply(request)))
    };
    let lie = |change: fn(&mut Value)| {
        let mut line = whole(1, "a-lie", "what it says");
        change(&mut line);
        vec![line]
    };
    let long = "x".repeat(10 << 10);
    vec![
        at("html-feed", "changes", "what it sends: a line is not JSON", ok("<html>Please log in</html>\n")),
        on_feed("endless-line", "a line of over", |_| Reply::Endless(open(), vec![b'x'; 64 << 10])),
        on_feed("endless-node", "a line of over", |request| {
            let hash = "0".repeat(64);
            let node = format!(
                r#"{{"seq":1,"id":"endless","at":1,"hash":"sha256:{hash}","size":9000000,"after":[],"node":{{"x":""#
            );
            Reply::Endless([open(), (feed(request, 9, &[]) + &node).into_bytes()].concat(), vec![b'x'; 64 << 10])
        }),
        on_feed("endless-blank-lines", "a line is not JSON", |_| Reply::Endless(open(), vec![b'\n'; 64 << 10])),
        on_feed("bomb-feed", "a line of over", |_| endless_gzip()),
        on_feed("endless-feed", "not the feed that was asked for", |request| {
            let again = |seq| format!("{}\n", listed(seq, "again", "the same"));
            let many: String = (1..2000).map(again).collect();
            Reply::Endless([open(), feed(request, 1 << 40, &[]).into_bytes()].concat(), many.into_bytes())
        }),
        on_feed("more-than-signed-for", "more nodes than were signed for", |request| {
            let many: Vec<Value> = (1..10).map(|seq| listed(seq, &base(seq), "not the one")).collect();
            Reply::Bytes(ok(feed(request, 9, &many) + "{\"end\":9}\n"))
        }),
        on_feed("one-node-often", "more nodes than were signed for", |request| {
            let many: Vec<Value> = (1..10).map(|seq| listed(seq, "one-node-often", "again")).collect();
            Reply::Bytes(ok(feed(request, 9, &many) + "{\"end\":9}\n"))
        }),
        deed("fat-list", "still differ", |peer, request| match request.route {
            "head" => Some(Reply::Bytes(ok(peer.head(|head| (head.seq, head.count) = (56, 56))))),
            "changes" if request.since == 0 => {
                let mut line = listed(1, "fat", "x");
                line["type"] = json!("x".repeat(2 << 20));
                let line = format!("{line}\n");
                let start = feed(request, 56, &[]);
                let lines: String =
                    (1..=56).map(|seq| line.replacen("\"seq\":1", &format!("\"seq\":{seq}"), 1)).collect();
                Some(Reply::Bytes(ok(start + &lines + "{\"end\":56}\n")))
            }
            "changes" => Some(Reply::Bytes(ok(feed(request, 56, &[]) + "{\"end\":56}\n"))),
            _ => None,
        }),
        on_feed("slow-feed", "less than 1024 bytes a second", |request| {
            Reply::Slowly([open(), feed(request, 9, &[]).into_bytes()].concat(), raw("x"), NOW_AND_THEN)
        }),
        on_feed("silent-feed", "no answer in time", |request| {
            Reply::Silence([open(), feed(request, 9, &[]).into_bytes()].concat())
        }),
        on_feed("cut-between-lines", "the connection ended before the answer did", |request| {
            Reply::Bytes([open(), feed(request, 9, &[listed(1, "cut", "off")]).into_bytes()].concat())
        }),
        on_feed("cut-in-a-line", "ends within a line", |request| {
            let text = feed(request, 9, &[listed(1, "cut", "off")]);
            Reply::Bytes([open(), text.as_bytes()[..text.len() - 20].to_vec()].concat())
        }),
        on_feed("cut-in-a-chunk", "cannot be reached", |request| {
            let head = head_of_answer("Transfer-Encoding: chunked");
            Reply::Bytes([head, raw("fffff\r\n"), feed(request, 9, &[]).into_bytes()].concat())
        }),
        on_feed("empty-feed", "it has no first line", |_| Reply::Bytes(ok(""))),
        on_feed("begins-twice", "it begins twice", |request| {
            Reply::Bytes(ok(feed(request, 9, &[]) + &feed(request, 9, &[])))
        }),
        on_feed("early-end", "ends elsewhere", |request| Reply::Bytes(ok(feed(request, 9, &[]) + "{\"end\":5}\n"))),
        on_feed("late-end", "ends elsewhere", |request| {
            Reply::Bytes(ok(feed(request, 9, &[]) + "{\"end\":18446744073709551615}\n"))
        }),
        on_feed("goes-back", "ends before the signed position", |request| {
            Reply::Bytes(ok(feed(request, 3, &[]) + "{\"end\":3}\n"))
        }),
        on_feed("jumps", "beyond every journal", |request| {
            Reply::Bytes(ok(feed(request, u64::MAX, &[]) + "{\"end\":18446744073709551615}\n"))
        }),
        on_feed("other-journal", "begins as another one", |request| {
            let text = feed(request, 9, &[]).replace(&request.index_id, &"f".repeat(32));
            Reply::Bytes(ok(text + "{\"end\":9}\n"))
        }),
        on_feed("other-start", "begins as another one", |request| {
            let text = feed(request, 9, &[]).replace("\"since\":0", "\"since\":1");
            Reply::Bytes(ok(text + "{\"end\":9}\n"))
        }),
        lines("same-position", "do not ascend", vec![listed(4, "p", "1"), listed(4, "q", "2")]),
        lines("backwards", "do not ascend", vec![listed(4, "p", "1"), listed(3, "q", "2")]),
        lines("beyond-its-end", "beyond its own end", vec![listed(10, "p", "1")]),
        lines("wrong-hash", "does not have the hash", lie(|line| line["node"]["content"] = json!("another"))),
        lines("other-node", "brings another node", lie(|line| line["node"]["id"] = json!(base_id(1)))),
        lines("ancient-size", "size", lie(|line| line["size"] = json!(-1))),
        lines("long-id", "a line's id", vec![json!({"seq": 1, "id": long, "at": 1, "deleted": hash(), "after": []})]),
        lines(
            "control-id",
            "a line's id",
            vec![json!({"seq": 1, "id": "a\u{0}/../b", "at": 1, "deleted": hash(), "after": []})],
        ),
        lines("no-such-hash", "a line's hash", lie(|line| line["hash"] = json!("sha256:../../etc/passwd"))),
        lines("no-ancestry", "a line's after", lie(|line| line["after"] = json!([7]))),
        lines("no-time", "a line's at", lie(|line| line["at"] = json!("1e999"))),
        // Its deletions wait; that the instance keeps other nodes as well is said all the same.
        deed("takes-all-away", "still differ", |peer, request| {
            let all: Vec<Value> =
                (1..).zip(0..BASE).map(|(seq, n)| deleted(seq, &base_id(n), now().seconds())).collect();
            match request.route {
                "head" => Some(Reply::Bytes(ok(
                    peer.head(|head| (head.seq, head.count, head.manifest_hash) = (60, 0, set_of(&[])))
                ))),
                "changes" => Some(Reply::Bytes(ok(feed(request, 60, &all) + "{\"end\":60}\n"))),
                _ => None,
            }
        }),
        lines("far-ahead", "still differ", lie(|line| line["at"] = json!(now().seconds() + 3600))),
        deed("left-out", "does not lead to the set that it signed", |_, request| {
            let lines = [listed(9, &base_id(0), "base")];
            (request.route == "changes").then(|| Reply::Bytes(ok(feed(request, 9, &lines) + "{\"end\":9}\n")))
        }),
    ]
}

fn hash() -> String {
    ContentHash::of(b"").to_string()
}

fn base(seq: u64) -> String {
    base_id(usize::try_from(seq).unwrap())
}

/// Ids that look like something else. They are ids all the same: they must become files in the data directory, and nothing else.
pub(crate) const ODD_IDS: &[&str] = &[
    "../outside",
    "..",
    "a/b",
    "/etc/passwd",
    "CON",
    "nul.json",
    ".hidden",
    "%2e%2e%2f",
    "a\\b",
    "manifest",
    "con~1",
    "é\u{202e}",
];

/// A node that a peer left out at first: it comes all the same.
pub(crate) const LATE_ID: &str = "left-out-once";

/// In `POST /lattice/nodes`.
fn fetches() -> Vec<Misdeed> {
    let line = |id: &str, content: &str| format!("{}\n", whole(1, id, content)).into_bytes();
    vec![
        fetched("unasked-nodes", "not asked for", &["asked"], move || {
            Reply::Bytes(ok([line("unasked", "x"), raw("{\"end\":9}\n")].concat()))
        }),
        fetched("one-node-for-ever", "not asked for", &["for-ever"], move || {
            Reply::Endless(open(), line("for-ever", "announced").repeat(200))
        }),
        fetched("nodes-cut-off", "the connection ended before the answer did", &["cut-1", "cut-2"], move || {
            Reply::Bytes([open(), line("cut-1", "announced")].concat())
        }),
        fetched("nodes-without-content", "node is missing", &["bare"], || {
            Reply::Bytes(ok(format!("{}\n{{\"end\":9}}\n", listed(1, "bare", "announced"))))
        }),
        fetched("slow-nodes", "less than 1024 bytes a second", &["slow"], || {
            Reply::Slowly(open(), raw(" "), NOW_AND_THEN)
        }),
        fetched("silent-nodes", "no answer in time", &["silent"], || Reply::Silence(Vec::new())),
        deed("odd-ids", "still differ", |peer, request| {
            let odd: Vec<Value> = (1..).zip(ODD_IDS).map(|(seq, id)| listed(seq, id, "odd")).collect();
            let count = u64::try_from(ODD_IDS.len()).unwrap();
            match request.route {
                "head" => Some(Reply::Bytes(ok(peer.head(|head| {
                    (head.seq, head.count, head.manifest_hash) = (count, count, set_of(&odd));
                })))),
                "changes" if request.since == 0 => {
                    Some(Reply::Bytes(ok(feed(request, count, &odd) + &format!("{{\"end\":{count}}}\n"))))
                }
                "nodes" => {
                    let whole = (1..).zip(ODD_IDS).map(|(seq, id)| format!("{}\n", whole(seq, id, "odd")));
                    Some(Reply::Bytes(ok(whole.collect::<String>() + "{\"end\":9}\n")))
                }
                _ => None,
            }
        }),
    ]
}

/// In what we send them.
fn pushes() -> Vec<Misdeed> {
    let many_ids = format!("{{\"wanted\":[{}\"x\"]}}", "\"x\",".repeat(1 << 20));
    vec![
        deed("endless-wanted", "larger than", |_, request| {
            (request.route == "offer")
                .then(|| Reply::Endless(head_of_answer(""), raw("{\"wanted\":[\"x\",\"x\",\"x\"").repeat(1000)))
        }),
        at("too-many-wanted", "offer", "larger than", ok(many_ids)),
        at("wants-no-ids", "offer", "wants a node with a bad id", ok(r#"{"wanted":["\u0000"]}"#)),
        at("wants-others", "offer", "still differ", ok(r#"{"wanted":["../../etc/shadow","nobody-has-this"]}"#)),
        deed("counts-wrong", "still differ", |_, request| match request.route {
            "offer" => Some(Reply::Bytes(ok(json!({"wanted": [base_id(1)]}).to_string()))),
            "push" => Some(Reply::Bytes(ok(
                r#"{"taken":18446744073709551615,"same":7,"kept":7,"ahead":7,"conflicts":18446744073709551615,"since":9,"seq":18446744073709551615}"#,
            ))),
            _ => None,
        }),
        deed("slow-answer", "less than 1024 bytes a second", |_, request| {
            (request.route == "offer").then(|| Reply::Slowly(head_of_answer(""), raw(" "), NOW_AND_THEN))
        }),
        at("push-fails", "offer", "failed with 500", raw("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")),
        deed("slow-to-be-told", "its head: 'n' stands where", |_, request| match request.route {
            "manifest" => Some(Reply::Endless(head_of_answer(""), vec![b' '; 4096])),
            "head" => Some(Reply::Bytes(ok("no"))),
            _ => None,
        }),
    ]
}

/// From one round to the next.
fn over_time() -> Vec<Misdeed> {
    vec![
        deed(
            "new-journal-each-time",
            "still differ|begins anew again and again|older than the newest accepted",
            |peer, request| match request.route {
                "head" => {
                    let before = request.before;
                    Some(Reply::Bytes(ok(peer.head(|head| head.index_id = format!("{before:032x}")))))
                }
                "notify" => Some(Reply::Slowly(open(), raw("data: {\"seq\":9}\n\n"), Duration::from_millis(100))),
                _ => None,
            },
        ),
        deed("left-out-once", "still differ", |peer, request| match request.route {
            "head" => {
                let late = [listed(9, LATE_ID, "late")];
                Some(Reply::Bytes(ok(peer.head(|head| head.manifest_hash = set_of(&late)))))
            }
            "changes" if request.since == 0 => {
                let late = if request.before == 0 { vec![] } else { vec![listed(9, LATE_ID, "late")] };
                Some(Reply::Bytes(ok(feed(request, 9, &late) + "{\"end\":9}\n")))
            }
            "nodes" => Some(Reply::Bytes(ok(format!("{}\n{{\"end\":9}}\n", whole(9, LATE_ID, "late"))))),
            _ => None,
        }),
        deed(
            "goes-up-and-down",
            "still differ|begins anew again and again|older than the newest accepted",
            |peer, request| match request.route {
                "head" => {
                    let seq = if request.before % 2 == 0 { 9 } else { 5 };
                    Some(Reply::Bytes(ok(peer.head(|head| head.seq = seq))))
                }
                "changes" => {
                    let seq = if request.before % 2 == 0 { 9 } else { 5 }.max(request.since);
                    Some(Reply::Bytes(ok(feed(request, seq, &[]) + &format!("{{\"end\":{seq}}}\n"))))
                }
                "notify" => Some(Reply::Slowly(open(), raw("data: {\"seq\":9}\n\n"), Duration::from_millis(100))),
                _ => None,
            },
        ),
        deed("flood-of-notices", "still differ", |_, request| {
            (request.route == "notify").then(|| Reply::Endless(open(), raw("data: {\"seq\":9}\n\n").repeat(100)))
        }),
        deed("endless-notice", "still differ", |_, request| {
            (request.route == "notify").then(|| Reply::Endless(open(), vec![b'x'; 4096]))
        }),
        deed("bomb-of-notices", "still differ", |_, request| (request.route == "notify").then(endless_gzip)),
        at("shuts-the-door", "notify", "still differ", open()),
        deed("more-of-what-it-has", "does not lead to the set that it signed", |_, request| {
            // Every round another content of the same node: each is one node, and none is a conflict of ours.
            let text = request.before.to_string();
            match request.route {
                "changes" => Some(Reply::Bytes(ok(feed(request, 9, &[listed(9, "more", &text)]) + "{\"end\":9}\n"))),
                "nodes" => {
                    let (node, _) = node("more", &text);
                    let line = json!({"seq": 9, "id": "more", "at": now().seconds(), "size": 9, "after": [], "node": node,
                        "hash": ark_lattice::lattice::NodeDocument::parse(bytes::Bytes::from(node.to_string()), 64).unwrap().content_hash().to_string()});
                    Some(Reply::Bytes(ok(format!("{line}\n{{\"end\":9}}\n"))))
                }
                _ => None,
            }
        }),
    ]
}
