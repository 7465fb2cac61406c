//! The table of routes, and nothing else.

use super::{
    codes::Code,
    error::ApiError,
    handlers::{conflicts, discover, documents, health, lattice, manifest, nodes, sync},
};
use actix_web::{
    Resource, ResponseError, guard,
    web::{self, ServiceConfig},
};

/// One route, as the index lists it and the OpenAPI document describes it.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// The problems that it may answer with.
    pub problems: &'static [&'static [Code]],
}

/// The gate's refusals, of every route that takes a body.
const GATE: &[Code] = &[
    Code::JsonSyntax,
    Code::JsonEmpty,
    Code::JsonNotUtf8,
    Code::JsonBom,
    Code::JsonTooDeep,
    Code::JsonDuplicateKey,
    Code::JsonNotFinite,
    Code::JsonLoneSurrogate,
    Code::JsonTrailingData,
    Code::InvalidHeader,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedContentEncoding,
    Code::Overloaded,
];
const ENVELOPE: &[Code] = &[
    Code::InvalidEnvelope,
    Code::UnknownCanonicalization,
    Code::InvalidEncoding,
    Code::JcsIntegerRange,
    Code::InvalidManifest,
    Code::ManifestTooLarge,
    Code::BadSignature,
    Code::ClockSkew,
    Code::NotListed,
    Code::KeyMismatch,
    Code::Rollback,
    Code::Equivocation,
];
const REGISTRY: &[Code] = &[Code::RegistryUnavailable];
const REGISTRY_WRITE: &[Code] = &[Code::RegistryUnavailable, Code::RegistryFull, Code::NoSpace];
const LATTICE: &[Code] = &[Code::LatticeLoading, Code::LatticeUnavailable];
const LATTICE_WRITE: &[Code] = &[Code::LatticeLoading, Code::LatticeUnavailable, Code::NoSpace];
const OPERATOR_ONLY: &[Code] = &[Code::OperatorTokenRequired, Code::OperatorDisabled];
const OPERATOR: &[Code] = &[Code::OperatorTokenRequired, Code::OperatorDisabled, Code::PreconditionFailed];
/// Of requests that another instance signs.
const SIGNED: &[Code] = &[Code::RequestSignature, Code::NotTrusted, Code::Replayed, Code::Busy];
/// Of every route.
const ALWAYS: &[Code] = &[Code::MethodNotAllowed, Code::Internal];

/// Every route.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: "/", summary: "What is here", problems: &[ALWAYS] },
    Route {
        method: "POST",
        path: "/manifest",
        summary: "Register a signed manifest",
        problems: &[ALWAYS, GATE, ENVELOPE, REGISTRY_WRITE],
    },
    Route {
        method: "GET",
        path: "/manifest/{node_id}",
        summary: "Get a peer's envelope",
        problems: &[ALWAYS, REGISTRY, &[Code::PeerNotFound, Code::InvalidPath]],
    },
    Route {
        method: "GET",
        path: "/discover",
        summary: "List live peers",
        problems: &[ALWAYS, REGISTRY, &[Code::InvalidQuery, Code::InvalidHeader]],
    },
    Route {
        method: "POST",
        path: "/sync",
        summary: "Get exactly what differs",
        problems: &[ALWAYS, GATE, LATTICE, &[Code::InvalidSyncRequest]],
    },
    Route {
        method: "GET",
        path: "/nodes",
        summary: "List nodes",
        problems: &[ALWAYS, &[Code::InvalidQuery, Code::LatticeLoading]],
    },
    Route {
        method: "GET",
        path: "/nodes/{id}",
        summary: "Get a node",
        problems: &[ALWAYS, LATTICE, &[Code::NodeNotFound, Code::InvalidPath, Code::InvalidHeader]],
    },
    Route {
        method: "PUT",
        path: "/nodes/{id}",
        summary: "Write a node (operator)",
        problems: &[
            ALWAYS,
            GATE,
            OPERATOR,
            LATTICE_WRITE,
            &[Code::InvalidNode, Code::NodeIdMismatch, Code::InvalidPath],
        ],
    },
    Route {
        method: "DELETE",
        path: "/nodes/{id}",
        summary: "Delete a node (operator)",
        problems: &[ALWAYS, OPERATOR, LATTICE_WRITE, &[Code::NodeNotFound, Code::InvalidPath, Code::InvalidHeader]],
    },
    Route {
        method: "GET",
        path: "/conflicts",
        summary: "List conflicts",
        problems: &[ALWAYS, &[Code::InvalidQuery, Code::LatticeUnavailable]],
    },
    Route {
        method: "GET",
        path: "/conflicts/{number}",
        summary: "Get a conflict",
        problems: &[ALWAYS, LATTICE, &[Code::ConflictNotFound, Code::InvalidPath]],
    },
    Route {
        method: "DELETE",
        path: "/conflicts/{number}",
        summary: "Dismiss a conflict (operator)",
        problems: &[ALWAYS, OPERATOR_ONLY, LATTICE_WRITE, &[Code::ConflictNotFound, Code::InvalidPath]],
    },
    Route {
        method: "POST",
        path: "/conflicts/{number}/restore",
        summary: "Restore the version that lost (operator)",
        problems: &[
            ALWAYS,
            OPERATOR_ONLY,
            LATTICE_WRITE,
            &[Code::ConflictNotFound, Code::InvalidPath, Code::PreconditionFailed],
        ],
    },
    Route {
        method: "GET",
        path: "/health",
        summary: "Is the process alive, and how are its parts?",
        problems: &[ALWAYS],
    },
    Route {
        method: "GET",
        path: "/ready",
        summary: "Can the service do its work?",
        problems: &[ALWAYS, REGISTRY, &[Code::LatticeLoading]],
    },
    Route { method: "GET", path: "/metrics", summary: "Metrics for Prometheus", problems: &[ALWAYS] },
    Route { method: "GET", path: "/openapi.json", summary: "The OpenAPI document", problems: &[ALWAYS] },
];

