//! Conflicts that are none.

use super::{Row, as_operator, row};
use crate::raw_http::Raw;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, status, code) in
        [("7", 404, "conflict_not_found"), ("x", 400, "invalid_path"), ("%zz", 400, "invalid_path")]
    {
        let path = format!("/conflicts/{number}");
        rows.push(row(format!("conflict {number}"), Raw::new("GET", &path), status, code));
        rows.push(row(format!("dismissing conflict {number}"), as_operator("DELETE", &path), status, code));
        let restore = as_operator("POST", &format!("{path}/restore"));
        rows.push(row(format!("restoring conflict {number}"), restore, status, code));
    }
    rows.push(row("dismissing as a stranger", Raw::new("DELETE", "/conflicts/7"), 401, "operator_token_required"));
    rows.push(row("restoring as a stranger", Raw::new("POST", "/conflicts/7/restore"), 401, "operator_token_required"));
    rows
}
