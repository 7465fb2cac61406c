//! The strict gate on any bytes, with serde_json as the other opinion.

use ark_lattice::json::{Document, JsonErrorKind, Kind, Value, write_compact};
use bytes::Bytes;

pub const DEPTH: usize = 64;

pub fn run(data: &[u8]) {
    let other = serde_json::from_slice::<serde_json::Value>(data);
    let document = match Document::parse(Bytes::copy_from_slice(data), DEPTH) {
        Ok(document) => document,
        Err(refusal) => {
            assert!(refusal.offset <= data.len() && refusal.line > 0 && refusal.column > 0, "{refusal:?}");
            // What the gate refuses beyond the RFC, and serde_json does not.
            let stricter = matches!(refusal.kind, JsonErrorKind::DuplicateKey { .. } | JsonErrorKind::TooDeep { .. });
            assert!(other.is_err() || stricter, "only the gate refuses this: {refusal}");
            return;
        }
    };
    match &other {
        Ok(other) => same_value(document.root(), other),
        // Integers of any size pass the gate with all their digits; serde_json has no room for them.
        Err(error) => {
            assert!(error.to_string().starts_with("number out of range"), "only serde_json refuses this: {error}");
            assert!(has_huge_integer(document.root()), "{error}");
        }
    }
    let compact = compacted(data);
    let again = Document::parse(Bytes::from(compact.clone()), DEPTH).expect("what passed passes without its spaces");
    same_tape(document.root(), again.root());
    assert_eq!(compacted(&compact), compact, "nothing is left to take away");
}

fn compacted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_compact(text, &mut out);
    out
}

fn has_huge_integer(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Number => {
            let text = value.as_number().expect("a number");
            text.parse::<f64>().is_ok_and(f64::is_infinite) && !text.contains(['.', 'e', 'E'])
        }
        Kind::Array => value.as_array().expect("an array").iter().any(has_huge_integer),
        Kind::Object => value.as_object().expect("an object").iter().any(|(_, value)| has_huge_integer(value)),
        Kind::Null | Kind::Bool | Kind::String => false,
    }
}

/// Does serde_json understand the same?
pub fn same_value(ours: Value<'_>, other: &serde_json::Value) {
    match other {
        serde_json::Value::Null => assert!(ours.is_null()),
        serde_json::Value::Bool(other) => assert_eq!(ours.as_bool(), Some(*other)),
        serde_json::Value::Number(other) => same_number(ours.as_number().expect("a number"), other),
        serde_json::Value::String(other) => assert_eq!(ours.as_str().expect("a string"), other.as_str()),
        serde_json::Value::Array(others) => {
            let array = ours.as_array().expect("an array");
            assert_eq!((array.len(), array.is_empty()), (others.len(), others.is_empty()));
            assert_eq!(array.iter().count(), others.len());
            array.iter().zip(others).for_each(|(ours, other)| same_value(ours, other));
        }
        serde_json::Value::Object(others) => {
            let object = ours.as_object().expect("an object");
            assert_eq!((object.len(), object.is_empty()), (others.len(), others.is_empty()));
            for (key, value) in object.iter() {
                same_value(value, others.get(key.as_ref()).expect("the same keys"));
                assert_eq!(object.get(&key).expect("each key is found").span(), value.span());
            }
        }
    }
}

fn same_number(text: &str, other: &serde_json::Number) {
    let is_integer = !text.contains(['.', 'e', 'E']);
    if is_integer && let Ok(number) = text.parse::<i64>() {
        // `-0` is a float to serde_json.
        assert!(other.as_i64() == Some(number) || text == "-0", "{text} is not {other}");
    } else if is_integer && let Ok(number) = text.parse::<u64>() {
        assert_eq!(other.as_u64(), Some(number), "{text}");
    } else {
        let number: f64 = text.parse().expect("a number");
        assert_eq!(other.as_f64().map(f64::to_bits), Some(number.to_bits()), "{text}");
    }
}

/// The same values with the same texts in the same order.
fn same_tape(left: Value<'_>, right: Value<'_>) {
    assert_eq!(left.kind(), right.kind());
    match left.kind() {
        Kind::Array => {
            let (left, right) = (left.as_array().expect("an array"), right.as_array().expect("an array"));
            assert_eq!(left.len(), right.len());
            left.iter().zip(right.iter()).for_each(|(left, right)| same_tape(left, right));
        }
        Kind::Object => {
            let (left, right) = (left.as_object().expect("an object"), right.as_object().expect("an object"));
            assert_eq!(left.len(), right.len());
            for ((left_key, left), (right_key, right)) in left.iter().zip(right.iter()) {
                assert_eq!(left_key, right_key);
                same_tape(left, right);
            }
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => assert_eq!(left.raw(), right.raw()),
    }
}
