//! Parameters of a request's query.

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::errors::Refusal;

/// The query's parameters, in order; a name may be there more than once.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub(super) fn of(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Returns all values of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Returns the last value of a parameter, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// Reads a parameter.
    pub(super) fn value<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let read = |text: &str| text.parse().map_err(|error| invalid(name, text, &error));
        self.text(name).map(read).transpose()
    }

    /// Reads a parameter that is `true` or `false`, or, as Docker's are, 1 or 0.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.text(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(text) => Err(invalid(name, text, &"expected true or false")),
        }
    }

    /// Returns the query with one parameter replaced.
    pub(super) fn replaced(&self, name: &str, value: &str) -> String {
        let others = self.0.iter().filter(|(key, _)| key != name);
        form_urlencoded::Serializer::new(String::new()).extend_pairs(others).append_pair(name, value).finish()
    }
}

/// Refuses a parameter's value.
pub(super) fn invalid(name: &str, value: &str, why: &dyn Display) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("invalid {name} {value:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_as_it_is_meant_or_refused_with_its_name() {
        let params = Params::of("label=a%3Db&label=c&limit=2&follow=1&tty=false&name=&size=x");
        assert_eq!(params.all("label"), ["a=b", "c"]);
        assert_eq!(params.value::<usize>("limit").unwrap(), Some(2));
        assert!(params.flag("follow", false).unwrap() && !params.flag("tty", true).unwrap());
        assert!(params.flag("none", true).unwrap() && params.text("name").is_none());
        assert_eq!(params.value::<usize>("size").unwrap_err().status, StatusCode::BAD_REQUEST);
        assert_eq!(params.flag("size", false).unwrap_err().status, StatusCode::BAD_REQUEST);
        assert_eq!(Params::of("a=1&cursor=x&b=%26").replaced("cursor", "y/z"), "a=1&b=%26&cursor=y%2Fz");
    }
}
