//! What utoipa has no words for: links, headers that are always there, and members that exclude each other.

use serde_json::{Map, Value, json};

/// Where an answer of this kind always leads: method and path, statuses, the link's name, the operation, and its parameters from
/// the answer.
type Link =
    (&'static str, &'static [&'static str], &'static str, &'static str, &'static [(&'static str, &'static str)]);

const LINKS: &[Link] = &[
    ("post /manifest", &["200"], "envelope", "getManifest", &[("node_id", "$response.body#/node_id")]),
    ("get /discover", &["200"], "ifChanged", "discoverPeers", &[("If-None-Match", "$response.header.ETag")]),
    (
        "get /nodes/{id}",
        &["200"],
        "ifChanged",
        "getNode",
        &[("id", "$response.body#/id"), ("If-None-Match", "$response.header.ETag")],
    ),
    ("put /nodes/{id}", &["200", "201"], "node", "getNode", &[("id", "$response.body#/id")]),
    (
        "put /nodes/{id}",
        &["200", "201"],
        "undo",
        "deleteNode",
        &[("id", "$response.body#/id"), ("If-Match", "$response.header.ETag")],
    ),
];

/// Members that an envelope of one shape must not borrow from the other: unsigned, they could be mistaken for what is signed.
const EXCLUDED: &[(&str, &[&str])] =
    &[("PlainEnvelope", &["payload", "payloadType", "signatures"]), ("DsseEnvelope", &["manifest", "signature"])];

/// Finishes the document.
pub(super) fn finish(mut document: Value) -> Value {
    let texts = take_texts(&mut document);
    inline(&mut document, &texts);
    for (shape, members) in EXCLUDED {
        if let Some(Value::Object(schema)) = document.pointer_mut(&format!("/components/schemas/{shape}")) {
            let present: Vec<Value> = members.iter().map(|member| json!({"required": [member]})).collect();
            schema.insert("not".to_owned(), json!({"anyOf": present}));
        }
    }
    if let Some(Value::Object(schema)) = document.pointer_mut("/components/schemas/TrustVerify") {
        schema.insert("oneOf".to_owned(), json!([{"required": ["words"]}, {"required": ["public_key"]}]));
    }
    for (_, item) in members(&mut document, "/paths") {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            operation.pointer_mut("/parameters").and_then(Value::as_array_mut).into_iter().flatten().for_each(not_null);
            members(operation, "/responses").for_each(|(_, response)| complete_headers(response));
        }
    }
    add_links(&mut document);
    document
}

fn members<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    value.pointer_mut(pointer).and_then(Value::as_object_mut).into_iter().flatten()
}

/// Takes the components that are texts out of the document: a class of its own for each would be a nuisance in generated clients.
fn take_texts(document: &mut Value) -> Map<String, Value> {
    let mut texts = Map::new();
    if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
        for (name, schema) in std::mem::take(schemas) {
            let is_text = schema.get("type").is_some_and(|kind| kind == "string");
            if is_text { &mut texts } else { &mut *schemas }.insert(name, schema);
        }
    }
    texts
}

/// Puts each text where it is referred to; what is said there counts more than what the text says of itself.
fn inline(value: &mut Value, texts: &Map<String, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| inline(item, texts)),
        Value::Object(object) => {
            let name =
                object.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/components/schemas/"));
            if let Some(Value::Object(text)) = name.and_then(|name| texts.get(name)) {
                object.remove("$ref");
                for (key, rule) in text {
                    object.entry(key).or_insert_with(|| rule.clone());
                }
            }
            object.values_mut().for_each(|member| inline(member, texts));
        }
        _ => {}
    }
}

/// A parameter that may be left out is not one that may be null: no query and no header can say null.
fn not_null(parameter: &mut Value) {
    let Some(schema) = parameter.get_mut("schema") else { return };
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    if let Some(choice) = choices.clone().find(|choice| choice.get("type").is_some_and(|kind| kind != "null")) {
        *schema = choice.clone();
    }
    if let Some(kinds) = schema.get("type").and_then(Value::as_array)
        && let [kind] = kinds.iter().filter(|kind| *kind != "null").cloned().collect::<Vec<_>>().as_slice()
    {
        let kind = kind.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("type".to_owned(), kind);
        }
    }
}

/// Each header that is described is always there, and so is the request's id.
fn complete_headers(response: &mut Value) {
    let Some(response) = response.as_object_mut() else { return };
    let headers = response.entry("headers").or_insert_with(|| json!({}));
    if let Some(headers) = headers.as_object_mut() {
        headers.insert(
            "X-Request-Id".to_owned(),
            json!({"description": "Stands in the service's log too", "schema": {"type": "string"}}),
        );
    }
    for header in headers.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        header.insert("required".to_owned(), Value::Bool(true));
    }
}

fn add_links(document: &mut Value) {
    for (from, statuses, name, operation, parameters) in LINKS {
        let Some((method, path)) = from.split_once(' ') else { continue };
        let path = path.replace('/', "~1");
        for status in *statuses {
            let response = document.pointer_mut(&format!("/paths/{path}/{method}/responses/{status}"));
            let Some(response) = response.and_then(Value::as_object_mut) else { continue };
            let parameters: Map<String, Value> =
                parameters.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
            let link = json!({"operationId": operation, "parameters": parameters});
            if let Some(links) = response.entry("links").or_insert_with(|| json!({})).as_object_mut() {
                links.insert((*name).to_owned(), link);
            }
        }
    }
}
