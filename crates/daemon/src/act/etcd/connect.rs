//! A connection to one member.

use std::path::Path;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use longshore_runtime::files::{Guard, ReadError, read_soon};
use tokio::time::timeout;

use super::{EtcdError, EtcdSettings};

/// Longest file with a password, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Connects to a member; as a user, where there is one.
pub(super) async fn connect(settings: &EtcdSettings, endpoint: &str) -> Result<Client, EtcdError> {
    let limit = settings.limit;
    let mut options = ConnectOptions::new()
        .with_connect_timeout(limit)
        // A member that is cut off from the others says so, and another is asked.
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if is_tls(settings, endpoint) {
        options = options.with_tls(tls(settings).await?);
    }
    if let Some(user) = &settings.user {
        let file = settings.password_file.as_deref().ok_or(EtcdError::NoPassword)?;
        options = options.with_user(user, password(file).await?);
    }
    let what = "connect";
    match timeout(limit, Client::connect([endpoint], Some(options))).await {
        Ok(connected) => connected.map_err(|source| EtcdError::of_call(what, endpoint, &source)),
        Err(_) => Err(EtcdError::Late { what, endpoint: endpoint.to_owned(), limit }),
    }
}

/// What the URL says; without `http:` or `https:`, whether there are certificates.
fn is_tls(settings: &EtcdSettings, endpoint: &str) -> bool {
    let named = settings.ca.is_some() || settings.identity.is_some();
    endpoint.starts_with("https://") || (named && !endpoint.starts_with("http://"))
}

async fn tls(settings: &EtcdSettings) -> Result<TlsOptions, EtcdError> {
    let mut options = match &settings.ca {
        Some(path) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(path).await?)),
        None => TlsOptions::new().with_enabled_roots(),
    };
    if let Some((certificate, key)) = &settings.identity {
        options = options.identity(Identity::from_pem(read(certificate).await?, read(key).await?));
    }
    Ok(options)
}

/// The password in a file that nobody else can read.
async fn password(path: &Path) -> Result<String, EtcdError> {
    let text = read_soon(path, LONGEST, Guard::Readers).await.map_err(|source| unread(path, source))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn read(path: &Path) -> Result<Vec<u8>, EtcdError> {
    tokio::fs::read(path).await.map_err(|source| unread(path, source.into()))
}

fn unread(path: &Path, source: ReadError) -> EtcdError {
    EtcdError::File { path: path.to_owned(), source }
}