/// Routes between instances: requests are signed, some answers have no end. ARCHITECTURE.md describes them; the OpenAPI document,
/// which is for scripts and people, does not.
pub const PEER_ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/lattice/head",
        summary: "Where this lattice stands",
        problems: &[ALWAYS, LATTICE, &[Code::NoKey, Code::InvalidHeader]],
    },
    Route {
        method: "GET",
        path: "/lattice/changes",
        summary: "What changed",
        problems: &[ALWAYS, LATTICE, &[Code::InvalidQuery, Code::OtherIndex, Code::PositionLost]],
    },
    Route { method: "GET", path: "/lattice/notify", summary: "Hear of changes", problems: &[ALWAYS] },
    Route {
        method: "POST",
        path: "/lattice/nodes",
        summary: "Fetch nodes",
        problems: &[ALWAYS, GATE, LATTICE, &[Code::InvalidChange]],
    },
    Route {
        method: "POST",
        path: "/lattice/offer",
        summary: "Offer changes (another instance)",
        problems: &[ALWAYS, GATE, LATTICE, REGISTRY, SIGNED, &[Code::InvalidChange]],
    },
    Route {
        method: "POST",
        path: "/lattice/changes",
        summary: "Send changes (another instance)",
        problems: &[ALWAYS, GATE, LATTICE_WRITE, REGISTRY, SIGNED, &[Code::InvalidChange, Code::PreconditionFailed]],
    },
];

/// A resource that answers 405 with `Allow` to every method that it has no route for.
fn resource(path: &'static str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move { ApiError::Method { allow }.error_response() }))
}

/// `GET`, and `HEAD` with it: the server leaves the body out (RFC 9110 section 9.3.2).
fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Adds every route.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/", "GET, HEAD").route(get().to(documents::index)))
        .service(resource("/manifest", "POST").route(web::post().to(manifest::publish)))
        .service(resource("/manifest/{node_id:.*}", "GET, HEAD").route(get().to(manifest::show)))
        .service(resource("/discover", "GET, HEAD").route(get().to(discover::discover)))
        .service(resource("/sync", "POST").route(web::post().to(sync::sync)))
        .service(resource("/nodes", "GET, HEAD").route(get().to(nodes::list)))
        .service(
            resource("/nodes/{id:.*}", "GET, HEAD, PUT, DELETE")
                .route(get().to(nodes::show))
                .route(web::put().to(nodes::put))
                .route(web::delete().to(nodes::delete)),
        )
        .service(resource("/lattice/head", "GET, HEAD").route(get().to(lattice::head)))
        .service(
            resource("/lattice/changes", "GET, HEAD, POST")
                .route(get().to(lattice::changes))
                .route(web::post().to(lattice::receive)),
        )
        .service(resource("/lattice/notify", "GET, HEAD").route(get().to(lattice::notify)))
        .service(resource("/lattice/nodes", "POST").route(web::post().to(lattice::nodes)))
        .service(resource("/lattice/offer", "POST").route(web::post().to(lattice::offer)))
        .service(resource("/conflicts", "GET, HEAD").route(get().to(conflicts::list)))
        .service(
            resource("/conflicts/{number}", "GET, HEAD, DELETE")
                .route(get().to(conflicts::show))
                .route(web::delete().to(conflicts::dismiss)),
        )
        .service(resource("/conflicts/{number}/restore", "POST").route(web::post().to(conflicts::restore)))
        .service(resource("/health", "GET, HEAD").route(get().to(health::health)))
        .service(resource("/ready", "GET, HEAD").route(get().to(health::ready)))
        .service(resource("/metrics", "GET, HEAD").route(get().to(health::metrics)))
        .service(resource("/openapi.json", "GET, HEAD").route(get().to(documents::openapi)))
        .service(resource("/docs", "GET, HEAD").route(get().to(documents::docs)))
        .service(resource("/docs/{file:.*}", "GET, HEAD").route(get().to(documents::docs_file)))
        .default_service(web::to(documents::not_found));
}
