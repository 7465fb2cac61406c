//! What a caller of `POST /sync` holds and wants, as its request says it.

use crate::{
    json::{Array, Document, JsonError, Plain, Value},
    lattice::{
        LatticeError,
        delta::{Held, Place},
    },
    types::{IdError, Limits, MAX_ID_CHARS, NodeId, SetHash},
};
use bytes::Bytes;
use std::{borrow::Cow, collections::HashSet, ops::Range};

/// A list of objects in an object.
const PLAIN_DEPTH: usize = 3;

/// Why a sync request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The strict gate refused the body.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body is not a sync request.
    #[error("{problem}")]
    Shape {
        /// What is wrong with it.
        problem: String,
    },
    /// The lattice does not answer.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
}

fn shape(problem: impl Into<String>) -> SyncError {
    SyncError::Shape { problem: problem.into() }
}

/// What a caller holds and wants.
#[derive(Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The caller's set hash is `ours`. What it holds was looked at then, and not kept.
    pub(super) is_equal: bool,
    pub(super) held: Held,
    pub(super) after: Option<NodeId>,
    pub(super) limit: usize,
    /// It asks for lines that say when each version was made.
    pub(super) versions: bool,
}

impl SyncRequest {
    /// Reads the body of `POST /sync`. `ours`: our set hash, where it is known; whoever states the same one needs no comparison.
    /// `decode_cursor` gives the id behind a cursor.
    ///
    /// # Errors
    /// [`SyncError::Json`], [`SyncError::Shape`].
    pub fn parse(
        body: Bytes,
        limits: &Limits,
        ours: Option<SetHash>,
        decode_cursor: impl Fn(&str) -> Option<NodeId>,
    ) -> Result<Self, SyncError> {
        match read_plain(&body, limits, ours, &decode_cursor) {
            Some(request) => Ok(request),
            None => Self::parse_through_the_gate(body, limits, ours, decode_cursor),
        }
    }

    /// What the caller holds; nothing where it states our set hash.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// [`Self::parse`] without its short way: the same outcome for every body, and slower for most.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_through_the_gate(
        body: Bytes,
        limits: &Limits,
        ours: Option<SetHash>,
        decode_cursor: impl Fn(&str) -> Option<NodeId>,
    ) -> Result<Self, SyncError> {
        let document = Document::parse(body, limits.json_depth)?;
        let object = document.root().as_object().ok_or_else(|| shape("the body is not a JSON object"))?;
        let is_equal = object.get("manifest_hash").and_then(Value::as_str).is_some_and(|text| states(&text, ours));
        let mut request =
            Self { is_equal, held: Held::default(), after: None, limit: limits.page_items, versions: false };
        let mut has_nodes = false;
        for (key, value) in object.iter() {
            match key.as_ref() {
                "manifest_hash" if !value.is_null() && value.as_str().is_none() => {
                    return Err(shape("manifest_hash is not a string"));
                }
                "nodes" => {
                    check_held(value)?;
                    if !is_equal {
                        request.held = keep_held(value)?;
                    }
                    has_nodes = true;
                }
                "cursor" if !value.is_null() => {
                    let text = value.as_str().ok_or_else(|| shape("cursor is not a string"))?;
                    let id = decode_cursor(&text).ok_or_else(|| shape("cursor is not one that this service gave"))?;
                    request.after = Some(id);
                }
                "limit" if !value.is_null() => request.limit = parse_limit(value, limits)?,
                "versions" if !value.is_null() => {
                    request.versions = value.as_bool().ok_or_else(|| shape("versions is not true or false"))?;
                }
                _ => {}
            }
        }
        if has_nodes {
            Ok(request)
        } else {
            Err(shape("nodes is missing: it lists what the caller holds, [] for nothing"))
        }
    }
}

/// Does the caller state `ours`? A hash of another make equals nothing.
fn states(stated: &str, ours: Option<SetHash>) -> bool {
    ours.is_some() && SetHash::parse(stated).ok() == ours
}

