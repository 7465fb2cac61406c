//! The document as people should meet it: routes in the order of their table, where a JSON map would sort them by name.

use crate::api::routes::ROUTES;
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap},
};
use serde_json::Value;

/// A finished document.
#[derive(Debug)]
pub struct Document(pub(super) Value);

struct Paths<'a>(&'a Value);
struct Path<'a>(&'a str, &'a Value);

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self.0.as_object().ok_or_else(|| S::Error::custom("the document is no object"))?;
        let mut map = serializer.serialize_map(Some(members.len()))?;
        for name in ["openapi", "info", "servers", "tags"] {
            if let Some(member) = members.get(name) {
                map.serialize_entry(name, member)?;
            }
        }
        for (name, member) in members {
            match name.as_str() {
                "openapi" | "info" | "servers" | "tags" => {}
                "paths" => map.serialize_entry(name, &Paths(member))?,
                _ => map.serialize_entry(name, member)?,
            }
        }
        map.end()
    }
}

impl Serialize for Paths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        paths.dedup();
        serializer.collect_map(paths.iter().filter_map(|path| Some((path, Path(path, self.0.get(path)?)))))
    }
}

impl Serialize for Path<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let methods = ROUTES.iter().filter(|route| route.path == self.0).map(|route| route.method.to_ascii_lowercase());
        serializer.collect_map(methods.filter_map(|method| Some((method.clone(), self.1.get(&method)?))))
    }
}
