//! CPython's form. (stub)
use super::Value;
/// Appends `json.dumps(value, sort_keys=True)` to `out`.
pub fn write(value: Value<'_>, out: &mut Vec<u8>) {
    let _ = (value, out);
    unimplemented!()
}