/// A request as clients write it, in one pass and without a copy. `None` for every other one, right or wrong: the gate knows.
fn read_plain(
    body: &Bytes,
    limits: &Limits,
    ours: Option<SetHash>,
    decode_cursor: impl Fn(&str) -> Option<NodeId>,
) -> Option<SyncRequest> {
    if limits.json_depth < PLAIN_DEPTH {
        return None;
    }
    let mut text = Plain::new(body)?;
    let (mut stated, mut places, mut cursor, mut limit, mut versions) = (None, None, None, None, None);
    text.expect(b"{")?;
    loop {
        let name = text.string()?;
        text.expect(b":")?;
        let is_new = match body.get(name)? {
            b"manifest_hash" => stated.replace(or_null(&mut text, Plain::string)?).is_none(),
            b"nodes" => places.replace(read_places(body, &mut text)?).is_none(),
            b"cursor" => cursor.replace(or_null(&mut text, Plain::string)?).is_none(),
            b"limit" => limit.replace(or_null(&mut text, Plain::integer)?).is_none(),
            b"versions" => versions.replace(or_null(&mut text, read_bool)?).is_none(),
            _ => return None,
        };
        if !is_new {
            return None;
        }
        if !text.take(b',') {
            break;
        }
    }
    text.expect(b"}")?;
    if !text.ends() {
        return None;
    }
    let string = |range| body.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let after = match cursor.flatten() {
        Some(cursor) => Some(decode_cursor(string(cursor)?)?),
        None => None,
    };
    let limit = match limit.flatten() {
        Some(limit) => usize::try_from(limit).ok().filter(|limit| (1..=limits.page_items).contains(limit))?,
        None => limits.page_items,
    };
    let is_equal = match stated.flatten() {
        Some(stated) => states(string(stated)?, ours),
        None => false,
    };
    let held = Held::new(body.clone(), places?)?;
    let versions = versions.flatten().unwrap_or(false);
    Some(SyncRequest { is_equal, held: if is_equal { Held::default() } else { held }, after, limit, versions })
}

fn read_bool(text: &mut Plain<'_>) -> Option<bool> {
    if text.expect(b"true").is_some() { Some(true) } else { text.expect(b"false").map(|()| false) }
}

fn or_null<'a, T>(text: &mut Plain<'a>, read: impl Fn(&mut Plain<'a>) -> Option<T>) -> Option<Option<T>> {
    if text.expect(b"null").is_some() { Some(None) } else { read(text).map(Some) }
}

/// What stands around id and hash of a node as `JSON.stringify` and `serde_json` write it, and as `json.dumps` does.
const USUAL: [[&[u8]; 3]; 2] =
    [[b"{\"id\":\"", b"\",\"hash\":\"", b"\"}"], [b"{\"id\": \"", b"\", \"hash\": \"", b"\"}"]];

fn read_places(body: &[u8], text: &mut Plain<'_>) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    text.expect(b"[")?;
    if text.take(b']') {
        return Some(places);
    }
    loop {
        let [id, hash] = match USUAL.iter().find_map(|around| text.pair(*around)) {
            Some(pair) => pair,
            None => read_node(body, text)?,
        };
        // The reader takes no control characters, and no text has more characters than bytes: it is an id.
        if !(1..=MAX_ID_CHARS).contains(&id.len()) {
            return None;
        }
        places.push(Place::new(&id, &hash)?);
        if !text.take(b',') {
            break;
        }
        text.skip_space();
    }
    text.expect(b"]")?;
    Some(places)
}

/// Where id and hash of a node stand.
fn read_node(body: &[u8], text: &mut Plain<'_>) -> Option<[Range<usize>; 2]> {
    text.expect(b"{")?;
    let (first, one) = read_member(body, text)?;
    text.expect(b",")?;
    let (second, other) = read_member(body, text)?;
    text.expect(b"}")?;
    match (first, second) {
        (b"id", b"hash") => Some([one, other]),
        (b"hash", b"id") => Some([other, one]),
        _ => None,
    }
}

