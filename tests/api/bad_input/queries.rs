//! Query parameters.

use super::{Row, row};
use crate::raw_http::Raw;

pub fn rows() -> Vec<Row> {
    let shared = [
        "limit=0",
        "limit=-1",
        "limit=abc",
        "limit=1.5",
        "limit=",
        "limit",
        "limit=1001",
        "limit=99999999999999999999999999",
        "limit=1&limit=2",
        "limit=%31%zz",
        "limit=0x10",
        "unknown=1",
        "Limit=1",
        "limit=1&offset=2",
        "cursor=!!",
        "cursor=",
        "cursor=_w",
        "cursor=YQ%3D%3D",
        "cursor=AA",
        "cursor=YQ&cursor=YQ",
    ];
    let of_nodes = [
        "type=%FF",
        "type=%",
        "type=%zz",
        "type=a&type=b",
        "updated_since=",
        "updated_since=yesterday",
        "updated_since=1.2.3",
        "updated_since=1.",
        "updated_since=.5",
        "updated_since=-1",
        "updated_since=1e9",
        "updated_since=99999999999999999999",
        "updated_since=2024-01-01",
        "updated_since=2024-13-01T00:00:00Z",
        "updated_since=2024-01-01T00:00:00",
        "updated_since=NaN",
        "trust_level=pending",
    ];
    let of_discover = [
        "instance_type=%FF",
        "instance_type=pi&instance_type=local",
        "trust_level=",
        "trust_level=friend",
        "trust_level=Pending",
        "trust_level=%70ending%zz",
        "type=t",
        "cursor=YWJj",
        "cursor=OmE",
        "cursor=YTpi",
        "cursor=MTo",
        "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OmE",
    ];
    let mut rows = Vec::new();
    for (path, queries) in [("/nodes", &of_nodes[..]), ("/discover", &of_discover[..])] {
        for query in shared.iter().chain(queries) {
            let path = format!("{path}?{query}");
            rows.push(row(format!("GET {path}"), Raw::new("GET", &path), 400, "invalid_query"));
        }
        let long = format!("{path}?{}=1", "x".repeat(50_000));
        rows.push(row(format!("GET {path} with a very long parameter"), Raw::new("GET", &long), 400, "invalid_query"));
    }
    rows.push(row("HEAD with a bad query", Raw::new("HEAD", "/nodes?limit=0"), 400, "invalid_query"));
    rows
}
