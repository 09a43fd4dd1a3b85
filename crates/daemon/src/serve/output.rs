//! What a container writes and uses, as a stream: nothing is gathered.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use jiff::Timestamp;
use longshore_model::{ContainerCall, LogsRequest, Output};
use longshore_runtime::{OutputStream, Reply};
use utoipa::IntoParams;

use super::Api;
use super::containers::OnHost;
use super::errors::Refusal;
use super::params::{Params, invalid};
use super::target::{QUESTION, explained, unexpected};

/// Docker's format of standard output and error in one stream: a head of eight bytes before each piece.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
const PLAIN: &str = "text/plain; charset=utf-8";
/// One JSON value in each line.
pub(super) const LINES: &str = "application/x-ndjson";

/// Which part of a log to read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of what `logs_request` reads")]
pub(super) struct LogsQuery {
    /// Continue with what the container writes later; false by default.
    follow: Option<bool>,
    /// How many of the last lines, or `all`.
    tail: Option<String>,
    /// From this time on: RFC 3339, or seconds since 1970.
    since: Option<String>,
    /// Up to this time: RFC 3339, or seconds since 1970.
    until: Option<String>,
    /// Begin each line with its time; false by default.
    timestamps: Option<bool>,
    /// Standard output is wanted; true by default.
    stdout: Option<bool>,
    /// Standard error is wanted; true by default.
    stderr: Option<bool>,
}

/// Streams a container's log.
///
/// Standard output and error are mixed as they were written, unless the request accepts
/// `application/vnd.docker.multiplexed-stream`: Docker's frames, which tell them apart. There, an error in the midst of the
/// log, such as the loss of its host, is a last frame of stream 3; a text breaks off.
#[utoipa::path(
    get,
    path = "/v1/containers/{id}/logs",
    operation_id = "container_logs",
    tag = "containers",
    params(
        ("id" = String, Path, description = "The container's id, its name, or the beginning of its id."),
        OnHost,
        LogsQuery
    ),
    responses((status = 200, description = "The log.", body = String, content_type = "text/plain"))
)]
pub(super) async fn logs(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    let request = logs_request(&params)?;
    let target = api.target(&id, params.text("host"))?;
    let output = match api.call(&target, ContainerCall::Logs(request), QUESTION).await? {
        Reply::Stream(output) => output,
        reply => return Err(unexpected(&target.host, &reply)),
    };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let is_multiplexed = accepted.into_iter().any(|accept| accept.contains(MULTIPLEXED));
    let kind = if is_multiplexed { MULTIPLEXED } else { PLAIN };
    let body = match is_multiplexed {
        true => body(output, &target.host, framed, Some(failed_frame)),
        // A text has no place for an error: it breaks off.
        false => body(output, &target.host, plain, None),
    };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// How often to sample.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's description of a parameter")]
pub(super) struct StatsQuery {
    /// A sample each second, until the client leaves; true by default. Otherwise one sample.
    follow: Option<bool>,
}

/// Streams a container's use of resources, as Docker's JSON: one sample in each line.
///
/// If it breaks off, as at the loss of its host, the last line has an `error` only.
#[utoipa::path(
    get,
    path = "/v1/containers/{id}/stats",
    operation_id = "container_stats",
    tag = "containers",
    params(
        ("id" = String, Path, description = "The container's id, its name, or the beginning of its id."),
        OnHost,
        StatsQuery
    ),
    responses((
        status = 200,
        description = "The samples.",
        body = Object,
        content_type = "application/x-ndjson"
    ))
)]
pub(super) async fn stats(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let follow = params.flag("follow", true)?;
    let target = api.target(&id, params.text("host"))?;
    match api.call(&target, ContainerCall::Stats { follow }, QUESTION).await? {
        Reply::Stream(output) => {
            let body = body(output, &target.host, lines, Some(failed_line));
            Ok(([(header::CONTENT_TYPE, LINES)], body).into_response())
        }
        reply => Err(unexpected(&target.host, &reply)),
    }
}

/// Returns a host's output as a body, each piece written by `write`. An error ends it: as written by `fail`, or by
/// breaking the body off.
fn body(
    output: OutputStream,
    host: &str,
    write: fn(Output) -> Bytes,
    fail: Option<fn(&str) -> Bytes>,
) -> Body {
    let host = host.to_owned();
    let pieces = output.map(move |piece| match piece {
        Ok(output) => Ok(write(output)),
        Err(error) => {
            let why = explained(&host, &error);
            tracing::debug!(why, "a container's output broke off");
            fail.map(|fail| fail(&why)).ok_or(error)
        }
    });
    Body::from_stream(pieces)
}

