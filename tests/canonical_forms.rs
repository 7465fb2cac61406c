//! What CPython signs, the service accepts: hard numbers, texts and keys, in every form and however they are written on the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;

use python::{REPOSITORY, Run, python};
use serde_json::{Value, json};
use service::{Place, problem, text};
use std::{
    io::{Read as _, Write as _},
    process::Stdio,
};

/// JSON texts of values, as they may stand on the wire.
const NUMBERS: &str = "
    0 -0 -0.0 0.0 0e0 -0e-5 0E400 1e16 1E16 1e+16 1e15 9999999999999998.0 1e-4 1e-5 1e-7 100e-2 1.0E+2 0.1e1 123456.789e3 1e22 1e23
    5e-324 2.4703282292062328e-324 2.4703282292062327e-324 1e-400 2.2250738585072011e-308 2.2250738585072014e-308
    1.7976931348623157e308 1.7976931348623158e308 -1.7976931348623157e308 0.1 0.30000000000000004 3.141592653589793238462643
    9007199254740991 9007199254740992 9007199254740993 9007199254740993.0 -9007199254740993 18446744073709551615
    18446744073709551616 340282366920938463463374607431768211456 123456789012345678901234567890.5 12345678901234567
    0.000001 0.0000001 4.35 1.005 8.41e21 5e-5 1e21 1.5e300";

const TEXTS: &[&str] = &[
    r#""""#,
    r#""\u007f""#,
    "\"\u{7f}\"",
    r#""\u2028\u2029""#,
    "\"\u{2028}\u{2029}\"",
    r#""😀 \ud83d\ude00 👩‍👩‍👧 Grüß Gott""#,
    r#""\/ \" \\ \b \f \n \r \t \u0000 \u001f \u0080 \u00ff""#,
    "\"\u{80}\u{ff}\u{ffff}\u{10ffff}\u{feff}\"",
    r#""<script>&'""#,
    r#""e\u0301 é""#,
    "\"\u{1d11e}\u{fffd}\u{d7ff}\u{e000}\"",
    "[]",
    "{}",
    r#"[[],{},[{"":[null,true,false]}]]"#,
    r#"{"b":1,"a":2,"B":3,"A":4,"":5,"aa":6,"a b":7,"10":8,"9":9}"#,
    // By code point the last of these comes last; by UTF-16 code unit it comes before U+FFFD.
    "{\"\u{fffd}\":1,\"\u{e000}\":2,\"😀\":3,\"ö\":4,\"z\":5,\"\u{7f}\":6,\"\\u0001\":7,\"\\\"\":8}",
];

/// Reads the texts of manifests, signs each in three forms, and writes each envelope in several spellings.
const SIGN: &str = r#"
import base64, json, sys
sys.path.insert(0, sys.argv[1])
import ark_lattice
from nacl.signing import SigningKey
key = SigningKey(bytes(range(32)))
public = base64.b64encode(bytes(key.verify_key)).decode()
sign = lambda payload: base64.b64encode(key.sign(payload).signature).decode()
# Of what is no document of its own, the manifest's spelling is kept.
wrap = lambda manifest, rest: '{"manifest":' + manifest + "," + json.dumps(rest)[1:]
for text in json.load(sys.stdin):
    manifest = json.loads(text)
    signed = {"signature": sign(json.dumps(manifest, sort_keys=True).encode()), "pubkey": public}
    backwards = dict(reversed(manifest.items()))
    spellings = [wrap(text, signed)]
    spellings += [wrap(json.dumps(backwards, **how), signed) for how in (
        {}, {"ensure_ascii": False, "indent": "\t"}, {"separators": (",", ":"), "sort_keys": True})]
    forms = {"python": spellings}
    whole = lambda value: [value] if isinstance(value, int) else [
        found for child in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else [])
        for found in whole(child)]
    if all(abs(number) < 1 << 53 for number in whole(manifest)):
        jcs = {"signature": sign(ark_lattice.canonical_json(manifest)), "pubkey": public, "canonicalization": "jcs"}
        forms["jcs"] = [wrap(text, jcs), wrap(json.dumps(backwards), jcs)]
    body, kind = text.encode(), b"application/vnd.ark-lattice.manifest+json"
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
    forms["dsse"] = [json.dumps({
        "canonicalization": "dsse", "payload": base64.b64encode(body).decode(), "payloadType": kind.decode(),
        "signatures": [{"keyid": public, "sig": sign(pae)}]})]
    print(json.dumps(forms))
