//! The OpenAPI document: utoipa beside each handler gives the routes, the table in `routes.rs` every problem of each, and `finish`
//! what utoipa has no words for.

mod examples;
mod finish;
mod order;

pub use order::Document;

use super::{
    codes::Code,
    error::Problem,
    handlers::{
        accept, conflicts, control, deletions, discover, documents, events, health, invites, keys, manifest, nodes,
        pending, seed_wire, sync, trust, versions,
    },
    routes::ROUTES,
};
use actix_web::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder,
        example::ExampleBuilder,
        path::{Operation, PathItem},
        security::{Http, HttpAuthScheme, SecurityScheme},
        server::ServerBuilder,
    },
};

/// What people read first, in Swagger UI.
const DESCRIPTION: &str = "\
Keeps directories of JSON documents in step between machines: signed manifests, a registry whose entries expire, deltas by hash.

**To try it here**: open an operation, press *Try it out*, then *Execute*. What is filled in works as it stands, signatures included. \
To write or delete a node, press *Authorize* first and enter the local token (`local.token` in the state directory) or the admin token (`ARK_ADMIN_TOKEN`).

**Errors** are `application/problem+json` (RFC 9457). Programs look at `code`, which never changes its meaning; the examples of each \
status list the codes that it may carry. Every answer has an `X-Request-Id`, which the service's log repeats.

**Ids** go into a path percent-encoded: the node `notes/today` is `/nodes/notes%2Ftoday`.";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ark-lattice",
        description = DESCRIPTION,
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        documents::index,
        manifest::publish,
        keys::rotate,
        manifest::show,
        discover::discover,
        sync::sync,
        nodes::list,
        nodes::show,
        nodes::put,
        nodes::delete,
        accept::accept,
        versions::take,
        conflicts::list,
        conflicts::show,
        conflicts::dismiss,
        conflicts::restore,
        control::status,
        control::start,
        control::stop,
        control::peers,
        control::add,
        control::remove,
        control::sync,
        control::auto_sync_start,
        control::auto_sync_stop,
        deletions::list,
        deletions::confirm,
        deletions::refuse_all,
        control::discover,
        control::history,
        invites::list,
        invites::invite,
        invites::revoke,
        invites::join,
        pending::list,
        pending::accept,
        pending::forget,
        events::listen,
        seed_wire::info,
        seed_wire::nodes,
        seed_wire::stand,
        seed_wire::push,
        seed_wire::discover,
        trust::nodes,
        trust::discover,
        trust::establish,
        trust::relationships,
        trust::show,
        trust::verify,
        trust::revoke,
        trust::vouch,
        health::health,
        health::ready,
        health::metrics,
        documents::openapi
    ),
    components(schemas(Problem)),
    tags(
        (name = "registry", description = "Who is alive, and what each instance says it holds"),
        (name = "nodes", description = "The documents, and what differs between two instances"),
        (name = "federation", description = "Exchanging with other instances: the operator's controls, and the wire of the first ARK instances"),
        (name = "trust", description = "Whose key may do what, and by whose word: the operator's"),
        (name = "service", description = "This instance itself")
    )
)]
struct Described;

/// The whole document.
#[must_use]
pub fn document() -> Document {
    let mut document = Described::openapi();
    // The server is wherever the document came from, also behind a prefix.
    let server = ServerBuilder::new().url(".").description(Some("This instance"));
    document.servers = Some(vec![server.build()]);
    let components = document.components.get_or_insert_default();
    let token = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The local token (`local.token` in the state directory, new at each start), or the admin token (`ARK_ADMIN_TOKEN`)."))
        .build();
    components.add_security_scheme("operator", SecurityScheme::Http(token));
    for route in ROUTES {
        let Some(operation) = document.paths.paths.get_mut(route.path).and_then(|item| operation(item, route.method))
        else {
            continue;
        };
        add_problems(operation, route.problems);
        if (route.method, route.path) == ("POST", "/manifest") {
            examples::add_envelopes(operation);
        }
    }
    Document(finish::finish(serde_json::to_value(&document).unwrap_or_default()))
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
    let response =
        ResponseBuilder::new().description(names.join("; ")).content("application/problem+json", content.build());
    let told = codes.first().and_then(|code| match code.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(("Retry-After", "Seconds to wait")),
        StatusCode::METHOD_NOT_ALLOWED => Some(("Allow", "The methods that this path takes")),
        _ => None,
    });
    match told {
        Some((name, text)) => response.header(name, HeaderBuilder::new().description(Some(text)).build()).build(),
        None => response.build(),
    }
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

#[cfg(test)]
mod tests {
    use super::document;
    use crate::types::EventKind;

    #[test]
    fn the_patterns_of_events_name_every_kind_once() {
        let text = serde_json::to_string(&document().0).unwrap();
        let names = EventKind::ALL.map(EventKind::as_str).join("|");
        for pattern in [format!("\"^({names})(,({names}))*$\""), format!("\"^({names}|missed)$\"")] {
            assert_eq!(text.matches(&pattern).count(), 1, "{pattern}");
        }
    }
}
