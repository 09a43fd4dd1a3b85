//! The start of a connection to a container through its host's agent: one request, one reply, then the connection's
//! bytes. Each is JSON after its length in two bytes.
//!
//! ```text
//! {"container":"c0ffee…","port":80,"transport":"tcp"}
//! {"refused":"no_route"}
//! ```

use longshore_model::{ContainerId, RelayRefusal, Transport};
use serde::{Deserialize, Serialize};

use crate::facts::container_id;

/// The longest request or reply, in bytes.
pub const MAX_HEAD: usize = 1024;

/// Why a request or a reply cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the start of a relayed connection cannot be read")]
pub struct RelayHeadError;

/// Asks for a connection to a port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRequest {
    /// The container, one of the agent's host.
    pub container: ContainerId,
    /// The port inside the container.
    pub port: u16,
    /// The transport protocol.
    pub transport: Transport,
}

#[derive(Serialize, Deserialize)]
struct RequestRow {
    container: String,
    port: u16,
    transport: TransportRow,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransportRow {
    Tcp,
    Udp,
}

impl RelayRequest {
    /// Returns the request with its length.
    pub fn encode(&self) -> Vec<u8> {
        let container = self.container.as_str().to_owned();
        let transport = match self.transport {
            Transport::Tcp => TransportRow::Tcp,
            Transport::Udp => TransportRow::Udp,
        };
        framed(&RequestRow { container, port: self.port, transport })
    }

    /// Reads a request without its length.
    ///
    /// # Errors
    /// It is not a request.
    pub fn read(bytes: &[u8]) -> Result<Self, RelayHeadError> {
        let row: RequestRow = serde_json::from_slice(bytes).map_err(|_| RelayHeadError)?;
        let container = container_id(&row.container).map_err(|_| RelayHeadError)?;
        let transport = match row.transport {
            TransportRow::Tcp => Transport::Tcp,
            TransportRow::Udp => Transport::Udp,
        };
        Ok(Self { container, port: row.port, transport })
    }
}

/// The answer to a [`RelayRequest`].
pub type RelayReply = Result<(), RelayRefusal>;

#[derive(Default, Serialize, Deserialize)]
struct ReplyRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<RefusalRow>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RefusalRow {
    NoContainer,
    NoRoute,
    NoAddress,
    Refused,
    Unreachable,
    /// A later release's.
    #[serde(other)]
    Unknown,
}

/// Returns a reply with its length.
pub fn encode_reply(reply: RelayReply) -> Vec<u8> {
    let refused = reply.err().map(|refusal| match refusal {
        RelayRefusal::NoContainer => RefusalRow::NoContainer,
        RelayRefusal::NoRoute => RefusalRow::NoRoute,
        RelayRefusal::NoAddress => RefusalRow::NoAddress,
        RelayRefusal::Refused => RefusalRow::Refused,
        RelayRefusal::Unreachable => RefusalRow::Unreachable,
    });
    framed(&ReplyRow { refused })
}

/// Reads a reply without its length.
///
/// # Errors
/// It is not a reply.
pub fn read_reply(bytes: &[u8]) -> Result<RelayReply, RelayHeadError> {
    let row: ReplyRow = serde_json::from_slice(bytes).map_err(|_| RelayHeadError)?;
    Ok(match row.refused {
        None => Ok(()),
        Some(RefusalRow::NoContainer) => Err(RelayRefusal::NoContainer),
        Some(RefusalRow::NoRoute) => Err(RelayRefusal::NoRoute),
        Some(RefusalRow::NoAddress) => Err(RelayRefusal::NoAddress),
        Some(RefusalRow::Refused) => Err(RelayRefusal::Refused),
        Some(RefusalRow::Unreachable | RefusalRow::Unknown) => Err(RelayRefusal::Unreachable),
    })
}

fn framed(row: &impl Serialize) -> Vec<u8> {
    // Text and numbers can always be encoded as JSON, and are far shorter than the length can tell.
    let json = serde_json::to_vec(row).unwrap_or_default();
    let length = u16::try_from(json.len()).unwrap_or_default();
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_fits() {
        let request =
            RelayRequest { container: ContainerId::new("c0ffee"), port: 80, transport: Transport::Udp };
        let bytes = request.encode();
        assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), bytes.len() - 2);
        assert_eq!(RelayRequest::read(&bytes[2..]).unwrap(), request);
        let refusals = [
            RelayRefusal::NoContainer,
            RelayRefusal::NoRoute,
            RelayRefusal::NoAddress,
            RelayRefusal::Refused,
            RelayRefusal::Unreachable,
        ];
        for reply in refusals.map(Err).into_iter().chain([Ok(())]) {
            let bytes = encode_reply(reply);
            assert!(bytes.len() < MAX_HEAD);
            assert_eq!(read_reply(&bytes[2..]).unwrap(), reply);
        }
    }

    #[test]
    fn a_later_releases_words_are_understood_as_far_as_possible_and_rubbish_is_not() {
        assert_eq!(read_reply(br#"{"refused":"too_busy"}"#).unwrap(), Err(RelayRefusal::Unreachable));
        assert_eq!(read_reply(br#"{"through":"eth0"}"#).unwrap(), Ok(()));
        let later = br#"{"container":"a","port":1,"transport":"tcp","colour":"red"}"#;
        assert_eq!(RelayRequest::read(later).unwrap().port, 1);
        for bad in [
            &b""[..],
            b"{}",
            br#"{"container":"a/b","port":1,"transport":"tcp"}"#,
            br#"{"container":"a","port":70000,"transport":"tcp"}"#,
            br#"{"container":"a","port":1,"transport":"sctp"}"#,
        ] {
            assert!(RelayRequest::read(bad).is_err(), "{bad:?}");
        }
        assert!(read_reply(b"yes").is_err());
    }
}