"#;

/// Reads what the service serves: verifies each envelope as scripts do, and finds the same values in `/discover`.
const VERIFY: &str = r#"
import base64, json, sys
from nacl.signing import VerifyKey
served = json.load(sys.stdin)
envelopes = list(map(json.loads, served["envelopes"]))
for envelope in envelopes:
    key = VerifyKey(base64.b64decode(envelope["pubkey"]))
    key.verify(json.dumps(envelope["manifest"], sort_keys=True).encode(), base64.b64decode(envelope["signature"]))
peers = {peer["node_id"]: peer for peer in json.loads(served["discovered"])["peers"]}
for manifest in (envelope["manifest"] for envelope in envelopes):
    for name in manifest.keys() - {"nodes"}:
        assert repr(peers[manifest["node_id"]][name]) == repr(manifest[name]), manifest
print(len(envelopes), len(peers))
"#;

/// Runs a script with a JSON text on its standard input.
fn run_with_input(script: &str, args: &[&str], input: &Value) -> Run {
    let mut command = python();
    command.arg("-c").arg(script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A script reads all of its input before it writes.
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Run { code: child.wait().unwrap().code(), stdout, stderr: String::new() }
}

/// The text of a manifest for each value: as a field, within a node, and in a key.
fn manifests() -> Vec<String> {
    let many_digits = "7".repeat(400);
    let values: Vec<&str> =
        NUMBERS.split_whitespace().chain([many_digits.as_str()]).chain(TEXTS.iter().copied()).collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let with = |number: usize, rest: &str| {
        format!(r#" {{"version":"1.0.0", "node_id" : "nasty-{number}" ,"last_updated":{now}.0,{rest}}}"#)
    };
    let mut found = Vec::new();
    for (number, value) in values.iter().enumerate() {
        let key = if value.starts_with('"') { value } else { &"\"k\"" };
        let nodes = format!(r#"[{{"hash":"sha256:abc","extra":[{value}],"id":"a"}}]"#);
        found.push(with(number, &format!(r#""value":{value},"nodes":{nodes},"inner":{{{key}:{value}}}"#)));
    }
    found.push(with(values.len(), &format!(r#""all":[{}]"#, values.join(" ,\n"))));
    found
}

#[tokio::test]
async fn whatever_cpython_signs_is_accepted_and_verifies_again() {
    let manifests = manifests();
    assert!(manifests.len() > 60, "{}", manifests.len());
    let clients = format!("{REPOSITORY}/clients/python");
    let signed = run_with_input(SIGN, &[&clients], &json!(manifests)).ok();
    let service = Place::new().serve().await;
    let (mut accepted, mut served) = (0, Vec::new());
    for (number, (line, manifest)) in signed.lines().zip(&manifests).enumerate() {
        let forms: Value = serde_json::from_str(line).unwrap();
        let envelopes = ["python", "jcs", "dsse"].iter().filter_map(|form| forms.get(form)?.as_array()).flatten();
        for envelope in envelopes.map(text) {
            let answer = service.post("/manifest", envelope).await;
            assert_eq!(answer.status(), 200, "{manifest}: {}", answer.text().await.unwrap());
            accepted += 1;
        }
        // All spellings and forms said the same, so they were heartbeats: the first is kept, byte for byte.
        let first = text(&forms["python"][0]);
        let kept = service.get(&format!("/manifest/nasty-{number}")).await.text().await.unwrap();
        assert_eq!(kept, first);
        served.push(kept);
        // One wrong character is enough.
        let changed = first.replace("\"sha256:abc\"", "\"sha256:abd\"").replace("\"all\":[0 ", "\"all\":[1 ");
        assert_ne!(changed, first);
        assert_eq!(problem(service.post("/manifest", changed).await).await, (401, "bad_signature".to_owned()));
    }
    assert_eq!(served.len(), manifests.len());
    let peers = service.get("/discover?limit=1000").await.text().await.unwrap();
    let read = run_with_input(VERIFY, &[], &json!({"envelopes": served, "discovered": peers})).ok();
    assert_eq!(read.trim(), format!("{0} {0}", manifests.len()));
    eprintln!("{} manifests, {accepted} envelopes accepted, each verified by CPython as served", manifests.len());
}