/// Returns an error as Docker has its own: in the third stream.
fn failed_frame(why: &str) -> Bytes {
    in_stream(3, why.as_bytes())
}

/// Returns an error as the last line.
fn failed_line(why: &str) -> Bytes {
    format!("{}\n", serde_json::json!({ "error": why })).into()
}

fn plain(output: Output) -> Bytes {
    match output {
        Output::Stdout(bytes) | Output::Stderr(bytes) => bytes,
        Output::Json(_) | Output::Exited(_) => Bytes::new(),
    }
}

fn framed(output: Output) -> Bytes {
    let (stream, bytes) = match output {
        Output::Stdout(bytes) => (1, bytes),
        Output::Stderr(bytes) => (2, bytes),
        Output::Json(_) | Output::Exited(_) => return Bytes::new(),
    };
    in_stream(stream, &bytes)
}

fn in_stream(stream: u8, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + bytes.len());
    frame.put_slice(&[stream, 0, 0, 0]);
    // A piece of a stream is far shorter.
    frame.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    frame.put_slice(bytes);
    frame.freeze()
}

fn lines(output: Output) -> Bytes {
    match output {
        Output::Json(json) => {
            let mut line = BytesMut::with_capacity(json.len() + 1);
            line.put_slice(&json);
            line.put_u8(b'\n');
            line.freeze()
        }
        Output::Stdout(_) | Output::Stderr(_) | Output::Exited(_) => Bytes::new(),
    }
}

fn logs_request(params: &Params) -> Result<LogsRequest, Refusal> {
    let time = |name| params.text(name).map(|text| nanoseconds(name, text)).transpose();
    let tail = match params.text("tail") {
        Some("all") | None => None,
        Some(_) => params.value("tail")?,
    };
    let request = LogsRequest {
        stdout: params.flag("stdout", true)?,
        stderr: params.flag("stderr", true)?,
        follow: params.flag("follow", false)?,
        tail,
        since: time("since")?,
        until: time("until")?,
        timestamps: params.flag("timestamps", false)?,
    };
    if !request.stdout && !request.stderr {
        return Err(invalid("stderr", "false", &"either stdout or stderr must be true"));
    }
    Ok(request)
}

/// Reads a time: RFC 3339, or seconds since 1970.
fn nanoseconds(name: &str, text: &str) -> Result<i64, Refusal> {
    let seconds = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 9 || !is_number(whole) || !is_number(part) {
            return None;
        }
        let part: i64 = format!("{part:0<9}").parse().ok()?;
        whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part)
    };
    let written = || i64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok();
    seconds(text).or_else(written).ok_or_else(|| {
        invalid(name, text, &"expected a time such as 2026-11-21T17:00:00Z, or seconds since 1970")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_both_forms() {
        let read = |text| nanoseconds("since", text).ok();
        assert_eq!(read("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(read("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(read("2023-11-14T22:13:20Z"), Some(1_700_000_000_000_000_000));
        for bad in ["", "soon", "-1", "1.", "1.0000000001", "99999999999999999999", "1e3"] {
            assert_eq!(read(bad).filter(|_| bad != "1."), None, "{bad}");
        }
    }

    #[test]
    fn a_log_without_any_output_is_refused() {
        let read = |query| logs_request(&Params::of(query));
        assert_eq!(read("tail=all").unwrap().tail, None);
        assert_eq!(read("tail=5&stdout=0&follow=1").unwrap().tail, Some(5));
        for bad in ["stdout=0&stderr=0", "tail=some", "since=soon"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_frame_tells_output_and_error_apart_as_docker_does() {
        assert_eq!(&framed(Output::Stderr(Bytes::from_static(b"no")))[..], b"\x02\0\0\0\0\0\0\x02no");
        assert_eq!(&framed(Output::Stdout(Bytes::from_static(b"y")))[..], b"\x01\0\0\0\0\0\0\x01y");
        assert_eq!(&failed_frame("no")[..], b"\x03\0\0\0\0\0\0\x02no");
        assert_eq!(&failed_line("\"no\"")[..], b"{\"error\":\"\\\"no\\\"\"}\n");
        assert_eq!(&lines(Output::Json(Bytes::from_static(b"{}")))[..], b"{}\n");
    }
}
