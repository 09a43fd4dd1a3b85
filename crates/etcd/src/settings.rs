//! etcd's endpoints and credentials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

/// Why credentials could not be loaded.
pub type AccessError = Box<dyn std::error::Error + Send + Sync>;

/// How to reach etcd.
#[derive(Clone)]
pub struct Settings {
    /// The endpoints in the order in which they are tried: `http://HOST:PORT` or `https://HOST:PORT`. Without a
    /// scheme, `https` is assumed if there is a CA or a client certificate, else `http`.
    pub endpoints: Vec<String>,
    /// The source of credentials for each new connection.
    pub access: Arc<dyn Access>,
    /// The timeout of one answer, and of one connection attempt, per endpoint.
    pub timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, access: _, timeout } = self;
        f.debug_struct("Settings")
            .field("endpoints", endpoints)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// Supplies credentials. Called for each new connection, so that rotated passwords and certificates are picked up.
pub trait Access: Send + Sync {
    /// Loads the credentials.
    fn load(&self) -> BoxFuture<'_, Result<Credentials, AccessError>>;
}

/// The certificates and user of a connection. The default has neither TLS settings nor a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// PEM certificates of the authorities that may have signed etcd's certificate. If `None`, those that the machine
    /// trusts.
    pub ca: Option<Vec<u8>>,
    /// The client's own certificate.
    pub identity: Option<Identity>,
    /// The user whose permissions apply.
    pub user: Option<User>,
}

impl Access for Credentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, AccessError>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

/// A client certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate chain, PEM.
    pub certificate: Vec<u8>,
    /// Its private key, PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity { .. }")
    }
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let credentials = Credentials {
            ca: None,
            identity: Some(Identity { certificate: b"cert".to_vec(), key: b"hush".to_vec() }),
            user: Some(User { name: "ann".into(), password: "hush".into() }),
        };
        let shown = format!("{credentials:?} {:?}", b"hush");
        assert!(shown.contains("ann") && !format!("{credentials:?}").contains("hush"), "{shown}");
        assert!(!format!("{credentials:?}").contains("104, 117, 115, 104"), "{shown}");
    }
}
