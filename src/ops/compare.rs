//! Documents as lines that people can compare.

use crate::{
    json::{Document, Kind, Value},
    types::Limits,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Members around the contents, in the answer that holds them.
const AROUND: usize = 4;

/// Both sides of a conflict, as `GET /conflicts/{number}` tells them.
#[derive(Debug, PartialEq, Eq)]
pub struct ConflictLines {
    /// What lost.
    pub lost: Vec<String>,
    /// What the node holds now; `None`: it is deleted.
    pub current: Option<Vec<String>>,
}

/// Reads both contents out of an answer. `None` where it is no such answer.
#[must_use]
pub fn conflict_lines(answer: &Bytes, limits: &Limits) -> Option<ConflictLines> {
    let document = Document::parse(answer.clone(), limits.json_depth.saturating_add(AROUND)).ok()?;
    let root = document.root().as_object()?;
    let current = root.get("current")?.as_object()?.get("node");
    Some(ConflictLines { lost: lines(root.get("node")?), current: current.map(lines) })
}

/// One member or item a line; members by name, as their order means nothing; numbers with every digit that they have.
fn lines(value: Value<'_>) -> Vec<String> {
    let mut out = Vec::new();
    write(value, "", 0, &mut out);
    out
}

fn write(value: Value<'_>, key: &str, depth: usize, out: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let (open, close, parts) = match (value.as_object(), value.as_array()) {
        (Some(object), _) => {
            let members: BTreeMap<_, _> = object.iter().collect();
            let parts = members.into_iter().map(|(key, value)| (format!("{}: ", quoted(&key)), value));
            ("{", "}", parts.collect::<Vec<_>>())
        }
        (_, Some(array)) => ("[", "]", array.iter().map(|item| (String::new(), item)).collect()),
        _ => return out.push(format!("{indent}{key}{}", scalar(value))),
    };
    if parts.is_empty() {
        return out.push(format!("{indent}{key}{open}{close}"));
    }
    out.push(format!("{indent}{key}{open}"));
    for (key, value) in parts {
        write(value, &key, depth.saturating_add(1), out);
    }
    out.push(format!("{indent}{close}"));
}

/// However it was escaped: what means the same reads the same.
fn scalar(value: Value<'_>) -> String {
    match value.kind() {
        Kind::String => value.as_str().map_or_else(|| value.raw().to_owned(), |text| quoted(&text)),
        _ => value.raw().to_owned(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_reads_the_same_and_every_digit_is_there() {
        let read = |text: &str| conflict_lines(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default());
        let found = read(
            r#"{"node":{"b":[1,{}],"a":"\u00e9","n":12345678901234567890123},
                "current":{"node":{"n":12345678901234567890124,"a":"é","b":[ 1 ,{ }]}}}"#,
        )
        .unwrap();
        let (lost, current) = (found.lost, found.current.unwrap());
        assert_eq!(
            lost,
            ["{", "  \"a\": \"é\"", "  \"b\": [", "    1", "    {}", "  ]", "  \"n\": 12345678901234567890123", "}"]
        );
        assert_eq!((&lost[..6], current.len()), (&current[..6], 8));
        assert_ne!(lost[6], current[6]);
        assert_eq!(
            read(r#"{"node":{},"current":{}}"#),
            Some(ConflictLines { lost: vec!["{}".to_owned()], current: None })
        );
        assert_eq!((read("{}"), read("[")), (None, None));
    }
}
