//! Nodes, and the versions of them that were overruled.

use super::{get, resource};
use crate::api::handlers::{accept, conflicts, nodes, versions};
use actix_web::web::{self, ServiceConfig};

/// Adds their routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/nodes", "GET, HEAD").route(get().to(nodes::list)))
        .service(
            // A node may have the id `accept` too.
            resource("/nodes/accept", "GET, HEAD, PUT, DELETE, POST")
                .route(get().to(nodes::show))
                .route(web::put().to(nodes::put))
                .route(web::delete().to(nodes::delete))
                .route(web::post().to(accept::accept)),
        )
        .service(
            // And `versions`.
            resource("/nodes/versions", "GET, HEAD, PUT, DELETE, POST")
                .route(get().to(nodes::show))
                .route(web::put().to(nodes::put))
                .route(web::delete().to(nodes::delete))
                .route(web::post().to(versions::take)),
        )
        .service(
            resource("/nodes/{id:.*}", "GET, HEAD, PUT, DELETE")
                .route(get().to(nodes::show))
                .route(web::put().to(nodes::put))
                .route(web::delete().to(nodes::delete)),
        )
        .service(resource("/conflicts", "GET, HEAD").route(get().to(conflicts::list)))
        .service(
            resource("/conflicts/{number}", "GET, HEAD, DELETE")
                .route(get().to(conflicts::show))
                .route(web::delete().to(conflicts::dismiss)),
        )
        .service(resource("/conflicts/{number}/restore", "POST").route(web::post().to(conflicts::restore)));
}
