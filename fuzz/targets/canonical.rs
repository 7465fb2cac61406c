//! The two canonical forms of whatever passes the gate.

use ark_lattice::json::{Document, Kind, Value, jcs, python, write_compact};
use bytes::Bytes;

/// What is written is one level deep at most where the source was: the same limit serves.
const DEPTH: usize = 64;

pub fn run(data: &[u8]) {
    let Ok(document) = Document::parse(Bytes::copy_from_slice(data), DEPTH) else { return };
    let root = document.root();

    let python = python_form(root);
    assert!(python.is_ascii(), "the python form is ASCII");
    let from_python = parse(&python);
    assert_eq!(python_form(from_python.root()), python, "the python form of the python form");
    sorted(from_python.root(), &|left, right| left.cmp(right));

    let exact = jcs_form(root, jcs::Integers::Exact).expect("exact integers leave nothing to refuse");
    let from_jcs = parse(&exact);
    assert_eq!(jcs_form(from_jcs.root(), jcs::Integers::Exact).as_deref(), Some(&*exact), "JCS of JCS");
    sorted(from_jcs.root(), &|left, right| left.encode_utf16().cmp(right.encode_utf16()));
    let mut compact = Vec::new();
    write_compact(&exact, &mut compact);
    assert_eq!(compact, exact, "JCS has no white space");
    if let Some(plain) = jcs_form(root, jcs::Integers::Refuse) {
        assert_eq!(plain, exact, "both kinds of JCS agree where both have an answer");
    }
    // One content, one hash, whichever form it travelled in.
    let hash = jcs::content_hash(root);
    assert_eq!(jcs::content_hash(from_python.root()), hash, "through the python form");
    assert_eq!(jcs::content_hash(from_jcs.root()), hash, "through JCS");

    if let Ok(before) = serde_json::from_slice::<serde_json::Value>(data) {
        let after: serde_json::Value = serde_json::from_slice(&python).expect("the python form is JSON to others");
        same(&before, &after);
    }
}

fn python_form(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    python::write(value, &mut out);
    out
}

fn jcs_form(value: Value<'_>, integers: jcs::Integers) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    jcs::write(value, integers, &mut out).ok().map(|()| out)
}

fn parse(text: &[u8]) -> Document {
    Document::parse(Bytes::copy_from_slice(text), DEPTH).expect("a canonical form passes the gate")
}

/// Equal but for the sign of an integer zero, which the python form drops as CPython does.
fn same(left: &serde_json::Value, right: &serde_json::Value) {
    use serde_json::Value::{Array, Number, Object};
    match (left, right) {
        (Number(left), Number(right)) if left.as_f64() == Some(0.0) => assert_eq!(right.as_f64(), Some(0.0)),
        (Array(left), Array(right)) => {
            assert_eq!(left.len(), right.len());
            left.iter().zip(right).for_each(|(left, right)| same(left, right));
        }
        (Object(left), Object(right)) => {
            assert_eq!(left.len(), right.len());
            for ((left_key, left), (right_key, right)) in left.iter().zip(right) {
                assert_eq!(left_key, right_key);
                same(left, right);
            }
        }
        _ => assert_eq!(left, right),
    }
}

/// Are the keys of every object in strictly ascending order?
fn sorted(value: Value<'_>, order: &impl Fn(&str, &str) -> std::cmp::Ordering) {
    match value.kind() {
        Kind::Array => value.as_array().expect("an array").iter().for_each(|value| sorted(value, order)),
        Kind::Object => {
            let mut previous: Option<String> = None;
            for (key, value) in value.as_object().expect("an object").iter() {
                assert!(previous.is_none_or(|previous| order(&previous, &key).is_lt()), "{key:?} is out of order");
                previous = Some(key.into_owned());
                sorted(value, order);
            }
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => {}
    }
}
