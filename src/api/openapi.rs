//! The OpenAPI document: utoipa beside each handler gives the routes, the table in `routes.rs` every problem of each.

use super::{
    codes::Code,
    error::Problem,
    handlers::{discover, documents, health, lattice, manifest, nodes, sync},
    routes::ROUTES,
};
use crate::{
    identity::KeyPair,
    manifest::{Canonicalization, sign},
    types::Limits,
};
use actix_web::http::StatusCode;
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder,
        example::ExampleBuilder,
        path::{Operation, PathItem},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

/// The key of the examples. Everybody knows it: it speaks for nothing but `ark-example`.
const EXAMPLE_SEED: &str = "ZXhhbXBsZSBrZXksIGtub3duIHRvIGV2ZXJ5Ym9keSE=";

const EXAMPLE_MANIFEST: &str = r#"{"node_id":"ark-example","instance_type":"local","version":"1.0.0","last_updated":1699564800,"nodes":[{"id":"python_flask_basic","type":"framework_node","hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000","updated_at":1699564700}]}"#;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ark-lattice",
        description = "Keeps directories of JSON documents in step between machines: signed manifests, expiring discovery, hash \
                       deltas. Every error is `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        documents::index,
        manifest::publish,
        manifest::show,
        discover::discover,
        sync::sync,
        nodes::list,
        nodes::show,
        nodes::put,
        nodes::delete,
        lattice::head,
        lattice::changes,
        lattice::notify,
        lattice::nodes,
        lattice::offer,
        lattice::receive,
        health::health,
        health::ready,
        health::metrics,
        documents::openapi
    ),
    components(schemas(Problem)),
    tags(
        (name = "registry", description = "Who is alive, and what each says it holds"),
        (name = "nodes", description = "The documents, and what differs"),
        (name = "federation", description = "Between instances: where each stands, and what changed"),
        (name = "service", description = "This service itself")
    )
)]
struct Described;

/// The whole document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    // The server is wherever the document came from, also behind a prefix.
    document.servers = Some(vec![utoipa::openapi::Server::new(".")]);
    let components = document.components.get_or_insert_default();
    let token =
        Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("The value of ARK_ADMIN_TOKEN")).build();
    components.add_security_scheme("operator", SecurityScheme::Http(token));
    for route in ROUTES {
        let Some(operation) = document.paths.paths.get_mut(route.path).and_then(|item| operation(item, route.method))
        else {
            continue;
        };
        add_problems(operation, route.problems);
        if (route.method, route.path) == ("POST", "/manifest") {
            add_envelope_examples(operation);
        }
    }
    document
}

fn operation<'a>(item: &'a mut PathItem, method: &str) -> Option<&'a mut Operation> {
    match method {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "PUT" => item.put.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None,
    }
}

fn add_problems(operation: &mut Operation, problems: &[&[Code]]) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in problems.iter().flat_map(|group| group.iter()) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        operation.responses.responses.insert(status.to_string(), RefOr::T(problem_response(&codes)));
    }
}

fn problem_response(codes: &[Code]) -> Response {
    let names: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.text(), code.title())).collect();
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for code in codes {
        let example = ExampleBuilder::new().summary(code.title()).value(Some(example_problem(*code))).build();
        content = content.examples_from_iter([(code.text(), RefOr::T(example))]);
    }
    let mut response =
        ResponseBuilder::new().description(names.join("; ")).content("application/problem+json", content.build());
    if codes.iter().any(|code| code.status() == StatusCode::SERVICE_UNAVAILABLE) {
        response = response.header("Retry-After", HeaderBuilder::new().description(Some("Seconds to wait")).build());
    }
    response.build()
}

fn example_problem(code: Code) -> Value {
    json!({
        "type": format!("urn:ark-lattice:problem:{}", code.text()),
        "title": code.title(),
        "status": code.status().as_u16(),
        "code": code.text(),
        "detail": "What is wrong this time",
        "request_id": "6f1d0c3a9b2e4f5a7c8d9e0f"
    })
}

/// Envelopes that are taken when they are sent as they stand.
fn add_envelope_examples(operation: &mut Operation) {
    let Some(RefOr::T(body)) = operation.request_body.as_mut() else { return };
    let Some(RefOr::T(content)) = body.content.get_mut("application/json") else { return };
    for (form, name, summary) in [
        (Canonicalization::Python, "python", "Signed over json.dumps(manifest, sort_keys=True)"),
        (Canonicalization::Jcs, "jcs", "Signed over the RFC 8785 bytes"),
        (Canonicalization::Dsse, "dsse", "A DSSE envelope"),
    ] {
        let Some(envelope) = example_envelope(form) else { continue };
        let example = ExampleBuilder::new().summary(summary).value(Some(envelope)).build();
        content.examples.insert(name.to_owned(), RefOr::T(example));
    }
}

fn example_envelope(form: Canonicalization) -> Option<Value> {
    let key = KeyPair::from_base64(&SecretString::from(EXAMPLE_SEED)).ok()?;
    let manifest = Bytes::from_static(EXAMPLE_MANIFEST.as_bytes());
    let envelope = sign(manifest, form, &Limits::default(), key.public_key(), |bytes| key.sign(bytes)).ok()?;
    serde_json::from_str(&envelope).ok()
}
