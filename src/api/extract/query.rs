//! Query parameters: known names only, each with a usable value.

use super::path::decoded_text;
use crate::api::{
    codes::Code,
    error::{ApiError, refuse},
};
use actix_web::{FromRequest, HttpRequest, dev::Payload, error::QueryPayloadError, web};
use serde::de::DeserializeOwned;
use std::future::{Ready, ready};

/// `T` from the query. `T` should refuse unknown fields.
#[derive(Debug)]
pub struct StrictQuery<T>(pub T);

impl<T: DeserializeOwned> FromRequest for StrictQuery<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request.query_string()).map(Self))
    }
}

/// The decoder below replaces what it cannot read, so bad escapes would look for something that nobody asked for.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    decoded_text(text).ok_or_else(|| refuse(Code::InvalidQuery, "the query is not percent-encoded UTF-8"))?;
    let query = web::Query::<T>::from_query(text);
    query.map(web::Query::into_inner).map_err(|error| {
        let why = match error {
            QueryPayloadError::Deserialize(error) => error.to_string(),
            error => error.to_string(),
        };
        refuse(Code::InvalidQuery, format!("the query cannot be used: {why}"))
    })
}

/// The size of a page: `default` where the client names none.
///
/// # Errors
/// 400 `invalid_query` for 0 and for more than `most`.
pub fn page_limit(asked: Option<usize>, default: usize, most: usize) -> Result<usize, ApiError> {
    match asked {
        None => Ok(default.min(most)),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(refuse(Code::InvalidQuery, format!("limit is a number from 1 to {most}"))),
    }
}
