//! Health checks as compose writes them.

use std::time::Duration;

use super::definition::HealthCheck;
use super::reader::{Reader, flag, texts};
use super::time::duration;
use super::yaml::{Node, Value};

/// The shortest time that Docker accepts.
const SHORTEST: Duration = Duration::from_millis(1);

/// Reads `healthcheck`; `None` if it is empty, which leaves the image's in place.
pub(super) fn health_check(node: &Node, reader: &mut Reader<'_>) -> Result<Option<HealthCheck>, String> {
    let mut found = HealthCheck::default();
    let mut disabled = false;
    for (key, value) in reader.entries(node, "healthcheck") {
        let within = |why: String| format!("{key}: {why}");
        let time = || match duration(value).map_err(within)? {
            time if time.is_zero() => Ok(None),
            time if time < SHORTEST => Err(within("it is less than 1ms".to_owned())),
            time => Ok(Some(time)),
        };
        match key {
            "test" => found.test = Some(test(value).map_err(within)?),
            "interval" => found.interval = time()?,
            "timeout" => found.timeout = time()?,
            "start_period" => found.start_period = time()?,
            "start_interval" => found.start_interval = time()?,
            "retries" => {
                let count = value.scalar().and_then(|text| text.parse().ok());
                found.retries = Some(count.ok_or_else(|| within("expected a number".to_owned()))?);
            }
            "disable" => {
                disabled = flag(value).ok_or_else(|| within("expected true or false".to_owned()))?;
            }
            _ => reader.unsupported(value.line, &format!("healthcheck.{key}")),
        }
    }
    if disabled {
        if found.test.is_some() {
            return Err("a disabled health check cannot have a test".to_owned());
        }
        found.test = Some(vec!["NONE".to_owned()]);
    }
    Ok((found != HealthCheck::default()).then_some(found))
}

/// Returns the test's command: a text is run by the shell, a list names its own kind.
fn test(node: &Node) -> Result<Vec<String>, String> {
    if let Value::Text(text) = &node.value {
        return Ok(vec!["CMD-SHELL".to_owned(), text.clone()]);
    }
    let words = texts(node)?;
    match words.first().map(String::as_str) {
        Some("NONE") if words.len() == 1 => Ok(words),
        Some("CMD") if words.len() > 1 => Ok(words),
        Some("CMD-SHELL") if words.len() == 2 => Ok(words),
        _ => Err("expected a string, or a list that begins with CMD, CMD-SHELL or NONE".to_owned()),
    }
}
