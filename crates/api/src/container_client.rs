//! What a client asks of hosts, containers and images.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use longshore_model::{ContainerOrder, ExecRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::{Client, TIMEOUT};
use crate::client_error::{ClientError, plain};
use crate::container_filter::{Query, encoded};
use crate::exec::{self, ExecSession};
use crate::{ContainerChange, Host, HostImages, PullRequest, PullUpdate};

/// How long a host may take to answer a question.
const QUESTION: Duration = Duration::from_secs(30);
/// How long an order may take that waits for a container's end.
const ORDER: Duration = Duration::from_secs(660);
/// The longest piece of a stream, in bytes.
const MAX_PIECE: usize = 4 << 20;
/// Docker's format of standard output and error in one stream.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Which part of a log to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Continues with what the container writes later.
    pub follow: bool,
    /// How many of the last lines; all if absent.
    pub tail: Option<u64>,
    /// From this time on: RFC 3339, or seconds since 1970.
    pub since: Option<String>,
    /// Up to this time: RFC 3339, or seconds since 1970.
    pub until: Option<String>,
    /// Begins each line with its time.
    pub timestamps: bool,
}

/// A piece of what a container writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// To its standard output.
    Stdout(Bytes),
    /// To its standard error.
    Stderr(Bytes),
}

/// The pieces of an answer, as they come.
pub type Pieces<T> = BoxStream<'static, Result<T, ClientError>>;

impl Client {
    /// Returns all hosts.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn hosts(&self) -> Result<Vec<Host>, ClientError> {
        self.get("/v1/hosts").await
    }

    /// Returns Docker's inspection of a container: one of this host, if it is given.
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 404 where there is no such container, with 409 where there are several.
    pub async fn inspect(&self, container: &str, host: Option<&str>) -> Result<Box<RawValue>, ClientError> {
        #[derive(Deserialize)]
        struct Details {
            inspection: Box<RawValue>,
        }
        let path = Query::default().option("host", host).after(&of_container(container, ""));
        let details: Details = self.call(Method::GET, &path, Bytes::new(), QUESTION).await?;
        Ok(details.inspection)
    }

    /// Gives a container an order, and waits until it is carried out.
    ///
    /// # Errors
    /// As [`Client::inspect`]; refused with 409 where the container's state does not allow it.
    pub async fn order(
        &self,
        container: &str,
        host: Option<&str>,
        order: &ContainerOrder,
    ) -> Result<ContainerChange, ClientError> {
        let query = Query::default().option("host", host);
        let (verb, query) = match order {
            ContainerOrder::Start => ("start", query),
            ContainerOrder::Stop { timeout } => ("stop", query.option("timeout", *timeout)),
            ContainerOrder::Restart { timeout } => ("restart", query.option("timeout", *timeout)),
            ContainerOrder::Kill { signal } => ("kill", query.option("signal", signal.as_ref())),
            ContainerOrder::Pause => ("pause", query),
            ContainerOrder::Unpause => ("unpause", query),
            ContainerOrder::Remove { force, volumes } => {
                ("", query.flag("force", *force).flag("volumes", *volumes))
            }
        };
        let method = if verb.is_empty() { Method::DELETE } else { Method::POST };
        self.call(method, &query.after(&of_container(container, verb)), Bytes::new(), ORDER).await
    }

    /// Reads a container's log.
    ///
    /// # Errors
    /// As [`Client::inspect`].
    pub async fn logs(
        &self,
        container: &str,
        host: Option<&str>,
        logs: &Logs,
    ) -> Result<Pieces<Written>, ClientError> {
        let query = Query::default()
            .option("host", host)
            .flag("follow", logs.follow)
            .option("tail", logs.tail)
            .option("since", logs.since.as_ref())
            .option("until", logs.until.as_ref())
            .flag("timestamps", logs.timestamps);
        let path = query.after(&of_container(container, "logs"));
        let accept = [("accept", MULTIPLEXED)];
        let body = self.open(Method::GET, &path, Bytes::new(), &accept, QUESTION).await?;
        Ok(self.pieces(body, written))
    }

    /// Reads a container's use of resources, as Docker's JSON: one sample, or one each second with `follow`.
    ///
    /// # Errors
    /// As [`Client::inspect`].
    pub async fn stats(
        &self,
        container: &str,
        host: Option<&str>,
        follow: bool,
    ) -> Result<Pieces<Box<RawValue>>, ClientError> {
        let query = Query::default().option("host", host).with("follow", follow);
        let path = query.after(&of_container(container, "stats"));
        let body = self.open(Method::GET, &path, Bytes::new(), &[], QUESTION).await?;
        Ok(self.pieces(body, sample))
    }

    /// Runs a command inside a container.
    ///
    /// # Errors
    /// As [`Client::inspect`].
    pub async fn exec(
        &self,
        container: &str,
        host: Option<&str>,
        command: &ExecRequest,
    ) -> Result<ExecSession, ClientError> {
        let path = exec::query(command, host).after(&of_container(container, "exec"));
        tokio::time::timeout(QUESTION, ExecSession::open(self, &path))
            .await
            .unwrap_or_else(|_| Err(self.timed_out(QUESTION)))
    }

    /// Returns the images of all hosts, or of those with these names.
    ///
    /// # Errors
    /// As [`Client::containers`].
    pub async fn images(&self, hosts: &[String]) -> Result<Vec<HostImages>, ClientError> {
        let query = hosts.iter().fold(Query::default(), |query, host| query.with("host", host));
        self.call(Method::GET, &query.after("/v1/images"), Bytes::new(), QUESTION).await
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// As [`Client::containers`]; refused with 400 where the image reference is invalid.
    pub async fn pull(&self, request: &PullRequest) -> Result<Pieces<PullUpdate>, ClientError> {
        let address = self.address().to_owned();
        let body = serde_json::to_vec(request).map_err(|source| ClientError::Answer { address, source })?;
        let body = self.open(Method::POST, "/v1/images/pull", body.into(), &[], TIMEOUT).await?;
        Ok(self.pieces(body, line))
    }

    /// Cuts a body into pieces with `take`, which returns nothing until it has more bytes.
    fn pieces<T: Send + 'static>(&self, body: Incoming, take: fn(&mut Vec<u8>) -> Taken<T>) -> Pieces<T> {
        let state = (body.into_data_stream(), Vec::new(), self.address().to_owned());
        futures_util::stream::try_unfold(state, move |(mut body, mut buffer, address)| async move {
            loop {
                match take(&mut buffer) {
                    Ok(Some(Err(why))) => return Err(ClientError::BrokeOff(why)),
                    Ok(Some(Ok(piece))) => return Ok(Some((piece, (body, buffer, address)))),
                    Ok(None) if buffer.len() > MAX_PIECE => {
                        let cause = "a piece is too long".to_owned();
                        return Err(ClientError::Body { address, cause });
                    }
                    Ok(None) => {}
                    Err(source) => return Err(ClientError::Answer { address, source }),
                }
                match body.next().await {
                    Some(Ok(bytes)) => buffer.extend_from_slice(&bytes),
                    Some(Err(error)) => return Err(ClientError::Body { address, cause: plain(&error) }),
                    None => return Ok(None),
                }
            }
        })
        .boxed()
    }
}

