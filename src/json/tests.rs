//! The room as its users see it: what the gate refuses and where, what the views show, what the forms write.

use super::{
    Document, JsonError, JsonErrorKind, Kind,
    jcs::{self, Integers, JcsError},
    python,
};
use crate::types::ContentHash;
use bytes::Bytes;
use proptest::prelude::*;
use std::{
    borrow::Cow,
    fmt::Write as _,
    time::{Duration, Instant},
};

fn parse(text: impl AsRef<[u8]>) -> Result<Document, JsonError> {
    Document::parse(Bytes::copy_from_slice(text.as_ref()), 64)
}

fn python_form(text: impl AsRef<[u8]>) -> String {
    let mut out = Vec::new();
    python::write(parse(text).unwrap().root(), &mut out);
    String::from_utf8(out).unwrap()
}

fn jcs_form(text: impl AsRef<[u8]>) -> String {
    let mut out = Vec::new();
    jcs::write(parse(text).unwrap().root(), Integers::Exact, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_integer_is_one_however_it_is_written() {
    for (text, number) in [
        ("7", Some(7)),
        ("7.0", Some(7)),
        ("70e-1", Some(7)),
        ("0.007E+3", Some(7)),
        ("7000", Some(7_000)),
        ("7.00e3", Some(7_000)),
        ("-0.0", Some(0)),
        ("0e99999", Some(0)),
        ("18446744073709551615.0", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("1e20", None),
        ("1e300", None),
        ("7.5", None),
        ("7e-1", None),
        ("9007199254740991.4", None),
        ("-1", None),
        ("-1.0", None),
        ("\"7\"", None),
    ] {
        assert_eq!(parse(text).unwrap().root().as_unsigned(), number, "{text}");
    }
}

#[test]
fn every_refusal_has_its_code_and_place() {
    let cases: &[(&[u8], &str, usize)] = &[
        (b"", "json_empty", 0),
        (b" \r\n\t", "json_empty", 4),
        (b"\xff", "json_not_utf8", 0),
        (b"[\"a\xc3(\"]", "json_not_utf8", 3),
        (b"\"\xed\xa0\x80\"", "json_not_utf8", 1),
        (b"\"\xc0\x80\"", "json_not_utf8", 1),
        (b"\xff\xfe1\0", "json_not_utf8", 0),
        (b"\xef\xbb\xbf1", "json_bom", 0),
        (b" \xef\xbb\xbf1", "json_syntax", 1),
        (b"1\0", "json_trailing_data", 1),
        (b"{\"a\":1,\"a\":2}", "json_duplicate_key", 7),
        (b"{\"b\":{\"a\":1,\"c\":0,\"\\u0061\":2}}", "json_duplicate_key", 18),
        (b"{\"\xc3\xa9\":1,\"\\u00E9\":2}", "json_duplicate_key", 8),
        (b"{\"\":1,\"\":2}", "json_duplicate_key", 6),
        (b"NaN", "json_not_finite", 0),
        (b"[Infinity]", "json_not_finite", 1),
        (b"{\"a\":-Infinity}", "json_not_finite", 5),
        (b"1e400", "json_not_finite", 0),
        (b"[0,-1.5E+400]", "json_not_finite", 3),
        (b"1e99999999999999999999999", "json_not_finite", 0),
        (b"1.7976931348623159e308", "json_not_finite", 0),
        (b"\"a\\ud800\"", "json_lone_surrogate", 2),
        (b"\"\\udc00\"", "json_lone_surrogate", 1),
        (b"\"\\ud800\\ud800\"", "json_lone_surrogate", 1),
        (b"\"\\ud800\\n\"", "json_lone_surrogate", 1),
        (b"{\"\\ud800\":1}", "json_lone_surrogate", 2),
        (b"1 2", "json_trailing_data", 2),
        (b"{} x", "json_trailing_data", 3),
        (b"[]]", "json_trailing_data", 2),
        (b"\"a\tb\"", "json_syntax", 2),
        (b"\"a\nb\"", "json_syntax", 2),
        (b"\"\0\"", "json_syntax", 1),
        (b"\"\x1f\"", "json_syntax", 1),
        (b"\"\\x41\"", "json_syntax", 1),
        (b"\"\\u12G4\"", "json_syntax", 1),
        (b"\"\\U0041\"", "json_syntax", 1),
        (b"\"\\\xc3\xa9\"", "json_syntax", 1),
        (b"\"a", "json_syntax", 2),
        (b"\"a\\", "json_syntax", 3),
        (b"\"a\\u00", "json_syntax", 6),
        (b"01", "json_syntax", 0),
        (b"-01", "json_syntax", 1),
        (b"[00]", "json_syntax", 1),
        (b"+1", "json_syntax", 0),
        (b"1.", "json_syntax", 2),
        (b"[1.]", "json_syntax", 3),
        (b"[.5]", "json_syntax", 1),
        (b"-", "json_syntax", 1),
        (b"[-]", "json_syntax", 2),
        (b"-NaN", "json_syntax", 1),
        (b"[1e]", "json_syntax", 3),
        (b"[1e+]", "json_syntax", 4),
        (b"1e", "json_syntax", 2),
        (b"0x10", "json_trailing_data", 1),
        (b"[1,]", "json_syntax", 3),
        (b"{\"a\":1, }", "json_syntax", 8),
        (b"[,1]", "json_syntax", 1),
        (b"[1 2]", "json_syntax", 3),
        (b"[1}", "json_syntax", 2),
        (b"{\"a\":1]", "json_syntax", 6),
        (b"]", "json_syntax", 0),
        (b"[", "json_syntax", 1),
        (b"[1", "json_syntax", 2),
        (b"[1,", "json_syntax", 3),
        (b"{", "json_syntax", 1),
        (b"{\"a\"", "json_syntax", 4),
        (b"{\"a\":", "json_syntax", 5),
        (b"{\"a\":1", "json_syntax", 6),
        (b"{\"a\":1,", "json_syntax", 7),
        (b"{a:1}", "json_syntax", 1),
        (b"{1:1}", "json_syntax", 1),
        (b"{\"a\" 1}", "json_syntax", 5),
        (b"{\"a\":}", "json_syntax", 5),
        (b"{'a':1}", "json_syntax", 1),
        (b"'a'", "json_syntax", 0),
        (b"// a\n1", "json_syntax", 0),
        (b"[1/**/]", "json_syntax", 2),
        (b"1 // a", "json_syntax", 2),
        (b"tru", "json_syntax", 3),
        (b"True", "json_syntax", 0),
        (b"nul", "json_syntax", 3),
        (b"nulll", "json_trailing_data", 4),
        (b"\x0b1", "json_syntax", 0),
        (b"\xc2\xa01", "json_syntax", 0),
    ];
    for (text, code, offset) in cases {
        let shown = String::from_utf8_lossy(text);
        let error = parse(text).expect_err(&shown);
        assert_eq!((error.code(), error.offset), (*code, *offset), "{shown:?}: {error}");
    }
}

#[test]
fn a_refusal_reads_well() {
    for (text, message) in [
        ("[1,\n \"é\" x]", "'x' stands where a comma or a closing bracket should (line 2, column 6)"),
        ("{\"a\": 1,\n\"\\u0061\": 2}", "the key \"a\" occurs twice in one object (line 2, column 1)"),
        ("[1,]", "a comma must be followed by another element (line 1, column 4)"),
        ("[\"\t\"]", "the control character U+0009 must be escaped in a string (line 1, column 3)"),
        (
            "[1",
            "the text ends before the value is complete: a comma or a closing bracket is missing (line 1, column 3)",
        ),
        ("[1.]", "the number is malformed: a digit after the point is missing or misplaced (line 1, column 4)"),
        ("1e400", "numbers must be finite and within the range of a double (line 1, column 1)"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
    let key = "k".repeat(70);
    let error = parse(format!(r#"{{"{key}":1,"{key}":2}}"#)).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::DuplicateKey { key: format!("{}…", &key[..64]) });
}

#[test]
fn depth_is_counted_from_one() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(64)).is_ok());
    let error = parse(nested(65)).unwrap_err();
    assert_eq!((error.code(), error.offset), ("json_too_deep", 64));
    let objects = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(parse(objects(64)).is_ok());
    assert_eq!(parse(objects(65)).unwrap_err().code(), "json_too_deep");
    // Siblings do not add up.
    assert!(parse(format!("[{}[]]", "[],{},".repeat(100))).is_ok());
    assert!(Document::parse(Bytes::from_static(b"1"), 0).is_ok());
    assert!(Document::parse(Bytes::from_static(b"[]"), 0).is_err());
    // Neither the gate nor the writers recurse.
    let deep = nested(1_000_000);
    let document = Document::parse(Bytes::from(deep.clone()), usize::MAX).unwrap();
    let mut out = Vec::new();
    python::write(document.root(), &mut out);
    assert_eq!(out, deep.as_bytes());
}

#[test]
fn a_text_beyond_the_tape_is_refused_unread() {
    let error = Document::parse(Bytes::from(vec![0; 1 << 28]), 64).unwrap_err();
    assert_eq!(error.code(), "json_too_large");
}

#[test]
fn duplicates_among_many_keys_are_found() {
    for members in [2, 15, 16, 17, 100, 1_000] {
        for (first, last) in [("zz", "zz"), ("zz", r"\u007az"), ("zé", r"z\u00e9")] {
            let mut text = format!(r#"{{"{first}":0"#);
            for member in 0..members - 2 {
                write!(text, r#","k{member}":{{"zz":[]}}"#).unwrap();
            }
            let unique = format!("{text},\"last\":0}}");
            assert_eq!(parse(&unique).unwrap().root().as_object().unwrap().len(), members);
            let offset = text.len() + 1;
            write!(text, r#","{last}":0}}"#).unwrap();
            let error = parse(&text).unwrap_err();
            assert_eq!((error.code(), error.offset), ("json_duplicate_key", offset), "{members}");
        }
    }
}

#[test]
fn hostile_texts_take_linear_time() {
    let mut keys = String::from("{");
    for key in (0..200_000).rev() {
        write!(keys, r#""{key:030}":0,"#).unwrap();
    }
    keys.push_str(r#""":0}"#);
    let texts = [
        keys,
        format!("[{}0]", "1e308,".repeat(200_000)),
        format!("[0.{}1e4000000]", "0".repeat(4 << 20)),
        "9".repeat(8 << 20),
        format!("\"{}\"", r"\ud83d\ude00".repeat(400_000)),
        "[".repeat(4 << 20),
        format!("{{\"a\":{}", "[{\"b\":1},".repeat(500_000)),
    ];
    for text in texts {
        let start = Instant::now();
        let _ = parse(&text);
        // Quadratic time would be hours.
        assert!(start.elapsed() < Duration::from_secs(30), "{}", &text[..30]);
    }
}

#[test]
fn views_show_what_the_text_says() {
    let document = parse(r#" {"a": [1, -0.5e3, {"x": [[]]}, "é"], "b\u00e9": true, "": null, "t": false} "#).unwrap();
    let root = document.root();
    assert_eq!(root.kind(), Kind::Object);
    assert_eq!(root.span(), 1..document.source().len() - 1);
    let object = root.as_object().unwrap();
    assert_eq!((object.len(), object.is_empty()), (4, false));
    let keys: Vec<_> = object.iter().map(|(key, _)| key.into_owned()).collect();
    assert_eq!(keys, ["a", "bé", "", "t"]);

    let array = object.get("a").unwrap().as_array().unwrap();
    assert_eq!(array.len(), 4);
    let raw: Vec<_> = array.iter().map(|value| value.raw()).collect();
    assert_eq!(raw, ["1", "-0.5e3", r#"{"x": [[]]}"#, r#""é""#]);
    let kinds: Vec<_> = array.iter().map(|value| value.kind()).collect();
    assert_eq!(kinds, [Kind::Number, Kind::Number, Kind::Object, Kind::String]);
    let elements: Vec<_> = array.iter().collect();
    assert_eq!(elements[1].as_number(), Some("-0.5e3"));
    assert!(matches!(elements[3].as_str(), Some(Cow::Borrowed("é"))));
    let inner = elements[2].as_object().unwrap().get("x").unwrap().as_array().unwrap();
    assert_eq!(inner.len(), 1);
    assert!(inner.iter().next().unwrap().as_array().unwrap().is_empty());

    assert_eq!(object.get("bé").unwrap().as_bool(), Some(true));
    assert_eq!(object.get("t").unwrap().as_bool(), Some(false));
    assert_eq!(object.get("").unwrap().kind(), Kind::Null);
    assert!(object.get("x").is_none());
    assert!(object.get(r"b\u00e9").is_none());
    assert!(root.as_array().is_none() && root.as_str().is_none() && root.as_number().is_none());
    assert!(object.get("").unwrap().as_bool().is_none());
    assert_eq!(document.clone().source().as_ptr(), document.source().as_ptr());
}

#[test]
fn python_form_of_the_surveyed_cases() {
    let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
    let digits = "9".repeat(4_301);
    for (text, expected) in [
        (r#"{"b":1,"a":[1,2,{}]}"#, r#"{"a": [1, 2, {}], "b": 1}"#),
        ("[]", "[]"),
        ("{}", "{}"),
        ("\"é\u{2028}\u{ffff}\"", r#""\u00e9\u2028\uffff""#),
        ("\"😀\"", r#""\ud83d\ude00""#),
        (r#""\uD83D\uDE00\u00E9""#, r#""\ud83d\ude00\u00e9""#),
        ("\"\u{7f}\"", r#""\u007f""#),
        (r#""\u007F\u0080""#, r#""\u007f\u0080""#),
        (r#""\b\f\n\r\t\u000b\u0000\u001F\u0008""#, r#""\b\f\n\r\t\u000b\u0000\u001f\b""#),
        (r#""\/ / <>&' \u0041 \u0022 \u005c \" \\""#, r#""/ / <>&' A \" \\ \" \\""#),
        ("[1e16,1e22,5e-324,1e2,1E5]", "[1e+16, 1e+22, 5e-324, 100.0, 100000.0]"),
        ("[0.00001,0.00001234,1e-7,0.0001]", "[1e-05, 1.234e-05, 1e-07, 0.0001]"),
        ("[-2152548015248394.2,9007199254740993.0]", "[-2152548015248394.2, 9007199254740992.0]"),
        ("[1e15,123456789012345680.0,1.5e300,1e100]", "[1000000000000000.0, 1.2345678901234568e+17, 1.5e+300, 1e+100]"),
        ("[-0.0,-0,-0e5,0e999,0,-1]", "[-0.0, 0, -0.0, 0.0, 0, -1]"),
        (
            "[9007199254740993,9223372036854775808,18446744073709551615,-9223372036854775808]",
            "[9007199254740993, 9223372036854775808, 18446744073709551615, -9223372036854775808]",
        ),
        (
            "[18446744073709551616,-9223372036854775809,1000000000000000000000000000000]",
            "[18446744073709551616, -9223372036854775809, 1000000000000000000000000000000]",
        ),
        (&digits, &digits),
        ("[1e-400,-1e-400]", "[0.0, -0.0]"),
        (r#"{"😀":1,"｡":2}"#, r#"{"\uff61": 2, "\ud83d\ude00": 1}"#),
        (
            r#"{"b":{"d":1,"c":2},"a":[{"z":1,"y":{"x":1,"w":0}}]}"#,
            r#"{"a": [{"y": {"w": 0, "x": 1}, "z": 1}], "b": {"c": 2, "d": 1}}"#,
        ),
        (r#"{"a":1,"\u0041":2,"":3}"#, r#"{"": 3, "A": 2, "a": 1}"#),
        (&deep, &deep),
        (r#"{"$serde_json::private::Number":"1e5"}"#, r#"{"$serde_json::private::Number": "1e5"}"#),
        (r#"{"$serde_json::private::RawValue":"[1, 2 ]"}"#, r#"{"$serde_json::private::RawValue": "[1, 2 ]"}"#),
        (" [ true , false , null ] ", "[true, false, null]"),
    ] {
        assert_eq!(python_form(text), expected, "{text}");
    }
}

#[test]
fn magic_keys_stay_objects() {
    for text in [r#"{"$serde_json::private::Number":"1e5"}"#, r#"{"$serde_json::private::RawValue":"[1, 2 ]"}"#] {
        let document = parse(text).unwrap();
        assert_eq!(document.root().kind(), Kind::Object);
        assert_eq!(jcs_form(text), text);
    }
}

/// RFC 8785 section 3.2.2 and 3.2.4.
#[test]
fn jcs_form_of_the_values_sample() {
    let text = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    assert_eq!(jcs_form(text), expected);
}

/// RFC 8785 section 3.2.3.
#[test]
fn jcs_sorts_by_utf_16_code_units() {
    let text = r#"{
        "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let sorted = jcs_form(text);
    let places: Vec<_> = ["Carriage Return", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
        .iter()
        .map(|name| sorted.find(name).unwrap())
        .collect();
    assert!(places.is_sorted(), "{sorted}");
    assert!(sorted.starts_with("{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":"));
    assert_eq!(jcs_form(r#"{"｡":2,"😀":1}"#), r#"{"😀":1,"｡":2}"#);
}

/// RFC 8785 appendix B.
#[test]
fn jcs_writes_numbers_as_ecmascript_does() {
    for (bits, expected) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        // Bits that the RFC lists are written out with more digits than any double needs.
        let literal = format!("{:.25e}", f64::from_bits(bits));
        assert_eq!(jcs_form(&literal), expected, "{literal}");
    }
    for (literal, expected) in
        [("-0", "0"), ("1.0", "1"), ("100e-2", "1"), ("1e20", "100000000000000000000"), ("-1.5E-7", "-1.5e-7")]
    {
        assert_eq!(jcs_form(literal), expected);
    }
}

#[test]
fn jcs_escapes_only_what_it_must() {
    let text = r#""\u0000\u0008\t\n\u000B\f\r\u001f \u0022\/\u005C\u007f\u0080é\u2028\uffff\ud83d\ude00""#;
    let expected = "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f \\\"/\\\\\u{7f}\u{80}é\u{2028}\u{ffff}😀\"";
    assert_eq!(jcs_form(text), expected);
}

#[test]
fn jcs_keeps_or_refuses_integers_beyond_the_safe_range() {
    let refuse = |text: &str| {
        let mut out = Vec::new();
        jcs::write(parse(text).unwrap().root(), Integers::Refuse, &mut out)
    };
    for safe in ["[9007199254740991]", "[-9007199254740991]", "[0]", "[-0]", "[1e300]", "[9007199254740993.0]"] {
        assert_eq!(refuse(safe), Ok(()), "{safe}");
    }
    for unsafe_ in
        ["[9007199254740992]", "[-9007199254740992]", "[10000000000000000]", "[123456789012345678901234567890]"]
    {
        assert_eq!(refuse(unsafe_), Err(JcsError { offset: 1 }), "{unsafe_}");
        assert_eq!(jcs_form(unsafe_), unsafe_);
    }
    assert_eq!(refuse(r#"{"b":99999999999999999999,"a":1}"#), Err(JcsError { offset: 5 }));
}

#[test]
fn content_hash_is_that_of_the_exact_form() {
    let document = parse(r#"{ "b": 9007199254740993, "a": "\u00e9" }"#).unwrap();
    let expected = ContentHash::of(r#"{"a":"é","b":9007199254740993}"#.as_bytes());
    assert_eq!(jcs::content_hash(document.root()), expected);
    let member = document.root().as_object().unwrap().get("a").unwrap();
    assert_eq!(jcs::content_hash(member), ContentHash::of("\"é\"".as_bytes()));
}

/// The order of one object's keys is tried on the next one.
#[test]
fn objects_of_one_list_are_ordered_each_as_alone() {
    let many = format!("{{{}\"\":0}}", (0..20).rev().map(|key| format!("\"key-{key:02}\":0,")).collect::<String>());
    let objects = [
        r#"{"c":1,"a":2,"b":3}"#,
        r#"{"c":4,"a":5,"b":6}"#,
        r#"{"b":1,"a":2,"c":3}"#,
        r#"{"b":1,"a":2}"#,
        r#"{"c":1,"a":2}"#,
        r#"{"c":1,"a":2,"b":3,"0":4}"#,
        r#"{"c":1,"\u0061":2,"b":3}"#,
        r#"{"c":1,"a":{"c":7,"a":{"c":8,"a":9,"b":0},"b":3},"b":[{"c":1,"a":2,"b":3}]}"#,
        r#"{"é":1,"a":2,"ﬁ":3,"😀":4}"#,
        r#"{"é":5,"a":6,"ﬁ":7,"😀":8}"#,
        "{}",
        r#"{"a":1,"b":2}"#,
        &many,
        &many,
    ];
    for rotation in 0..objects.len() {
        let mut rotated = objects;
        rotated.rotate_left(rotation);
        let list = format!("[{}]", rotated.join(","));
        assert_eq!(python_form(&list), format!("[{}]", rotated.map(python_form).join(", ")));
        assert_eq!(jcs_form(&list), format!("[{}]", rotated.map(jcs_form).join(",")));
    }
    assert_eq!(jcs_form(objects[0]), r#"{"a":2,"b":3,"c":1}"#);
    // By UTF-16 code units the surrogates come first, by code points last.
    assert_eq!(jcs_form(objects[8]), r#"{"a":2,"é":1,"😀":4,"ﬁ":3}"#);
    assert_eq!(python_form(objects[8]), r#"{"a": 2, "\u00e9": 1, "\ufb01": 3, "\ud83d\ude00": 4}"#);
}

fn any_json() -> impl Strategy<Value = String> {
    let string = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| format!("{value:e}")),
        string.clone(),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(|elements| format!("[{}]", elements.join(" ,"))),
            proptest::collection::hash_map(string.clone(), inner, 0..8).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{key} : {value}")).collect();
                format!("{{{}}}", members.join(",\n"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_is_its_own_canonical_form(text in any_json()) {
        let python = python_form(&text);
        prop_assert_eq!(&python_form(&python), &python);
        let jcs = jcs_form(&text);
        prop_assert_eq!(&jcs_form(&jcs), &jcs);
    }

    #[test]
    fn the_views_tile_the_text(text in any_json()) {
        let document = parse(&text).unwrap();
        prop_assert_eq!(document.root().raw(), text.as_str());
        let serde: serde_json::Value = serde_json::from_str(&text).unwrap();
        if let (Some(object), Some(members)) = (document.root().as_object(), serde.as_object()) {
            prop_assert_eq!(object.len(), members.len());
            for (key, value) in members {
                let own: serde_json::Value = serde_json::from_str(object.get(key).unwrap().raw()).unwrap();
                prop_assert_eq!(&own, value);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(bytes);
    }

    #[test]
    fn nearly_json_never_panics(text in r#"[\[\]{},: "\\ud8-9a-f0-9.eE+\-tnrNI/é]{0,60}"#) {
        match parse(&text) {
            Ok(document) => {
                python_form(&text);
                let _ = jcs::content_hash(document.root());
            }
            Err(error) => prop_assert!(error.offset <= text.len() && error.line >= 1 && error.column >= 1),
        }
    }
}
