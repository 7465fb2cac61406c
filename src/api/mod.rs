//! The HTTP room: routes, extractors, handlers, problems, OpenAPI. Handlers extract, call one operation, and answer.

pub mod codes;
mod cursor;
pub mod error;
mod extract;
mod handlers;
mod middleware;
mod openapi;
mod routes;
mod state;

pub use extract::{BodyBudget, OperatorToken};
pub use middleware::{answer_panics, observe, suit_client};
pub use openapi::document as openapi_document;
pub use routes::{ROUTES, Route, configure};
pub use state::ApiState;
