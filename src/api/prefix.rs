//! Serving under a prefix: it is taken off before a route is looked for, so routes, metrics and handlers do not know of it.

pub(super) use super::origin::prefix_seen_by as seen_by;
use super::{codes::Code, error::refuse, state::ApiState};
use crate::types::BasePath;
use actix_web::{
    Error, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Uri, uri::PathAndQuery},
    middleware::Next,
    web,
};

/// Answered without the prefix too: who watches the process asks it directly, and his settings should not depend on the proxy's.
const WITHOUT_PREFIX: &[&str] = &["/health", "/ready", "/metrics"];

/// Takes the prefix off; what is not under it is not found.
///
/// # Errors
/// What the inner service answers with.
pub async fn strip_prefix<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let state = request.app_data::<web::Data<ApiState>>();
    let base_path = state.map(|state| state.edge.base_path.clone()).unwrap_or_default();
    if !base_path.as_str().is_empty() {
        match without(request.uri(), &base_path) {
            Some(uri) => {
                request.match_info_mut().get_mut().update(&uri);
                request.head_mut().uri = uri;
            }
            None if WITHOUT_PREFIX.contains(&request.path()) => {}
            None => {
                let prefix = base_path.as_str();
                let detail = format!("there is no {}; this service is under {prefix}/", request.path());
                let response = refuse(Code::NotFound, detail).error_response();
                return Ok(request.into_response(response).map_into_right_body());
            }
        }
    }
    Ok(next.call(request).await?.map_into_left_body())
}

fn without(uri: &Uri, base_path: &BasePath) -> Option<Uri> {
    let path = base_path.strip(uri.path())?;
    let whole = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).ok()?);
    Uri::from_parts(parts).ok()
}
