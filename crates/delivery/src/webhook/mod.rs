//! Posts an event to a URL, signed according to Standard Webhooks (standardwebhooks.com).
//!
//! Apart from its host, a URL is often the only secret that a receiver requires, so no message repeats the rest.

mod client;
mod signature;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper_util::client::proxy::matcher::Matcher;
use longshore_api::HandlerCall;
use tokio::time::timeout;

use self::client::Client;
use self::signature::Key;
use crate::attempt::{Attempt, Failure};

/// Most bytes of an answer that are read, and for how long.
const ANSWER: usize = 4 * 1024;
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Most characters of an answer that a failure quotes.
const SHOWN: usize = 300;
/// Longest delay that a receiver may request before the next attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Webhook {
    url: String,
    secret_file: Option<PathBuf>,
    client: Box<Client>,
}

impl Webhook {
    /// Creates a webhook; `proxies` selects the proxy for a URL.
    pub(crate) fn new(url: String, secret_file: Option<PathBuf>, proxies: &Matcher) -> Self {
        let client = Box::new(Client::new(&url, proxies));
        Self { url, secret_file, client }
    }

    pub(crate) async fn deliver(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let limit = attempt.handler.delivery.timeout;
        let late = || Failure::passing(format!("no answer within {limit:?}"));
        timeout(limit, self.post(attempt)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Returns what an attempt would post, without the signature and with only the host of the URL.
    pub(crate) fn describe(&self, attempt: &Attempt<'_>) -> HandlerCall {
        let mut call = HandlerCall { call: vec!["POST".to_owned()], ..HandlerCall::default() };
        let Ok(url) = address(&self.url) else { return call };
        let scheme = url.scheme_str().unwrap_or_default();
        call.call
            .push(format!("{scheme}://{}/…", url.authority().map_or("", |authority| authority.as_str())));
        call.input = serde_json::to_string(&attempt.message()).unwrap_or_default();
        if let Ok(request) = request(attempt, url, None, jiff::Timestamp::now().as_second()) {
            let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
            let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
            call.environment = headers.collect();
        }
        if let Some(proxy) = self.client.proxy() {
            call.call.push(format!("through the proxy {proxy}"));
        }
        if let Some(file) = &self.secret_file {
            let signed = format!("made with the key in {}", file.display());
            call.environment.insert("webhook-signature".to_owned(), signed);
        }
        call
    }

    async fn post(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let url = address(&self.url)?;
        let key = match &self.secret_file {
            Some(path) => Some(Key::read(path).await.map_err(Failure::passing)?),
            None => None,
        };
        let request = request(attempt, url, key.as_ref(), jiff::Timestamp::now().as_second())?;
        judge(self.client.send(request).await?).await
    }
}

/// Parses the URL.
///
/// # Errors
/// Returns a failure if requests cannot be sent there.
fn address(url: &str) -> Result<Uri, Failure> {
    let bad = |why: &str| Failure::for_good(format!("its URL {why}"));
    let parsed: Uri = url.parse().map_err(|error| bad(&format!("is invalid: {error}")))?;
    let known = [Scheme::HTTP, Scheme::HTTPS].iter().any(|scheme| parsed.scheme() == Some(scheme));
    let Some(authority) = parsed.authority().filter(|_| known) else {
        return Err(bad("must begin with http:// or https://"));
    };
    if authority.as_str().contains('@') {
        return Err(bad("has a user name in it, which is not sent (sign requests with a secret file)"));
    }
    Ok(parsed)
}

fn request(
    attempt: &Attempt<'_>,
    url: Uri,
    key: Option<&Key>,
    now: i64,
) -> Result<Request<Full<Bytes>>, Failure> {
    let told =
        |error: &dyn std::error::Error| Failure::for_good(format!("the request cannot be built: {error}"));
    let body = serde_json::to_vec(&attempt.message()).map_err(|error| told(&error))?;
    let id = message_id(attempt);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("longshore/", env!("CARGO_PKG_VERSION")))
        .header("longshore-event", text(&attempt.event.event))
        .header("longshore-attempt", attempt.number)
        .header("longshore-redelivered", u16::from(attempt.redelivered))
        .header("webhook-id", text(&id))
        .header("webhook-timestamp", now);
    if let Some(key) = key {
        request = request.header("webhook-signature", key.sign(&id, now, &body));
    }
    request.body(Full::from(body)).map_err(|error| told(&error))
}

/// Returns the id of a message, the same for every attempt to deliver one event to one handler and unique to them. It
/// has no dot, since dots separate the signed parts.
fn message_id(attempt: &Attempt<'_>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("{}-{}", attempt.event.id, attempt.handler.name).chars().map(plain).collect()
}

/// Returns text as a header value, without characters that a header cannot contain.
fn text(text: &str) -> HeaderValue {
    let plain: String = text.chars().filter(|c| matches!(c, ' '..='~')).collect();
    HeaderValue::from_str(&plain).unwrap_or(HeaderValue::from_static(""))
}

/// Interprets an answer.
async fn judge<B>(answer: Response<B>) -> Result<(), Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let status = answer.status();
    let may_pass = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
    let is_elsewhere = status.is_redirection();
    let not_before = wait_asked_for(answer.headers(), SystemTime::now());
    let said = beginning(answer.into_body()).await;
    if status.is_success() {
        return Ok(());
    }
    let mut why = format!("the answer was {status}");
    if is_elsewhere {
        why.push_str(" (redirects are not followed: configure the target URL)");
    }
    if !said.is_empty() {
        why = format!("{why}: {said}");
    }
    Err(if may_pass { Failure { not_before, ..Failure::passing(why) } } else { Failure::for_good(why) })
}

/// Returns how long the receiver asks to wait, given as seconds or a date; zero if not specified.
fn wait_asked_for(headers: &HeaderMap, now: SystemTime) -> Duration {
    let asked = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = asked.and_then(|text| match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A number that is too large still means a long time.
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => Some(LONGEST_WAIT),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok(),
    });
    wait.unwrap_or_default().min(LONGEST_WAIT)
}

/// Returns the beginning of an answer's body as one line. A short body is read to the end, which frees the connection
/// for the next event.
async fn beginning<B>(mut body: B) -> String
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = Vec::new();
    let reading = async {
        while read.len() < ANSWER
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    };
    // A body that is not complete in time is quoted as far as it came.
    let _ = timeout(ANSWER_TIME, reading).await;
    read.truncate(ANSWER);
    let text = String::from_utf8_lossy(&read);
    text.split_whitespace().collect::<Vec<_>>().join(" ").escape_debug().take(SHOWN).collect()
}
