//! Bytes that no client library sends.

use super::prepared;
use crate::{
    app::TOKEN,
    raw_http::{Answer, Connection},
};

/// What answers.
enum Expected {
    /// This service: a problem.
    Problem(u16, &'static str),
    /// This service: such a request is as good as any other.
    Taken,
    /// The HTTP parser under it: a status and no body, then the connection ends. The service never sees the request, and the
    /// server has no place where its answer could be made.
    Parser(u16),
}

use Expected::{Parser, Problem, Taken};

struct Case(&'static str, Vec<u8>, Expected);

fn case(name: &'static str, bytes: impl AsRef<[u8]>, expected: Expected) -> Case {
    Case(name, bytes.as_ref().to_vec(), expected)
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: ark\r\n\r\n")
}

fn sync(headers: &str, body: &str) -> String {
    format!("POST /sync HTTP/1.1\r\nhost: ark\r\ncontent-type: application/json\r\n{headers}\r\n\r\n{body}")
}

fn endless(head: &str) -> String {
    format!("{head}{}", "x".repeat((128 << 10) - head.len()))
}

fn heads() -> Vec<Case> {
    vec![
        case("no version", "GET /\r\n\r\n", Parser(400)),
        case("no request line", "\r\n\r\n:\r\n\r\n", Parser(400)),
        case("nonsense", "hello there\r\n\r\n", Parser(400)),
        case("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Parser(400)),
        case("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Parser(400)),
        case("HTTP/1.2", "GET /health HTTP/1.2\r\nhost: ark\r\n\r\n", Parser(400)),
        case("HTTP/3.0", "GET /health HTTP/3.0\r\nhost: ark\r\n\r\n", Parser(400)),
        case("two spaces in the request line", "GET  /health HTTP/1.1\r\nhost: ark\r\n\r\n", Parser(400)),
        case("a header without a colon", "GET /health HTTP/1.1\r\nhost: ark\r\nnonsense\r\n\r\n", Parser(400)),
        case("a header without a name", "GET /health HTTP/1.1\r\nhost: ark\r\n: x\r\n\r\n", Parser(400)),
        case("a space before the colon", "GET /health HTTP/1.1\r\nhost : ark\r\n\r\n", Parser(400)),
        case("a folded header", "GET /health HTTP/1.1\r\nhost: ark\r\nx: a\r\n b\r\n\r\n", Parser(400)),
        case("a zero byte in a header", "GET /health HTTP/1.1\r\nhost: ark\r\nx: a\0b\r\n\r\n", Parser(400)),
        case("HTTP/1.1 without Host", "GET /health HTTP/1.1\r\n\r\n", Parser(400)),
        case("two Hosts", "GET /health HTTP/1.1\r\nhost: ark\r\nhost: ark2\r\n\r\n", Parser(400)),
        case("HTTP/1.0 without Host", "GET /health HTTP/1.0\r\n\r\n", Taken),
        case("line feeds alone", "GET /health HTTP/1.1\nhost: ark\n\n", Parser(400)),
        case(
            "a header of 100 KB",
            format!("GET /health HTTP/1.1\r\nhost: ark\r\nx: {}\r\n\r\n", "x".repeat(100_000)),
            Taken,
        ),
        // Exactly what the parser looks at: it reads no further, so a client that goes on sending may see a reset instead.
        case("a header of 128 KB and more to come", endless("GET /health HTTP/1.1\r\nhost: ark\r\nx: "), Parser(431)),
        case(
            "200 headers",
            format!("GET /health HTTP/1.1\r\nhost: ark\r\n{}\r\n", "x: y\r\n".repeat(200)),
            Parser(431),
        ),
        case("a path of 70 KB", get(&format!("/{}", "x".repeat(70_000))), Parser(400)),
    ]
}

fn lengths() -> Vec<Case> {
    let body = "{\"nodes\":[]}";
    let chunked = |chunks: &str| sync("transfer-encoding: chunked", chunks);
    vec![
        case("a length of letters", sync("content-length: abc", body), Parser(400)),
        case("a negative length", sync("content-length: -1", body), Parser(400)),
        case("a length with a plus", sync("content-length: +12", body), Parser(400)),
        case("a length with a fraction", sync("content-length: 12.0", body), Parser(400)),
        case("an empty length", sync("content-length: ", body), Parser(400)),
        case("a length beyond 2^64", sync("content-length: 99999999999999999999", body), Parser(400)),
        case("two lengths", sync("content-length: 12\r\ncontent-length: 11", body), Parser(400)),
        case("the same length twice", sync("content-length: 12\r\ncontent-length: 12", body), Parser(400)),
        case("a list of lengths", sync("content-length: 12, 12", body), Parser(400)),
        case(
            "a length and chunks",
            sync("content-length: 12\r\ntransfer-encoding: chunked", "c\r\n{\"nodes\":[]}\r\n0\r\n\r\n"),
            Parser(400),
        ),
        case("an unknown transfer encoding", sync("transfer-encoding: gzip, chunked", "0\r\n\r\n"), Parser(400)),
        case("chunks in HTTP/1.0", chunked("0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1), Parser(400)),
        case("no length in HTTP/1.0", "POST /sync HTTP/1.0\r\n\r\n{}", Parser(400)),
        case("right chunks", chunked("c\r\n{\"nodes\":[]}\r\n0\r\n\r\n"), Taken),
        case("right chunks with an extension", chunked("c;x=y\r\n{\"nodes\":[]}\r\n0\r\n\r\n"), Taken),
        case("a chunk size of letters", chunked("xyz\r\n{\"nodes\":[]}\r\n0\r\n\r\n"), Problem(400, "json_syntax")),
        case("a negative chunk size", chunked("-1\r\n{\"nodes\":[]}\r\n0\r\n\r\n"), Problem(400, "json_syntax")),
        case("a chunk size beyond 2^64", chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), Problem(400, "json_syntax")),
        case("a chunk longer than it says", chunked("2\r\n{\"nodes\":[]}\r\n0\r\n\r\n"), Problem(400, "json_syntax")),
        case("a bad size behind a chunk", chunked("c\r\n{\"nodes\":[]}\r\nzz\r\n\r\n"), Problem(400, "json_syntax")),
    ]
}

fn targets() -> Vec<Case> {
    let not_found = || Problem(404, "not_found");
    let operator = format!("authorization: Bearer {TOKEN}\r\n");
    vec![
        case("a method in lower case", "get /health HTTP/1.1\r\nhost: ark\r\n\r\n", Problem(405, "method_not_allowed")),
        case("an unknown method", "BREW /health HTTP/1.1\r\nhost: ark\r\n\r\n", Problem(405, "method_not_allowed")),
        case("a method of other characters", "G(T /health HTTP/1.1\r\nhost: ark\r\n\r\n", Parser(400)),
        case("the whole server", "OPTIONS * HTTP/1.1\r\nhost: ark\r\n\r\n", not_found()),
        case("a tunnel", "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n", not_found()),
        case("dots that climb", get("/../../etc/passwd"), not_found()),
        case("dots within", get("/nodes/../health"), Problem(404, "node_not_found")),
        case("dots in escapes", get("/%2e%2e/health"), not_found()),
        case("a zero byte in escapes", get("/health%00"), not_found()),
        case("bad escapes", get("/nodes/%zz"), Problem(400, "invalid_path")),
        case("bad escapes and no route", get("/%zz"), not_found()),
        case("two slashes", get("//"), not_found()),
        case("two slashes and a route", get("//health"), not_found()),
        case("a fragment", get("/health#x"), Taken),
        case("no slash", get("health"), not_found()),
        case("a space in the target", get("/nodes/a b"), Parser(400)),
        case("bytes that are not UTF-8", b"GET /nodes/\xff\xfe HTTP/1.1\r\nhost: ark\r\n\r\n", Parser(400)),
        case("bytes of UTF-8, no escapes", get("/nodes/\u{2603}"), Parser(400)),
        case("a quote and brackets", get("/nodes/\"<a>\""), Parser(400)),
        case("the absolute form", get("http://ark/health"), Taken),
        case("the absolute form of a node", get("http://ark/nodes/known"), Taken),
        case("the absolute form of another scheme", get("ftp://ark/nowhere"), not_found()),
        case("a route in escapes", get("/%6Eodes/known"), Taken),
        case("a route in escapes, then its own name", get("/%6Eodes/nodes/known"), Problem(404, "node_not_found")),
        case(
            "a deletion by a name that stands twice",
            format!("DELETE /%6eodes/nodes/known HTTP/1.1\r\nhost: ark\r\n{operator}\r\n"),
            Problem(404, "node_not_found"),
        ),
        case(
            "an upgrade to WebSocket",
            "GET /health HTTP/1.1\r\nhost: ark\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            Taken,
        ),
        case("an unknown expectation", sync("content-length: 12\r\nexpect: wonders", "{\"nodes\":[]}"), Taken),
        case(
            "an encoding that nobody has",
            "GET /health HTTP/1.1\r\nhost: ark\r\naccept-encoding: identity;q=0, *;q=0\r\n\r\n",
            Taken,
        ),
        case(
            "an Accept-Encoding of nonsense",
            b"GET /health HTTP/1.1\r\nhost: ark\r\naccept-encoding: ;;q=\xff,,\r\n\r\n",
            Taken,
        ),
        case("an Accept of nonsense", sync("content-length: 12\r\naccept: /;q=x,,\"", "{\"nodes\":[]}"), Taken),
        case("a media type that nobody has", sync("content-length: 12\r\naccept: image/png", "{\"nodes\":[]}"), Taken),
    ]
}

fn wrong(answer: &Answer, expected: &Expected) -> bool {
    match expected {
        Problem(status, code) => answer.status != *status || answer.code() != *code,
        Taken => answer.status != 200 || answer.header("x-request-id").is_none(),
        Parser(status) => {
            answer.status != *status || !answer.body.is_empty() || answer.header("x-request-id").is_some()
        }
    }
}

#[tokio::test]
async fn bytes_that_no_client_sends_are_answered_too() {
    let app = prepared().await;
    let mut failed = Vec::new();
    for Case(name, bytes, expected) in heads().into_iter().chain(lengths()).chain(targets()) {
        let mut connection = Connection::open(app.port).await;
        connection.write(&bytes).await;
        let answer = connection.answer(false).await;
        if wrong(&answer, &expected) {
            failed.push(format!("{name}: {} {:?} {}", answer.status, answer.headers, answer.text()));
        } else if matches!(expected, Parser(_)) && !connection.ends().await {
            failed.push(format!("{name}: the connection goes on"));
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(app.get_json("/nodes/known").await["id"], "known");
}
