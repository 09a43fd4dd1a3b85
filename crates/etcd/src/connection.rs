//! A connection to one endpoint.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::error::{Error, chain};
use crate::message::{AuthenticateRequest, AuthenticateResponse};
use crate::settings::{Credentials, Settings, User};

/// The interval of keepalive pings while a watch waits. etcd closes connections that ping more often than every 5 s.
const PING: Duration = Duration::from_secs(10);

/// The largest answer accepted, in bytes. etcd's own limit for one value is 1.5 MiB by default.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

const CONNECT: &str = "connect";

/// A connection, and its user's token. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    /// The endpoint as it was configured, and its place in the list.
    pub(crate) endpoint: Arc<str>,
    pub(crate) index: usize,
    /// Distinguishes this connection from earlier ones.
    pub(crate) serial: u64,
}

impl Connection {
    /// Connects, and logs the user in if there is one.
    pub(crate) async fn open(
        settings: &Settings,
        endpoint: &str,
        index: usize,
        serial: u64,
    ) -> Result<Self, Error> {
        let limit = settings.timeout;
        let timed_out = || Error::TimedOut { action: CONNECT, endpoint: endpoint.to_owned(), limit };
        let opened = async {
            let credentials = settings.access.load().await.map_err(Error::Access)?;
            let configured = configured(endpoint, &credentials, limit)?;
            let unreachable =
                |error: tonic::transport::Error| Error::of_transport(CONNECT, endpoint.to_owned(), &error);
            let channel = configured.connect().await.map_err(unreachable)?;
            let mut connection = Self { channel, token: None, endpoint: endpoint.into(), index, serial };
            if let Some(user) = credentials.user {
                connection.token = connection.log_in(endpoint, user).await?;
            }
            Ok(connection)
        };
        timeout(limit, opened).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Returns the user's token; `None` if etcd has no users.
    async fn log_in(&self, endpoint: &str, user: User) -> Result<Option<MetadataValue<Ascii>>, Error> {
        let request = AuthenticateRequest { name: user.name, password: user.password };
        let answer = self.clone().unary("/etcdserverpb.Auth/Authenticate", request).await;
        match answer {
            Ok(AuthenticateResponse { token }) => {
                let unusable = |_| Error::Unavailable {
                    action: "log in",
                    endpoint: endpoint.to_owned(),
                    why: "its token is not printable ASCII".to_owned(),
                };
                token.parse().map(Some).map_err(unusable)
            }
            Err(status)
                if status.code() == Code::FailedPrecondition && status.message().contains("not enabled") =>
            {
                Ok(None)
            }
            Err(status) => Err(Error::of_status("log in", endpoint, &status)),
        }
    }

    /// Sends a request and returns the answer.
    pub(crate) async fn unary<Q, A>(self, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.request(question);
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::default();
        Ok(grpc.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
    }

    /// Sends a request on a stream that stays open, and returns the first answer and the stream of those that follow.
    pub(crate) async fn stream<Q, A>(
        self,
        path: &'static str,
        question: Q,
    ) -> Result<(A, Streaming<A>), Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let request = self.request(stream::iter([question]).chain(stream::pending()));
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::default();
        let mut answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner();
        let first = answers.message().await?;
        let first = first.ok_or_else(|| Status::unavailable("the stream ended without an answer"))?;
        Ok((first, answers))
    }

    async fn ready(self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel).max_decoding_message_size(MAX_ANSWER);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }

    fn request<T>(&self, content: T) -> Request<T> {
        let mut request = Request::new(content);
        // A member that has lost its leader reports that at once, rather than when the request times out.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

/// Returns the configured connection settings of an endpoint.
fn configured(endpoint: &str, credentials: &Credentials, limit: Duration) -> Result<Endpoint, Error> {
    let invalid = || Error::InvalidEndpoint { endpoint: endpoint.to_owned() };
    let is_tls = match endpoint.split_once("://") {
        Some(("https", _)) => true,
        Some(("http", _)) => false,
        Some(_) => return Err(invalid()),
        None => credentials.ca.is_some() || credentials.identity.is_some(),
    };
    let url = match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("{}://{endpoint}", if is_tls { "https" } else { "http" }),
    };
    let configured = Endpoint::from_shared(url).map_err(|_| invalid())?;
    if configured.uri().host().is_none_or(str::is_empty) {
        return Err(invalid());
    }
    let configured = configured
        .connect_timeout(limit)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(limit);
    if !is_tls {
        return Ok(configured);
    }
    let broken = |why: String| Error::Tls { endpoint: endpoint.to_owned(), why };
    let tls = tls(credentials).map_err(broken)?;
    configured.tls_config(tls).map_err(|error| broken(chain(&error)))
}

fn tls(credentials: &Credentials) -> Result<ClientTlsConfig, String> {
    let mut tls = match &credentials.ca {
        Some(ca) if has_certificate(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        Some(_) => return Err("the CA file holds no PEM certificate".to_owned()),
        None => machines_roots(),
    };
    if let Some(identity) = &credentials.identity {
        if !has_certificate(&identity.certificate) {
            return Err("the file of the client certificate holds no PEM certificate".to_owned());
        }
        tls = tls.identity(Identity::from_pem(&identity.certificate, &identity.key));
    }
    Ok(tls)
}

/// Returns the authorities that this machine trusts; Mozilla's if it has no list of its own, as in an empty container
/// image. A list that the environment names counts even if it cannot be read.
fn machines_roots() -> ClientTlsConfig {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    let tls = ClientTlsConfig::new();
    if named || !rustls_native_certs::load_native_certs().certs.is_empty() {
        tls.with_native_roots()
    } else {
        tls.with_webpki_roots()
    }
}

fn has_certificate(pem: &[u8]) -> bool {
    let begin = b"-----BEGIN CERTIFICATE-----";
    pem.windows(begin.len()).any(|window| window == begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    fn uri(endpoint: &str, credentials: &Credentials) -> String {
        match configured(endpoint, credentials, Duration::from_secs(1)) {
            Ok(endpoint) => endpoint.uri().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_https_where_there_are_certificates() {
        let plain = Credentials::default();
        assert_eq!(uri("10.0.0.2:2379", &plain), "http://10.0.0.2:2379/");
        assert_eq!(uri("https://etcd", &plain), "https://etcd/");
        let ca = Some(b"-----BEGIN CERTIFICATE-----".to_vec());
        let certified = Credentials { ca, ..Credentials::default() };
        assert!(uri("http://10.0.0.2:2379", &certified).starts_with("http://"));
    }

    #[test]
    fn an_endpoint_that_is_not_a_url_is_refused_with_the_form_that_is_expected() {
        for endpoint in ["", "unix:///run/etcd.sock", "http://", "http://a b", "ftp://a"] {
            let text = uri(endpoint, &Credentials::default());
            assert!(text.contains("expected http://HOST:PORT or https://HOST:PORT"), "{endpoint}: {text}");
        }
    }

    #[test]
    fn files_that_hold_no_certificate_are_named() {
        let empty = Credentials { ca: Some(Vec::new()), ..Credentials::default() };
        assert!(uri("https://a", &empty).contains("the CA file holds no PEM certificate"));
        let identity = settings::Identity { certificate: b"x".to_vec(), key: b"y".to_vec() };
        let empty = Credentials { identity: Some(identity), ..Credentials::default() };
        assert!(uri("https://a", &empty).contains("client certificate holds no PEM certificate"));
    }
}
