//! Comparing what a release answered with what is answered now. A member that is new is no difference.

use serde_json::Value;

/// Asserts that `now` says everything that `then` says, and the same; of members named in `volatile` only the kind counts.
pub(crate) fn assert_says(what: &str, now: &Value, then: &Value, volatile: &[&str]) {
    if let Err(difference) = says(now, then, volatile) {
        panic!("{what}{difference}\nnow:  {now}\nthen: {then}");
    }
}

fn says(now: &Value, then: &Value, volatile: &[&str]) -> Result<(), String> {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (name, recorded) in then {
                let found = now.get(name).ok_or_else(|| format!(".{name}: is missing"))?;
                let volatile_one = volatile.contains(&name.as_str());
                let same = if volatile_one { is_alike(found, recorded) } else { says(found, recorded, volatile) };
                same.map_err(|difference| format!(".{name}{difference}"))?;
            }
            Ok(())
        }
        (Value::Array(now), Value::Array(then)) => {
            if now.len() != then.len() {
                return Err(format!(": {} instead of {} elements", now.len(), then.len()));
            }
            for (number, (found, recorded)) in now.iter().zip(then).enumerate() {
                says(found, recorded, volatile).map_err(|difference| format!("[{number}]{difference}"))?;
            }
            Ok(())
        }
        _ if now == then => Ok(()),
        _ => Err(format!(": {now} instead of {then}")),
    }
}

/// Are both of the same kind?
fn is_alike(now: &Value, then: &Value) -> Result<(), String> {
    if std::mem::discriminant(now) == std::mem::discriminant(then) {
        return Ok(());
    }
    Err(format!(": {now} is of another kind than {then}"))
}
