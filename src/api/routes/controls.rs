//! The services behind the routes of the federation's controls: the operator's.

use super::{get, resource};
use crate::api::handlers::{control, deletions, events, invites, pending};
use actix_web::web::{self, ServiceConfig};

/// Adds them.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/api/federation/status", "GET, HEAD").route(get().to(control::status)))
        .service(resource("/api/federation/start", "POST").route(web::post().to(control::start)))
        .service(resource("/api/federation/stop", "POST").route(web::post().to(control::stop)))
        .service(resource("/api/federation/peers", "GET, HEAD").route(get().to(control::peers)))
        .service(resource("/api/federation/peers/add", "POST").route(web::post().to(control::add)))
        .service(resource("/api/federation/peers/{url:.*}", "DELETE").route(web::delete().to(control::remove)))
        .service(resource("/api/federation/sync", "POST").route(web::post().to(control::sync)))
        .service(resource("/api/federation/discover", "POST").route(web::post().to(control::discover)))
        .service(resource("/api/federation/auto-sync/start", "POST").route(web::post().to(control::auto_sync_start)))
        .service(resource("/api/federation/deletions", "GET, HEAD").route(get().to(deletions::list)))
        .service(resource("/api/federation/deletions/confirm", "POST").route(web::post().to(deletions::confirm)))
        .service(resource("/api/federation/deletions/refuse", "POST").route(web::post().to(deletions::refuse_all)))
        .service(resource("/api/federation/auto-sync/stop", "POST").route(web::post().to(control::auto_sync_stop)))
        .service(
            resource("/api/federation/invites", "GET, HEAD, POST")
                .route(get().to(invites::list))
                .route(web::post().to(invites::invite)),
        )
        .service(resource("/api/federation/invites/{id}", "DELETE").route(web::delete().to(invites::revoke)))
        .service(resource("/api/federation/join", "POST").route(web::post().to(invites::join)))
        .service(resource("/api/federation/pending", "GET, HEAD").route(get().to(pending::list)))
        .service(resource("/api/federation/pending/{peer_id:.*}/accept", "POST").route(web::post().to(pending::accept)))
        .service(resource("/api/federation/pending/{peer_id:.*}/refuse", "POST").route(web::post().to(pending::forget)))
        .service(resource("/federation/history", "GET, HEAD").route(get().to(control::history)))
        .service(resource("/events", "GET, HEAD").route(get().to(events::listen)));
}
