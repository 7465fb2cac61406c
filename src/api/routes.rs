//! The table of routes, and nothing else.

use std::borrow::Cow;

mod controls;
mod nodes;
mod problems;
mod trust;

use self::problems::{
    ADD_PEER, ALWAYS, CONTROLS, CONTROLS_WRITE, DECISION, DOOR, ENVELOPE, GATE, INVITE, LATTICE, LATTICE_WRITE, LISTEN,
    MESSAGE, OPERATES, OPERATOR, PENDING, PROVES, REGISTRY, REGISTRY_WRITE, SENDS, SIGNED, STATEMENT, TELLS,
};
use super::{
    codes::Code,
    error::ApiError,
    extract::peers_door,
    handlers::{discover, documents, health, introductions, keys, lattice, manifest, rounds, seed_wire, sync},
};
use actix_web::{
    Resource, ResponseError, guard,
    http::Method,
    middleware::from_fn,
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

/// Whether a path is what instances ask each other for. Reading as scripts do is not.
pub(super) fn is_for_peers(method: &Method, path: &str) -> bool {
    let seed_wire = path.starts_with("/federation/") && path != "/federation/history";
    let states = matches!(path, "/manifest" | "/v1/trust/rotate") && *method == Method::POST;
    path.starts_with("/lattice/") || seed_wire || states
}

/// The route that a pattern is of, as a word of ours. A part of the pattern may state what fits it: `/nodes/{id:.*}`.
pub(super) fn known(pattern: &str) -> &'static str {
    let pattern = match pattern.split_once(':') {
        Some((before, rest)) => {
            Cow::Owned(format!("{before}}}{}", rest.rsplit_once('}').map_or("", |(_, after)| after)))
        }
        None => Cow::Borrowed(pattern),
    };
    ROUTES.iter().chain(PEER_ROUTES).map(|route| route.path).find(|path| *path == pattern).unwrap_or("none")
}

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
        method: "POST",
        path: "/v1/trust/rotate",
        summary: "Change which key speaks for an instance",
        problems: &[ALWAYS, GATE, STATEMENT, REGISTRY, &[Code::NoSpace]],
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
        problems: &[
            ALWAYS,
            LATTICE,
            &[Code::NodeNotFound, Code::NodeUnavailable, Code::InvalidPath, Code::InvalidHeader],
        ],
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
            &[Code::InvalidNode, Code::TypeTooLong, Code::NodeIdMismatch, Code::InvalidPath],
        ],
    },
    Route {
        method: "DELETE",
        path: "/nodes/{id}",
        summary: "Delete a node (operator)",
        problems: &[ALWAYS, OPERATOR, LATTICE_WRITE, &[Code::NodeNotFound, Code::InvalidPath, Code::InvalidHeader]],
    },
    Route {
        method: "POST",
        path: "/nodes/accept",
        summary: "Accept files as edited now (operator)",
        problems: &[ALWAYS, GATE, OPERATES, LATTICE_WRITE, &[Code::InvalidFederationRequest]],
    },
    Route {
        method: "POST",
        path: "/nodes/versions",
        summary: "Take versions that were made elsewhere (operator)",
        problems: &[ALWAYS, GATE, OPERATES, LATTICE_WRITE, &[Code::InvalidFederationRequest]],
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
        problems: &[ALWAYS, LATTICE, &[Code::ConflictNotFound, Code::NodeUnavailable, Code::InvalidPath]],
    },
    Route {
        method: "DELETE",
        path: "/conflicts/{number}",
        summary: "Dismiss a conflict (operator)",
        problems: &[ALWAYS, OPERATES, LATTICE_WRITE, &[Code::ConflictNotFound, Code::InvalidPath]],
    },
    Route {
        method: "POST",
        path: "/conflicts/{number}/restore",
        summary: "Restore the version that lost (operator)",
        problems: &[
            ALWAYS,
            OPERATES,
            LATTICE_WRITE,
            &[Code::ConflictNotFound, Code::InvalidPath, Code::PreconditionFailed],
        ],
    },
    Route {
        method: "GET",
        path: "/api/federation/status",
        summary: "What the federation is and did (operator)",
        problems: &[ALWAYS, CONTROLS, &[Code::LatticeUnavailable]],
    },
    Route {
        method: "POST",
        path: "/api/federation/start",
        summary: "Start the federation (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE],
    },
    Route {
        method: "POST",
        path: "/api/federation/stop",
        summary: "Stop the federation (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE],
    },
    Route {
        method: "GET",
        path: "/api/federation/peers",
        summary: "List peers (operator)",
        problems: &[ALWAYS, CONTROLS],
    },
    Route {
        method: "POST",
        path: "/api/federation/peers/add",
        summary: "Add a peer or change its options (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE, ADD_PEER],
    },
    Route {
        method: "DELETE",
        path: "/api/federation/peers/{url}",
        summary: "Remove a peer (operator)",
        problems: &[
            ALWAYS,
            CONTROLS,
            &[Code::PeerNotFound, Code::InvalidPath, Code::PeerOfSettings, Code::StateUnavailable],
        ],
    },
    Route {
        method: "POST",
        path: "/api/federation/sync",
        summary: "Exchange now (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, DOOR, &[Code::InvalidFederationRequest, Code::PeerNotFound]],
    },
    Route {
        method: "GET",
        path: "/api/federation/deletions",
        summary: "List deletions that wait (operator)",
        problems: &[ALWAYS, CONTROLS, &[Code::InvalidQuery, Code::LatticeUnavailable]],
    },
    Route {
        method: "POST",
        path: "/api/federation/deletions/refuse",
        summary: "Refuse what an instance deletes (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, LATTICE_WRITE, &[Code::InvalidFederationRequest, Code::NoDeletionsWait]],
    },
    Route {
        method: "POST",
        path: "/api/federation/deletions/confirm",
        summary: "Confirm what an instance deletes (operator)",
        problems: &[
            ALWAYS,
            GATE,
            CONTROLS,
            LATTICE_WRITE,
            &[Code::InvalidFederationRequest, Code::NoDeletionsWait, Code::ConflictsFull],
        ],
    },
    Route {
        method: "POST",
        path: "/api/federation/discover",
        summary: "Search for other instances (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, &[Code::InvalidFederationRequest, Code::DiscoveryBusy]],
    },
    Route {
        method: "POST",
        path: "/api/federation/auto-sync/start",
        summary: "Enable auto-sync (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE],
    },
    Route {
        method: "POST",
        path: "/api/federation/auto-sync/stop",
        summary: "Disable auto-sync (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE],
    },
    Route {
        method: "GET",
        path: "/api/federation/invites",
        summary: "List invites (operator)",
        problems: &[ALWAYS, CONTROLS],
    },
    Route {
        method: "POST",
        path: "/api/federation/invites",
        summary: "Invite another instance (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE, INVITE, &[Code::TooManyInvites]],
    },
    Route {
        method: "DELETE",
        path: "/api/federation/invites/{id}",
        summary: "Revoke an invite (operator)",
        problems: &[
            ALWAYS,
            CONTROLS,
            &[Code::InviteNotFound, Code::InviteUsed, Code::InvalidPath, Code::StateUnavailable],
        ],
    },
    Route {
        method: "POST",
        path: "/api/federation/join",
        summary: "Join another instance with its invite (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, DECISION, INVITE, &[Code::PeerUnreachable, Code::TrustNotEstablished]],
    },
    Route {
        method: "GET",
        path: "/api/federation/pending",
        summary: "List instances that ask to write (operator)",
        problems: &[ALWAYS, CONTROLS],
    },
    Route {
        method: "POST",
        path: "/api/federation/pending/{peer_id}/accept",
        summary: "Accept an instance that asks to write (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, REGISTRY, DECISION, PENDING, &[Code::SeveralKeys]],
    },
    Route {
        method: "POST",
        path: "/api/federation/pending/{peer_id}/refuse",
        summary: "Refuse an instance that asks to write (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, CONTROLS_WRITE, PENDING],
    },
    Route {
        method: "GET",
        path: "/federation/history",
        summary: "Sync history (operator)",
        problems: &[ALWAYS, CONTROLS, &[Code::InvalidQuery]],
    },
    Route { method: "GET", path: "/federation/info", summary: "Who this instance is", problems: &[ALWAYS, DOOR] },
    Route {
        method: "GET",
        path: "/federation/nodes",
        summary: "Get nodes",
        problems: &[ALWAYS, DOOR, LATTICE, &[Code::InvalidQuery]],
    },
    Route {
        method: "GET",
        path: "/federation/sync",
        summary: "Where this instance stands",
        problems: &[ALWAYS, DOOR, LATTICE, &[Code::InvalidQuery]],
    },
    Route {
        method: "POST",
        path: "/federation/sync",
        summary: "Send nodes",
        problems: &[
            ALWAYS,
            DOOR,
            GATE,
            LATTICE_WRITE,
            REGISTRY,
            SIGNED,
            &[Code::InvalidFederationRequest, Code::ConflictsFull],
        ],
    },
    Route {
        method: "GET",
        path: "/federation/discover",
        summary: "List live peers, in the format of the Node.js service",
        problems: &[ALWAYS, DOOR, REGISTRY, &[Code::InvalidQuery]],
    },
    Route {
        method: "GET",
        path: "/events",
        summary: "Event stream (operator)",
        problems: &[ALWAYS, CONTROLS, &[Code::InvalidQuery, Code::InvalidHeader, Code::TooManyListeners]],
    },
    Route {
        method: "GET",
        path: "/v1/nodes",
        summary: "List known instances (operator)",
        problems: &[ALWAYS, OPERATES, REGISTRY, &[Code::InvalidQuery]],
    },
    Route {
        method: "POST",
        path: "/v1/nodes/discover",
        summary: "Look for instances (operator)",
        problems: &[
            ALWAYS,
            GATE,
            OPERATES,
            REGISTRY,
            &[Code::InvalidFederationRequest, Code::DiscoveryOff, Code::Busy],
        ],
    },
    Route {
        method: "POST",
        path: "/v1/trust/establish",
        summary: "Establish trust in a peer (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, DECISION, &[Code::InvalidPeer, Code::PlainHttp, Code::TrustNotEstablished]],
    },
    Route {
        method: "GET",
        path: "/v1/trust/relationships",
        summary: "List trust relationships (operator)",
        problems: &[ALWAYS, OPERATES],
    },
    Route {
        method: "GET",
        path: "/v1/trust/relationships/{peer_id}",
        summary: "Get the trust in one peer (operator)",
        problems: &[ALWAYS, OPERATES, &[Code::KeyUnknown, Code::InvalidPath]],
    },
    Route {
        method: "POST",
        path: "/v1/trust/verify",
        summary: "Verify a peer's key (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, REGISTRY, DECISION, &[Code::KeyUnknown, Code::TrustNotEstablished]],
    },
    Route {
        method: "POST",
        path: "/v1/trust/revoke",
        summary: "Revoke a peer's key (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, REGISTRY, DECISION, &[Code::KeyUnknown]],
    },
    Route {
        method: "POST",
        path: "/v1/trust/vouch",
        summary: "Vouch for a peer (operator)",
        problems: &[ALWAYS, GATE, CONTROLS, &[Code::InvalidFederationRequest, Code::KeyUnknown]],
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
        problems: &[ALWAYS, REGISTRY, &[Code::LatticeLoading, Code::Draining]],
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
        problems: &[ALWAYS, DOOR, LATTICE, &[Code::NoKey, Code::PeerRevoked, Code::InvalidHeader]],
    },
    Route { method: "GET", path: "/lattice/lineage", summary: "The epochs of this journal", problems: &[ALWAYS, DOOR] },
    Route {
        method: "GET",
        path: "/lattice/heads/{node_id}",
        summary: "The newest head of another instance",
        problems: &[ALWAYS, DOOR, &[Code::PeerNotFound, Code::InvalidPath]],
    },
    Route {
        method: "GET",
        path: "/lattice/identity",
        summary: "What is said of this instance's key",
        problems: &[ALWAYS, DOOR],
    },
    Route {
        method: "GET",
        path: "/lattice/changes",
        summary: "What changed",
        problems: &[ALWAYS, DOOR, LATTICE, &[Code::InvalidQuery, Code::OtherIndex, Code::PositionLost]],
    },
    Route {
        method: "GET",
        path: "/lattice/snapshot",
        summary: "Everything",
        problems: &[ALWAYS, DOOR, LATTICE, &[Code::InvalidQuery, Code::OtherIndex, Code::PositionLost]],
    },
    Route { method: "GET", path: "/lattice/notify", summary: "Hear of changes", problems: &[ALWAYS, DOOR, LISTEN] },
    Route {
        method: "POST",
        path: "/lattice/nodes",
        summary: "Fetch nodes",
        problems: &[ALWAYS, DOOR, GATE, LATTICE, &[Code::InvalidChange]],
    },
    Route {
        method: "POST",
        path: "/lattice/reconcile",
        summary: "Find what differs",
        problems: &[ALWAYS, DOOR, MESSAGE, LATTICE, &[Code::InvalidReconciliation]],
    },
    Route {
        method: "POST",
        path: "/lattice/trust/challenge",
        summary: "Ask for a proof of this instance's key (another instance)",
        problems: &[ALWAYS, DOOR, GATE, PROVES, &[Code::Replayed]],
    },
    Route {
        method: "POST",
        path: "/lattice/trust/proof",
        summary: "Prove a key (another instance)",
        problems: &[ALWAYS, DOOR, GATE, PROVES],
    },
    Route {
        method: "POST",
        path: "/lattice/trust/join",
        summary: "Join with an invite (another instance)",
        problems: &[
            ALWAYS,
            DOOR,
            GATE,
            PROVES,
            REGISTRY,
            &[Code::InviteRefused, Code::KeyMismatch, Code::Quarantined, Code::TooManyPeers, Code::HubOnly],
        ],
    },
    Route {
        method: "POST",
        path: "/lattice/trust/vouch",
        summary: "Vouch for a key (another instance)",
        problems: &[
            ALWAYS,
            DOOR,
            GATE,
            PROVES,
            &[Code::NotTrusted, Code::SignedBeforeStart, Code::Replayed, Code::KeyMismatch, Code::Busy],
        ],
    },
    Route {
        method: "POST",
        path: "/lattice/round",
        summary: "Say how a round went (another instance)",
        problems: &[ALWAYS, DOOR, GATE, REGISTRY, TELLS],
    },
    Route {
        method: "POST",
        path: "/lattice/offer",
        summary: "Offer changes (another instance)",
        problems: &[ALWAYS, DOOR, GATE, LATTICE, REGISTRY, SIGNED, SENDS],
    },
    Route {
        method: "POST",
        path: "/lattice/changes",
        summary: "Send changes (another instance)",
        problems: &[
            ALWAYS,
            DOOR,
            GATE,
            LATTICE_WRITE,
            REGISTRY,
            SIGNED,
            SENDS,
            &[Code::PreconditionFailed, Code::MassDelete, Code::ConflictsFull],
        ],
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
        // Each path with a pattern is tried before those that come after it: what is asked for most goes first.
        .service(resource("/manifest", "POST").route(web::post().to(manifest::publish)))
        .service(resource("/discover", "GET, HEAD").route(get().to(discover::discover)))
        .service(resource("/sync", "POST").route(web::post().to(sync::sync)))
        .service(resource("/health", "GET, HEAD").route(get().to(health::health)))
        .service(resource("/ready", "GET, HEAD").route(get().to(health::ready)))
        .service(resource("/metrics", "GET, HEAD").route(get().to(health::metrics)))
        .service(resource("/v1/trust/rotate", "POST").route(web::post().to(keys::rotate)))
        .service(resource("/manifest/{node_id:.*}", "GET, HEAD").route(get().to(manifest::show)))
        .configure(nodes::configure)
        .configure(configure_peers)
        .configure(controls::configure)
        .configure(trust::configure)
        .service(resource("/openapi.json", "GET, HEAD").route(get().to(documents::openapi)))
        .service(resource("/docs", "GET, HEAD").route(get().to(documents::docs)))
        .service(resource("/docs/{file:.*}", "GET, HEAD").route(get().to(documents::docs_file)))
        .default_service(web::to(documents::not_found));
}

