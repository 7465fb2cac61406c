//! JSON as this project needs it: a strict gate, and two canonical forms that keep every digit.
//!
//! [`Document::parse`] is the gate: one pass over the bytes, no tree, numbers kept as their own text. [`Value`], [`Object`] and
//! [`Array`] are views into a document that passed. [`python::write`] and [`jcs::write`] are the forms that signatures and hashes
//! are made over.

mod canonical;
mod compact;
mod document;
mod elements;
mod error;
mod escape;
pub mod jcs;
mod number;
mod plain;
pub mod python;
mod scan;
mod strict;
mod tape;
mod tie;

pub use compact::write_compact;
pub use document::{Array, Document, Kind, Object, Value};
pub use elements::Elements;
pub use error::{JsonError, JsonErrorKind};
pub use plain::Plain;

#[cfg(test)]
mod tests;
