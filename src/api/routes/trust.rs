//! Who is trusted.

use super::{get, resource};
use crate::api::handlers::trust;
use actix_web::web::{self, ServiceConfig};

/// Adds its routes: the operator's.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/v1/nodes", "GET, HEAD").route(get().to(trust::nodes)))
        .service(resource("/v1/nodes/discover", "POST").route(web::post().to(trust::discover)))
        .service(resource("/v1/trust/establish", "POST").route(web::post().to(trust::establish)))
        .service(resource("/v1/trust/relationships", "GET, HEAD").route(get().to(trust::relationships)))
        .service(resource("/v1/trust/relationships/{peer_id:.*}", "GET, HEAD").route(get().to(trust::show)))
        .service(resource("/v1/trust/verify", "POST").route(web::post().to(trust::verify)))
        .service(resource("/v1/trust/revoke", "POST").route(web::post().to(trust::revoke)))
        .service(resource("/v1/trust/vouch", "POST").route(web::post().to(trust::vouch)));
}
