//! A websocket client.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::request::{HttpError, resolve};

/// How long a handshake or an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a websocket failed.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// An invalid URL, or a failed connection.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A protocol error, or a closed connection.
    #[error("websocket failed")]
    Protocol(#[from] Box<tungstenite::Error>),
    /// Nothing arrived in time.
    #[error("nothing came within {LIMIT:?}")]
    Timeout,
    /// The other side closed it.
    #[error("the other side closed the websocket")]
    Closed,
}

/// An open websocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
    /// The container's name from the test server's handshake.
    pub container: Option<String>,
}

impl WebSocket {
    pub(crate) async fn open(runtime: Handle, url: &str, host: &str) -> Result<Self, WebSocketError> {
        let (address, uri) = resolve(url)?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let url = format!("ws://{host}{path}");
        let opened = runtime.spawn(async move {
            tokio::time::timeout(LIMIT, shake_hands(address, url))
                .await
                .unwrap_or(Err(WebSocketError::Timeout))
        });
        opened.await.map_err(|_| HttpError::Gone)?
    }

    /// Sends a text and returns the reply.
    ///
    /// # Errors
    /// Fails if the websocket is closed or broken, or nothing arrives within 10 seconds.
    pub async fn echo(&mut self, text: &str) -> Result<String, WebSocketError> {
        self.stream.send(Message::text(text)).await.map_err(Box::new)?;
        loop {
            let next = tokio::time::timeout(LIMIT, self.stream.next()).await;
            match next.map_err(|_| WebSocketError::Timeout)?.transpose().map_err(Box::new)? {
                Some(Message::Text(text)) => return Ok(text.to_string()),
                Some(Message::Close(_)) | None => return Err(WebSocketError::Closed),
                Some(_) => {}
            }
        }
    }

    /// Closes it with a closing handshake.
    ///
    /// # Errors
    /// Fails if it is already broken.
    pub async fn close(mut self) -> Result<(), WebSocketError> {
        Ok(self.stream.close(None).await.map_err(Box::new)?)
    }
}

async fn shake_hands(address: SocketAddr, url: String) -> Result<WebSocket, WebSocketError> {
    let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
    let request = url.into_client_request().map_err(Box::new)?;
    let (stream, answer) = client_async(request, stream).await.map_err(Box::new)?;
    let container = answer.headers().get("x-container").and_then(|v| v.to_str().ok()).map(Into::into);
    Ok(WebSocket { stream, container })
}
