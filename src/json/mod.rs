//! JSON as this project needs it: a strict gate, and two canonical forms that keep every digit.

pub mod jcs;
pub mod python;
mod strict;

pub use strict::{Array, Document, JsonError, JsonErrorKind, Kind, Object, Value};