/// A piece that was taken from a buffer, if it was there as a whole; or why the rest is missing.
type Taken<T> = Result<Option<Result<T, String>>, serde_json::Error>;

/// Takes a line of JSON.
fn line<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Taken<T> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let rest = buffer.split_off(end + 1);
    let line = std::mem::replace(buffer, rest);
    serde_json::from_slice(&line).map(|value| Some(Ok(value)))
}

/// Takes a line of JSON, the last of which may be an error.
fn sample(buffer: &mut Vec<u8>) -> Taken<Box<RawValue>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Failed {
        error: String,
    }
    let Some(taken) = line::<Box<RawValue>>(buffer)? else { return Ok(None) };
    Ok(Some(taken.and_then(|value| match serde_json::from_str(value.get()) {
        Ok(Failed { error }) => Err(error),
        Err(_) => Ok(value),
    })))
}

/// Takes a frame: its stream, three zeros, its length, its payload.
fn written(buffer: &mut Vec<u8>) -> Taken<Written> {
    let Some((&[stream, _, _, _, a, b, c, d], payload)) = buffer.split_first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let Some(bytes) = payload.get(..length) else { return Ok(None) };
    let piece = Bytes::copy_from_slice(bytes);
    buffer.drain(..8 + length);
    Ok(Some(match stream {
        2 => Ok(Written::Stderr(piece)),
        3 => Err(String::from_utf8_lossy(&piece).into_owned()),
        _ => Ok(Written::Stdout(piece)),
    }))
}

fn of_container(container: &str, verb: &str) -> String {
    let slash = if verb.is_empty() { "" } else { "/" };
    format!("/v1/containers/{}{slash}{verb}", encoded(container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_once_it_is_whole() {
        let mut buffer = b"\x02\0\0\0\0\0\0\x02no\x01\0\0\0\0\0\0\x03y".to_vec();
        assert_eq!(written(&mut buffer).unwrap(), Some(Ok(Written::Stderr(Bytes::from_static(b"no")))));
        assert_eq!(written(&mut buffer).unwrap(), None);
        buffer.extend_from_slice(b"es");
        assert_eq!(written(&mut buffer).unwrap(), Some(Ok(Written::Stdout(Bytes::from_static(b"yes")))));
        assert!(buffer.is_empty());
        let mut lost = b"\x03\0\0\0\0\0\0\x04lost".to_vec();
        assert_eq!(written(&mut lost).unwrap(), Some(Err("lost".to_owned())));
    }

    #[test]
    fn a_line_is_taken_once_it_is_whole() {
        let mut buffer = b"1\n2".to_vec();
        assert_eq!(line::<u8>(&mut buffer).unwrap(), Some(Ok(1)));
        assert_eq!(line::<u8>(&mut buffer).unwrap(), None);
        assert!(line::<u8>(&mut b"x\n".to_vec()).is_err());
        let of = |text: &str| {
            sample(&mut text.as_bytes().to_vec()).unwrap().unwrap().map(|value| value.to_string())
        };
        assert_eq!(of("{\"error\":\"lost\"}\n"), Err("lost".to_owned()));
        assert_eq!(of("{\"error\":\"a\",\"id\":1}\n"), Ok("{\"error\":\"a\",\"id\":1}".to_owned()));
    }

    #[test]
    fn a_containers_name_stays_in_its_place() {
        assert_eq!(of_container("a/b?c", "logs"), "/v1/containers/a%2Fb%3Fc/logs");
        assert_eq!(of_container("web", ""), "/v1/containers/web");
    }
}
