use super::reader::{Reader, shown};

/// Rejects anything but `http://host…` or `https://host…`, and any URL with a user name or password; `instead` names
/// the keys for those.
pub(crate) fn check_url(reader: &mut Reader<'_>, key: &str, line: Option<usize>, url: &str, instead: &str) {
    // Checked first, because then the text must not be quoted.
    if authority(url).contains('@') {
        let message = "a user name or password in a URL would appear in logs".to_owned();
        reader.wrong(line, key, message, Some(instead.to_owned()));
    } else if !is_url(url) {
        // What follows the host is often a receiver's only secret.
        let end = url.len() - after_scheme(url).len() + authority(url).len();
        let begin = url.get(..end).unwrap_or_default();
        let more = if begin == url { "" } else { "…" };
        let message = format!("invalid URL {}: expected http: or https:", shown(&format!("{begin}{more}")));
        reader.wrong(line, key, message, None);
    }
}

/// Returns whether a URL has a scheme and a host, and only valid characters.
fn is_url(text: &str) -> bool {
    let scheme = text.starts_with("http://") || text.starts_with("https://");
    scheme && !authority(text).is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

fn authority(url: &str) -> &str {
    after_scheme(url).split(['/', '?', '#']).next().unwrap_or_default()
}

fn after_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}
