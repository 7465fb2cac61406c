//! What Redis does when its memory is full: under every policy but `noeviction` it deletes keys, and bindings among them.
//!
//! `allkeys-*` may delete every binding. `volatile-*` may delete those that have a time to live: the bindings of peers that were not
//! known to any instance when they registered, also where they are known since.

use crate::registry::{StoreFault, StoreState};
use redis::{Cmd, Value};

const NONE: &str = "noeviction";
const POLICIES: [&str; 8] = [
    NONE,
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

/// Each is enough; which one a user may ask depends on its rights.
pub(super) fn questions() -> [Cmd; 2] {
    let (mut info, mut config) = (redis::cmd("INFO"), redis::cmd("CONFIG"));
    info.arg("memory");
    config.arg("GET").arg("maxmemory*");
    [info, config]
}

/// The answer of one server or of several.
pub(super) fn judge(answer: &Value) -> Option<StoreFault> {
    let mut texts = Vec::new();
    collect(answer, &mut texts);
    // `maxmemory_policy:x` in INFO, `maxmemory-policy` and x after each other in CONFIG GET.
    let words: Vec<&str> = texts.iter().flat_map(|text| text.split(|c: char| c.is_whitespace() || c == ':')).collect();
    let after = |name: &'static str| {
        let pairs = words.iter().zip(words.iter().skip(1));
        pairs.filter(move |(word, _)| word.replace('-', "_") == name).map(|(_, value)| *value)
    };
    let policy = after("maxmemory_policy").find(|policy| *policy != NONE && POLICIES.contains(policy))?;
    let unbounded = after("maxmemory").all(|bytes| bytes == "0");
    let which = if policy.starts_with("allkeys") {
        "every key binding"
    } else {
        "the key bindings of peers that registered before they were known"
    };
    let when =
        if unbounded { "maxmemory is not set; once it is, and is reached," } else { "when maxmemory is reached," };
    Some(StoreFault::new(
        StoreState::EvictionPolicy,
        format!("maxmemory-policy is {policy}: {when} Redis may delete {which}, and another key can take the id"),
    ))
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::BulkString(bytes) => texts.push(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => texts.push(text.clone()),
        Value::Array(values) | Value::Set(values) => values.iter().for_each(|value| collect(value, texts)),
        Value::Map(pairs) => pairs.iter().for_each(|(name, value)| {
            collect(name, texts);
            collect(value, texts);
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn every_policy_but_noeviction_endangers_bindings() {
        for policy in POLICIES {
            let info = text(&format!(
                "# Memory\r\nmaxmemory:1048576\r\nmaxmemory_human:1.00M\r\nmaxmemory_policy:{policy}\r\n"
            ));
            let config = ["maxmemory", "1048576", "maxmemory-policy", policy].map(text).to_vec();
            let cluster = Value::Map(vec![
                (text("127.0.0.1:7000"), text("maxmemory_policy:noeviction")),
                (text("b:7001"), info.clone()),
            ]);
            for answer in [info, Value::Array(config), cluster] {
                let found = judge(&answer);
                assert_eq!(found.is_some(), policy != NONE, "{policy}: {found:?}");
                let Some(found) = found else { continue };
                assert_eq!(found.answer.contains("every key binding"), policy.starts_with("allkeys"), "{found:?}");
            }
        }
    }

    #[test]
    fn memory_without_a_bound_is_named() {
        let found = judge(&text("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n")).unwrap();
        assert!(found.answer.contains("maxmemory is not set"), "{found:?}");
        assert_eq!(judge(&text("redis_version:7.0.15\r\n")), None);
    }
}
