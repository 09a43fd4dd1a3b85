//! Certificates for servers that require client certificates.

use std::path::Path;

use super::{LabError, command};

const CERTIFICATES: &str = r#"
set -e
cd "$0"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab-ca -keyout ca-key.pem -out ca.pem
for end in server client; do
  openssl req -newkey rsa:2048 -nodes -subj /CN=$end -keyout $end-key.pem -out $end.csr
  printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > $end.ext
  openssl x509 -req -days 2 -in $end.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile $end.ext -out $end.pem
done
"#;

/// Creates a certificate authority (`ca.pem`), and a certificate with its key for each end (`server.pem`,
/// `server-key.pem`, `client.pem`, `client-key.pem`) in this folder, for the address 127.0.0.1.
///
/// # Errors
/// Fails if openssl fails.
pub async fn certificates(folder: &Path) -> Result<(), LabError> {
    command::run("sh", &["-c", CERTIFICATES, &folder.display().to_string()]).await.map(drop)
}
