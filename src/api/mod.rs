//! The HTTP room: routes, extractors, handlers, problems, OpenAPI. Handlers extract, call one operation, and answer.

mod answers;
mod certified;
pub mod codes;
mod cors;
mod cursor;
mod discovered;
pub mod error;
mod extract;
mod handlers;
mod limit;
mod middleware;
mod network;
mod openapi;
mod origin;
mod prefix;
mod routes;
mod schemas;
mod state;
mod trace;

pub use answers::{answer_pool, bound_answers, listener_pool};
pub use certified::certified;
pub use cors::share;
pub use discovered::DiscoveredBodies;
pub use extract::{AdminAccess, BodyBudget, DocumentReads};
pub use limit::limit;
pub use middleware::{answer_panics, observe, suit_client};
pub use network::network;
pub use openapi::document as openapi_document;
pub use origin::{Edge, RequestOrigin, Scheme};
pub use prefix::strip_prefix;
pub use routes::{PEER_ROUTES, ROUTES, Route, configure};
pub use state::{ApiState, Cors};
