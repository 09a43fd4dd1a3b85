//! JSON with `//` and `/* */` comments, as the old tools' users write it.

use serde::de::DeserializeOwned;

/// Reads JSON that may contain comments. Positions in errors are those of the text as it was given.
///
/// # Errors
/// If the text is not JSON, or not what `T` takes.
pub fn from_commented_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(&blank_comments(text))
}

/// Replaces comments with spaces and keeps their line ends, so that every position stays. A block comment without
/// an end is kept, as an error for the parser.
fn blank_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, is_comment) = if first == '"' {
            (string_length(rest), false)
        } else if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if let Some(length) = block_comment_length(rest) {
            (length, true)
        } else {
            (first.len_utf8(), false)
        };
        let (token, after) = rest.split_at(token);
        match is_comment {
            true => plain.extend(token.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            false => plain.push_str(token),
        }
        rest = after;
    }
    plain
}

/// Returns the length of the string literal that the text begins with, up to the end if it has no closing quote.
fn string_length(text: &str) -> usize {
    let mut is_escaped = true;
    let closing = text.char_indices().find(|(_, c)| {
        let closes = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        closes
    });
    closing.map_or(text.len(), |(at, _)| at + 1)
}

fn block_comment_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("/*")?;
    Some(inside.find("*/")? + 4)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn comments_are_skipped_and_the_text_in_strings_is_kept() {
        let text = "// hé\n{\"all\": true, // query entire cluster\n \"url\": \"http://a/*b*/\\\" //\" /**/, /* \" */ \"b\": 1}//";
        let expected = json!({"all": true, "url": "http://a/*b*/\" //", "b": 1});
        assert_eq!(from_commented_json::<Value>(text).unwrap(), expected);
        assert_eq!(from_commented_json::<Value>("\"\\\\\"//x").unwrap(), json!("\\"));
    }

    #[test]
    fn an_error_is_placed_where_it_was_written() {
        let error = from_commented_json::<Value>("/* one\ntwo */\n{\"a\": b}").unwrap_err();
        assert_eq!((error.line(), error.column()), (3, 7));
        for bad in ["{\"a\": 1 /* no end", "/*/ 1", "/", "{} {}", "{\"a\": 1,}", "\"no end // x", "# 1"] {
            assert!(from_commented_json::<Value>(bad).is_err(), "{bad}");
        }
    }
}
