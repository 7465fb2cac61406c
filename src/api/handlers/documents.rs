//! `/`, `/openapi.json`, `/docs/`, and what no route takes.

use crate::api::{
    error::{ApiError, nothing_here},
    prefix,
    routes::ROUTES,
    state::ApiState,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY},
    web,
};
use serde::Serialize;
use std::sync::{Arc, LazyLock};
use utoipa::ToSchema;
use utoipa_swagger_ui::Config;

/// One route.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Route)]
pub(crate) struct RouteAnswer {
    /// The HTTP method.
    #[schema(example = "GET")]
    method: &'static str,
    /// The path.
    #[schema(example = "/discover")]
    path: String,
    /// What it is for.
    summary: &'static str,
}

/// What is here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Index)]
pub(crate) struct IndexAnswer {
    /// Always `ark-lattice`.
    #[schema(example = "ark-lattice")]
    service: &'static str,
    /// This program's version.
    version: &'static str,
    /// This instance's id.
    node_id: String,
    /// `local`, `cloud` or `pi`.
    instance_type: &'static str,
    /// This instance's public key, base64, where it has one.
    #[schema(required = true)]
    pubkey: Option<String>,
    /// Where people read how to use it.
    #[schema(example = "/docs/")]
    docs: String,
    /// Every route.
    routes: Vec<RouteAnswer>,
}

/// What is here
#[utoipa::path(
    get,
    path = "/",
    operation_id = "getIndex",
    tag = "service",
    responses((status = 200, description = "This instance and its routes", body = IndexAnswer))
)]
pub(crate) async fn index(request: HttpRequest, state: web::Data<ApiState>) -> HttpResponse {
    let prefix = prefix::seen_by(&request);
    let identity = &state.context.identity;
    HttpResponse::Ok().json(IndexAnswer {
        service: "ark-lattice",
        version: env!("CARGO_PKG_VERSION"),
        node_id: identity.node_id.to_string(),
        instance_type: identity.instance_type,
        pubkey: state.context.public_key().map(|key| key.to_base64()),
        docs: format!("{prefix}/docs/"),
        routes: ROUTES
            .iter()
            .map(|route| RouteAnswer {
                method: route.method,
                path: format!("{prefix}{}", route.path),
                summary: route.summary,
            })
            .collect(),
    })
}

/// The OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenapi",
    tag = "service",
    responses((status = 200, description = "This document", body = Object))
)]
pub(crate) async fn openapi(state: web::Data<ApiState>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(state.openapi.clone())
}

/// Swagger UI's settings. The validator would send the document to a server on the internet.
static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("../openapi.json").validator_url("none").persist_authorization(true);
    // Without the bar that loads documents from elsewhere, and with the list of schemas closed: few come for those.
    Arc::new(config.use_base_layout().deep_linking(true).display_request_duration(true).default_models_expand_depth(0))
});

/// What the page may do: use its own files and the pictures in them (`data:`), and talk to this service. A script in a description or an answer does not run (against cross-site scripting), nobody may frame the page (against
/// clickjacking), and nothing goes elsewhere, the operator's token least of all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// The page of `/docs/`.
static PAGE: LazyLock<Option<String>> = LazyLock::new(|| {
    let file = utoipa_swagger_ui::serve("index.html", Arc::clone(&SWAGGER)).ok()??;
    let page = String::from_utf8(file.bytes.into_owned()).ok()?;
    Some(page.replacen("<title>Swagger UI</title>", "<title>ark-lattice API</title>", 1))
});

/// The page of `/docs`, for clients that follow no redirect: that of `/docs/`, told where its parts are.
static PAGE_ABOVE: LazyLock<Option<String>> =
    LazyLock::new(|| Some(PAGE.as_deref()?.replacen("<head>", "<head><base href=\"docs/\">", 1)));

fn show(page: Option<&'static str>) -> Result<HttpResponse, ApiError> {
    let page = page.ok_or_else(|| ApiError::Internal("Swagger UI's page is missing".to_owned()))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
    Ok(response.content_type("text/html; charset=utf-8").body(page))
}

/// The page that reads the document to people.
pub(crate) async fn docs() -> Result<HttpResponse, ApiError> {
    show(PAGE_ABOVE.as_deref())
}

/// The same page with its files; all of them are in this program.
pub(crate) async fn docs_file(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let name = request.match_info().get("file").unwrap_or_default();
    if matches!(name, "" | "index.html") {
        return show(PAGE.as_deref());
    }
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&SWAGGER));
    let Some(file) = file.map_err(|error| ApiError::Internal(error.to_string()))? else {
        return not_found(request).await;
    };
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
    if file.gzpipped {
        response.insert_header((CONTENT_ENCODING, "gzip"));
    }
    Ok(response.content_type(file.content_type).body(file.bytes.into_owned()))
}

/// What no route takes.
pub(crate) async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(nothing_here(&prefix::seen_by(&request), request.path()))
}