fn read_member<'a>(body: &'a [u8], text: &mut Plain<'_>) -> Option<(&'a [u8], Range<usize>)> {
    let name = text.string()?;
    text.expect(b":")?;
    Some((body.get(name)?, text.string()?))
}

fn parse_limit(value: Value<'_>, limits: &Limits) -> Result<usize, SyncError> {
    let limit = value.as_unsigned().and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=limits.page_items).contains(limit));
    limit.ok_or_else(|| shape(format!("limit is not an integer from 1 to {}", limits.page_items)))
}

/// Place, id and hash of one node that the caller holds.
type HeldNode<'a> = (usize, Cow<'a, str>, Cow<'a, str>);

/// The id is still to be looked at.
fn parse_node(index: usize, node: Value<'_>) -> Result<HeldNode<'_>, SyncError> {
    let object = node.as_object().ok_or_else(|| shape(format!("nodes[{index}] is not an object with id and hash")))?;
    let (mut id, mut hash) = (None, None);
    for (key, value) in object.iter() {
        match key.as_ref() {
            "id" => id = Some(value.as_str().ok_or_else(|| shape(format!("nodes[{index}].id is not a string")))?),
            "hash" => {
                hash = Some(value.as_str().ok_or_else(|| shape(format!("nodes[{index}].hash is not a string")))?);
            }
            _ => {}
        }
    }
    let id = id.ok_or_else(|| shape(format!("nodes[{index}].id is missing")))?;
    let hash = hash.ok_or_else(|| shape(format!("nodes[{index}].hash is missing")))?;
    Ok((index, id, hash))
}

fn bad_id(index: usize) -> impl FnOnce(IdError) -> SyncError {
    move |error| shape(format!("nodes[{index}].id: {error}"))
}

fn parse_nodes(value: Value<'_>) -> Result<impl Iterator<Item = Result<HeldNode<'_>, SyncError>>, SyncError> {
    let array = value.as_array().ok_or_else(|| shape("nodes is not a list"))?;
    Ok(array.iter().enumerate().map(|(index, node)| parse_node(index, node)))
}

fn twice(id: &str) -> SyncError {
    shape(format!("nodes lists {id:?} twice"))
}

/// Of a list that is right: its ids and hashes, without escapes and one behind the other.
fn keep_held(value: Value<'_>) -> Result<Held, SyncError> {
    let (mut text, mut places) = (Vec::new(), Vec::with_capacity(value.as_array().map_or(0, Array::len)));
    for node in parse_nodes(value)? {
        let (_, id, hash) = node?;
        let start = text.len();
        text.extend_from_slice(id.as_bytes());
        let middle = text.len();
        text.extend_from_slice(hash.as_bytes());
        places.extend(Place::new(&(start..middle), &(middle..text.len())));
    }
    Ok(Held::new(text.into(), places).unwrap_or_default())
}

/// Is the list right? Callers list their nodes in order, as a rule: then no id needs to be remembered.
fn check_held(value: Value<'_>) -> Result<(), SyncError> {
    let mut last = Cow::Borrowed("");
    for node in parse_nodes(value)? {
        let (index, id, _) = node?;
        NodeId::check(&id).map_err(bad_id(index))?;
        if id <= last {
            return check_out_of_order(value);
        }
        last = id;
    }
    Ok(())
}

fn check_out_of_order(value: Value<'_>) -> Result<(), SyncError> {
    let mut seen = HashSet::with_capacity(value.as_array().map_or(0, Array::len));
    for node in parse_nodes(value)? {
        let (index, id, _) = node?;
        NodeId::check(&id).map_err(bad_id(index))?;
        if let Some(id) = seen.replace(id) {
            return Err(twice(&id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample};
    use std::collections::BTreeSet;

    fn parse(body: &str, ours: Option<SetHash>) -> Result<SyncRequest, SyncError> {
        SyncRequest::parse(Bytes::copy_from_slice(body.as_bytes()), &Limits::default(), ours, |_| None)
    }

    fn decode(text: &str) -> Option<NodeId> {
        NodeId::parse(text.strip_prefix("after-")?).ok()
    }

    fn short(body: &str, ours: Option<SetHash>) -> Option<SyncRequest> {
        read_plain(&Bytes::copy_from_slice(body.as_bytes()), &Limits::default(), ours, decode)
    }

    fn long(body: &str, ours: Option<SetHash>) -> Result<SyncRequest, SyncError> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        SyncRequest::parse_through_the_gate(body, &Limits::default(), ours, decode)
    }

    #[test]
    fn what_clients_write_is_read_the_short_way() {
        let ours = SetHash::of(b"ours");
        for body in [
            "{\"nodes\":[]}".to_owned(),
            "{\"nodes\": [{\"id\": \"a\", \"hash\": \"h\"}, {\"hash\": \"g\", \"id\": \"é b\"}], \"limit\": 3}"
                .to_owned(),
            format!(
                "{{\"manifest_hash\":\"{ours}\",\"nodes\":[{{\"id\":\"b\",\"hash\":\"\"}},{{\"id\":\"a\",\"hash\":\"\"}}]}}"
            ),
            "{\"versions\":true,\"nodes\":[]}".to_owned(),
            "{\"nodes\":[] , \"versions\" : false}".to_owned(),
            "{\"nodes\":[],\"versions\":null}".to_owned(),
            "\n{\"cursor\":\"after-b\",\"limit\":null,\"nodes\":[ ],\r\n\t\"manifest_hash\":null } ".to_owned(),
        ] {
            assert_eq!(short(&body, Some(ours)).unwrap(), long(&body, Some(ours)).unwrap(), "{body}");
        }
        let deep = Limits { json_depth: 2, ..Limits::default() };
        assert!(read_plain(&Bytes::from_static(b"{\"nodes\":[]}"), &deep, None, decode).is_none());
    }

    /// A request made of what clients write and of what they should not.
    fn any_body(ours: SetHash) -> impl Strategy<Value = String> {
        let space = || prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
        let string = || {
            const ODD: &[&str] =
                &["", "\\u0061", "a\u{1}", "\u{7f}", "\u{85}", "é", "\\ud800", "a\\\"", "after-b", "after-"];
            prop_oneof![9 => "[a-e]{1,2}", 2 => sample::select(ODD).prop_map(str::to_owned), 1 => "[a-cé]{255,258}"]
                .prop_map(|text| format!("\"{text}\""))
        };
        let odd_value = || {
            const VALUES: &[&str] = &[
                "null",
                "1",
                "0",
                "01",
                "7.0",
                "1e2",
                "999999999999",
                "[]",
                "{}",
                "[[[]]]",
                "true",
                "nul",
                "",
                "-1",
                "1 2",
            ];
            sample::select(VALUES).prop_map(str::to_owned)
        };
        let value = move || prop_oneof![12 => string(), 1 => odd_value()];
        let name = |names: &'static [&'static str]| sample::select(names).prop_map(|name| format!("\"{name}\""));
        let member = move |names| {
            (name(names), space(), value(), space())
                .prop_map(|(name, left, value, right)| format!("{name}{left}:{right}{value}"))
        };
        let odd_node = || vec(member(&["id", "hash", "type", "i\\u0064"]), 0..4);
        let node = prop_oneof![
            20 => (string(), string(), any::<bool>()).prop_map(|(id, hash, swapped)| {
                let (id, hash) = (format!("\"id\":{id}"), format!("\"hash\":{hash}"));
                if swapped { vec![hash, id] } else { vec![id, hash] }
            }),
            1 => odd_node(),
        ]
        .prop_map(|members| format!("{{{}}}", members.join(",")));
        let list = (vec(node, 0..5), sample::select(&[",", ",", ",", " , ", "", ",,"][..]), space())
            .prop_map(|(nodes, comma, space)| format!("\"nodes\":[{}{space}]", nodes.join(comma)));
        let rest = prop_oneof![
            3 => member(&["cursor"]),
            3 => (1_u32..200_000).prop_map(|limit| format!("\"limit\":{limit}")),
            2 => Just(format!("\"manifest_hash\":\"{ours}\"")),
            1 => any::<bool>().prop_map(|versions| format!("\"versions\":{versions}")),
            2 => member(&["manifest_hash", "limit", "cursor", "other", "nodes", "versions"]),
        ];
        (
            vec(rest.clone(), 0..2),
            list,
            vec(rest, 0..2),
            sample::select(&["{", "{", "{", "{", " {", "", "[", "\u{feff}{"][..]),
            sample::select(&["}", "}", "}", "}", "} ", "", "]", "}x", "},"][..]),
        )
            .prop_map(|(before, list, after, open, close)| {
                format!("{open}{}{close}", [before, vec![list], after].concat().join(","))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_short_way_takes_only_what_the_gate_takes_and_reads_it_alike(body in any_body(SetHash::of(b"ours"))) {
            for ours in [None, Some(SetHash::of(b"ours"))] {
                if let Some(short) = short(&body, ours) {
                    prop_assert_eq!(short, long(&body, ours).unwrap());
                }
            }
        }

        #[test]
        fn the_short_way_is_taken(ids in vec("[a-z0-9é]{1,40}", 0..20), spaced in any::<bool>()) {
            let nodes: BTreeSet<_> = ids.iter().collect();
            let nodes: Vec<_> = nodes.into_iter().map(|id| serde_json::json!({"id": id, "hash": "h"})).collect();
            let mut body = serde_json::json!({"manifest_hash": "sha256:x", "nodes": nodes}).to_string();
            if spaced {
                body = body.replace("\":", "\": ").replace(",\"", ", \"");
            }
            let short = short(&body, None);
            prop_assert!(short.is_some());
            prop_assert_eq!(short.unwrap(), long(&body, None).unwrap());
        }
    }

    /// What a caller with our set hash lists is held to the same rules, although none of it is needed.
    #[test]
    fn a_list_is_judged_alike_whether_it_is_kept_or_not() {
        let ours = SetHash::of(b"ours");
        let node = |id: &str| format!("{{\"id\":\"{id}\",\"hash\":\"h\"}}");
        let long = node(&"x".repeat(257));
        let lists = [
            String::new(),
            node("a"),
            [node("a"), node("b"), node("c")].join(","),
            [node("c"), node("a"), node("b")].join(","),
            [node("a"), node("a")].join(","),
            [node("a"), node("b"), node("a")].join(","),
            [node("b"), node("a"), node("\\u0061")].join(","),
            [node("b"), node("a"), long.clone()].join(","),
            long,
            node(""),
            node("\\u0000"),
            "{\"id\":\"a\"}".to_owned(),
            "{\"hash\":\"a\"}".to_owned(),
            "{\"id\":1,\"hash\":\"h\"}".to_owned(),
            "{\"id\":\"a\",\"hash\":1}".to_owned(),
            "1".to_owned(),
        ];
        let mut taken = 0;
        for list in lists {
            let body = format!("{{\"manifest_hash\":\"{ours}\",\"nodes\":[{list}]}}");
            match (parse(&body, Some(ours)), parse(&body, None)) {
                (Ok(equal), Ok(other)) => {
                    assert!(equal.is_equal && equal.held.is_empty() && !other.is_equal);
                    taken += 1;
                }
                (Err(equal), Err(other)) => assert_eq!(equal.to_string(), other.to_string(), "{body}"),
                (equal, other) => panic!("{body}: {equal:?} and {other:?}"),
            }
        }
        assert_eq!(taken, 4);
        for body in [
            format!("{{\"manifest_hash\":\"{ours}\"}}"),
            format!("{{\"manifest_hash\":\"{ours}\",\"nodes\":{{}}}}"),
            "{\"manifest_hash\":1,\"nodes\":[]}".to_owned(),
        ] {
            assert!(parse(&body, Some(ours)).is_err(), "{body}");
        }
        let other = format!("{{\"manifest_hash\":\"{}\",\"nodes\":[{}]}}", SetHash::of(b"other"), node("a"));
        assert!(parse(&other, Some(ours)).is_ok_and(|request| !request.is_equal && request.held.len() == 1));
    }
}