/// What is for other instances: closed while the federation is stopped.
fn configure_peers(config: &mut ServiceConfig) {
    let door = || from_fn(peers_door);
    let changes = resource("/lattice/changes", "GET, HEAD, POST")
        .route(get().to(lattice::changes))
        .route(web::post().to(lattice::receive));
    config
        .service(resource("/lattice/head", "GET, HEAD").route(get().to(lattice::head)).wrap(door()))
        .service(resource("/lattice/lineage", "GET, HEAD").route(get().to(lattice::lineage)).wrap(door()))
        .service(resource("/lattice/heads/{node_id:.*}", "GET, HEAD").route(get().to(lattice::head_of)).wrap(door()))
        .service(resource("/lattice/identity", "GET, HEAD").route(get().to(keys::identity)).wrap(door()))
        .service(changes.wrap(door()))
        .service(resource("/lattice/snapshot", "GET, HEAD").route(get().to(lattice::snapshot)).wrap(door()))
        .service(resource("/lattice/notify", "GET, HEAD").route(get().to(lattice::notify)).wrap(door()))
        .service(resource("/lattice/nodes", "POST").route(web::post().to(lattice::nodes)).wrap(door()))
        .service(resource("/lattice/reconcile", "POST").route(web::post().to(lattice::reconcile)).wrap(door()))
        .service(resource("/lattice/round", "POST").route(web::post().to(rounds::tell)).wrap(door()))
        .service(resource("/lattice/offer", "POST").route(web::post().to(lattice::offer)).wrap(door()));
    let sync = resource("/federation/sync", "GET, HEAD, POST")
        .route(get().to(seed_wire::stand))
        .route(web::post().to(seed_wire::push));
    config
        .service(resource("/federation/info", "GET, HEAD").route(get().to(seed_wire::info)).wrap(door()))
        .service(resource("/federation/nodes", "GET, HEAD").route(get().to(seed_wire::nodes)).wrap(door()))
        .service(sync.wrap(door()))
        .service(resource("/federation/discover", "GET, HEAD").route(get().to(seed_wire::discover)).wrap(door()));
    config
        .service(
            resource("/lattice/trust/challenge", "POST").route(web::post().to(introductions::challenge)).wrap(door()),
        )
        .service(resource("/lattice/trust/proof", "POST").route(web::post().to(introductions::proof)).wrap(door()))
        .service(resource("/lattice/trust/join", "POST").route(web::post().to(introductions::join)).wrap(door()))
        .service(resource("/lattice/trust/vouch", "POST").route(web::post().to(introductions::vouch)).wrap(door()));
}
