//! Clients for what runs in the lab, from inside a host's namespace: single requests, loads, websockets.

mod answer;
mod load;
mod request;
mod websocket;

pub use answer::{Answer, Echo};
pub use load::{Connections, Load, LoadReport, Running, quantile};
pub use request::{HttpError, RequestBuilder};
pub use websocket::{WebSocket, WebSocketError};
