//! What the strict gate refuses, at each of its doors: the three bodies and the payload of a DSSE envelope.

use super::{Row, envelopes::dsse, post_manifest, post_sync, put_node, row};

fn nested(open: &str, close: &str, depth: usize) -> Vec<u8> {
    [open.repeat(depth), close.repeat(depth)].concat().into_bytes()
}

/// Name, body and code.
pub fn bodies() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut bodies: Vec<(&str, Vec<u8>, &str)> = vec![
        ("depth 65, arrays", nested("[", "]", 65), "json_too_deep"),
        ("depth 65, objects", [br#"{"a":"#.repeat(65), b"1".to_vec(), b"}".repeat(65)].concat(), "json_too_deep"),
        ("depth 4000, never closed", b"[".repeat(4000), "json_too_deep"),
        ("UTF-16 little endian with its mark", vec![0xff, 0xfe, b'{', 0, b'}', 0], "json_not_utf8"),
        ("UTF-16 big endian with its mark", vec![0xfe, 0xff, 0, b'{', 0, b'}'], "json_not_utf8"),
        ("UTF-16 without a mark", vec![b'{', 0, b'}', 0], "json_syntax"),
        ("UTF-32 with its mark", vec![0, 0, 0xfe, 0xff, 0, 0, 0, b'{'], "json_not_utf8"),
    ];
    let plain: &[(&str, &[u8], &str)] = &[
        ("nothing", b"", "json_empty"),
        ("white space", b" \n\t\r ", "json_empty"),
        ("a byte order mark", b"\xef\xbb\xbf{}", "json_bom"),
        ("a byte order mark alone", b"\xef\xbb\xbf", "json_bom"),
        ("a byte that is no UTF-8", b"{\"a\":\"\xff\"}", "json_not_utf8"),
        ("Latin-1", b"{\"a\":\"caf\xe9\"}", "json_not_utf8"),
        ("a UTF-8 sequence cut short", b"{\"a\":\"\xe2\x98", "json_not_utf8"),
        ("a lone continuation byte", b"{\"a\":\"\x80\"}", "json_not_utf8"),
        ("an overlong slash", b"{\"a\":\"\xc0\xaf\"}", "json_not_utf8"),
        ("an overlong quote", b"{\"a\":\"\xe0\x80\xa2\"}", "json_not_utf8"),
        ("a raw lone surrogate", b"{\"a\":\"\xed\xa0\x80\"}", "json_not_utf8"),
        ("a raw pair of surrogates", b"{\"a\":\"\xed\xa0\xbd\xed\xb8\x80\"}", "json_not_utf8"),
        ("a code point beyond Unicode", b"{\"a\":\"\xf4\x90\x80\x80\"}", "json_not_utf8"),
        ("an escaped high surrogate", br#"{"a":"\ud800"}"#, "json_lone_surrogate"),
        ("an escaped low surrogate", br#"{"a":"\uDC00"}"#, "json_lone_surrogate"),
        ("surrogates in the wrong order", br#"{"a":"\ude00\ud83d"}"#, "json_lone_surrogate"),
        ("a high surrogate before a letter", br#"{"a":"\ud83dx"}"#, "json_lone_surrogate"),
        ("a lone surrogate as a key", br#"{"\udfff":1}"#, "json_lone_surrogate"),
        ("NaN", br#"{"a":NaN}"#, "json_not_finite"),
        ("Infinity", br#"{"a":Infinity}"#, "json_not_finite"),
        ("-Infinity", br#"{"a":-Infinity}"#, "json_not_finite"),
        ("1e400", br#"{"a":1e400}"#, "json_not_finite"),
        ("-1.5E+309", br#"{"a":-1.5E+309}"#, "json_not_finite"),
        ("01", br#"{"a":01}"#, "json_syntax"),
        ("-01", br#"{"a":-01}"#, "json_syntax"),
        ("+1", br#"{"a":+1}"#, "json_syntax"),
        ("1.", br#"{"a":1.}"#, "json_syntax"),
        (".5", br#"{"a":.5}"#, "json_syntax"),
        ("1e", br#"{"a":1e}"#, "json_syntax"),
        ("0x10", br#"{"a":0x10}"#, "json_syntax"),
        ("1_000", br#"{"a":1_000}"#, "json_syntax"),
        ("a minus alone", br#"{"a":-}"#, "json_syntax"),
        ("a key twice", br#"{"a":1,"a":1}"#, "json_duplicate_key"),
        ("a key twice, once escaped", br#"{"manifest":1,"\u006danifest":2}"#, "json_duplicate_key"),
        ("a key twice, far within", br#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#, "json_duplicate_key"),
        ("an empty key twice", br#"{"":1,"":2}"#, "json_duplicate_key"),
        ("a second value", b"{} {}", "json_trailing_data"),
        ("a bracket too many", b"{}}", "json_trailing_data"),
        ("a zero byte at the end", b"{}\x00", "json_trailing_data"),
        ("lines of JSON", b"{}\n{}\n", "json_trailing_data"),
        ("an object cut short", br#"{"a":1"#, "json_syntax"),
        ("a string cut short", br#"{"a":"b"#, "json_syntax"),
        ("an escape cut short", br#"{"a":"\u00"#, "json_syntax"),
        ("a literal cut short", b"tru", "json_syntax"),
        ("an unknown escape", br#"{"a":"\x41"}"#, "json_syntax"),
        ("a control character in a string", b"{\"a\":\"\n\"}", "json_syntax"),
        ("a zero byte in a string", b"{\"a\":\"\x00\"}", "json_syntax"),
        ("single quotes", b"{'a':1}", "json_syntax"),
        ("a key without quotes", b"{a:1}", "json_syntax"),
        ("a key that is a number", b"{1:1}", "json_syntax"),
        ("a comma too many in an object", br#"{"a":1,}"#, "json_syntax"),
        ("a comma too many in an array", b"[1,]", "json_syntax"),
        ("a comma alone", b"[,]", "json_syntax"),
        ("no comma", br#"{"a":1 "b":2}"#, "json_syntax"),
        ("no colon", br#"{"a" 1}"#, "json_syntax"),
        ("brackets that do not fit", b"[}", "json_syntax"),
        ("a comment", b"{/* here */}", "json_syntax"),
        ("a line comment at the end", b"{} // here", "json_syntax"),
        ("True", b"True", "json_syntax"),
        ("undefined", br#"{"a":undefined}"#, "json_syntax"),
        ("a no-break space between values", b"[1,\xc2\xa02]", "json_syntax"),
        ("a form", b"manifest=%7B%7D&signature=x", "json_syntax"),
        ("XML", b"<manifest/>", "json_syntax"),
        ("gzip without saying so", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "json_not_utf8"),
    ];
    bodies.extend(plain.iter().map(|(name, body, code)| (*name, body.to_vec(), *code)));
    bodies
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, body, code) in bodies() {
        rows.push(row(format!("/manifest: {name}"), post_manifest(&body), 400, code));
        rows.push(row(format!("/sync: {name}"), post_sync(&body), 400, code));
        rows.push(row(format!("PUT: {name}"), put_node("n", &body), 400, code));
        rows.push(row(format!("DSSE payload: {name}"), post_manifest(dsse(&body).to_string()), 400, code));
    }
    rows
}
