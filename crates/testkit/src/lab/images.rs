//! Images without a registry or a build: a tar of a few files, imported.
//!
//! `busybox:latest` has the static busybox and a link per applet. The test server's image has that program and the
//! libraries it loads, and a name that identifies the build, so that a rebuilt program yields another image.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bollard::query_parameters::CreateImageOptions;
use bollard::{Docker, body_full};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{LabError, command};

/// The name of the busybox image.
pub const BUSYBOX: &str = "busybox:latest";

/// Applets that the busybox image has a link for.
const APPLETS: [&str; 16] = [
    "sh", "cat", "echo", "env", "false", "httpd", "ip", "ls", "nc", "ping", "printf", "ps", "sleep", "true",
    "wget", "kill",
];

/// The build of the test server that was chosen for this process.
static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Chooses the build of the test server, once and for the whole process, before the first host is taken.
pub fn use_test_server(binary: PathBuf) {
    // A second choice would come too late for images that exist.
    let _ = CHOSEN.set(binary);
}

/// Returns the test server's program for the image: the chosen one, else `LONGSHORE_TESTSERVER`, else the one beside
/// the running test.
///
/// # Errors
/// [`LabError::NoTestServer`] if it has not been built.
pub fn test_server_binary() -> Result<PathBuf, LabError> {
    let named = CHOSEN.get().cloned().or_else(|| env::var_os("LONGSHORE_TESTSERVER").map(PathBuf::from));
    let path = named.unwrap_or_else(|| beside_this_program("testserver"));
    if path.is_file() { Ok(path) } else { Err(LabError::NoTestServer(path)) }
}

/// Returns the path of a workspace binary in the profile directory of the running program, which for a test is its
/// `deps`.
pub(crate) fn beside_this_program(name: &str) -> PathBuf {
    let exe = env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("/"));
    let profile =
        if dir.ends_with("deps") || dir.ends_with("examples") { dir.parent().unwrap_or(dir) } else { dir };
    profile.join(name)
}

/// Returns the name of the image that contains this build of the test server.
///
/// # Errors
/// Fails if the program is missing or unreadable.
pub fn test_server() -> Result<String, LabError> {
    let binary = test_server_binary()?;
    let mut hasher = DefaultHasher::new();
    fs::read(&binary).map_err(LabError::file("read", &binary))?.hash(&mut hasher);
    Ok(format!("longshore/testserver:{:016x}", hasher.finish()))
}

/// Imports both images on a host of the lab, unless they exist.
pub(super) async fn provide(docker: &Docker, host: &str) -> Result<(), LabError> {
    import(docker, host, BUSYBOX, &["CMD [\"sh\"]"], busybox_tar).await?;
    provide_test_server(docker, host).await
}

/// Imports the test server's image into the machine's own Docker, unless it exists; returns its name.
///
/// # Errors
/// Fails if it is not built, or Docker returns an error.
pub async fn provide_to(docker: &Docker) -> Result<String, LabError> {
    provide_test_server(docker, "this machine").await?;
    test_server()
}

async fn provide_test_server(docker: &Docker, host: &str) -> Result<(), LabError> {
    let changes = ["ENTRYPOINT [\"/testserver\"]", "EXPOSE 80/tcp"];
    import(docker, host, &test_server()?, &changes, async || test_server_tar().await).await
}

async fn import(
    docker: &Docker,
    host: &str,
    image: &str,
    changes: &[&str],
    tar: impl AsyncFnOnce() -> Result<Vec<u8>, LabError>,
) -> Result<(), LabError> {
    if docker.inspect_image(image).await.is_ok() {
        return Ok(());
    }
    let (repo, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let options = CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(repo.into()),
        tag: Some(tag.into()),
        changes: changes.iter().map(|&c| c.into()).collect(),
        ..Default::default()
    };
    let body = body_full(Bytes::from(tar().await?));
    let progress = docker.create_image(Some(options), Some(body), None);
    let imported = progress.try_collect::<Vec<_>>().await;
    imported.map(drop).map_err(|source| LabError::Docker {
        host: host.into(),
        verb: format!("import {image}"),
        source,
    })
}

async fn busybox_tar() -> Result<Vec<u8>, LabError> {
    let mut tar = Tar::default();
    let found = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|p| p.is_file());
    tar.file(found.unwrap_or(Path::new("/bin/busybox")), "bin/busybox")?;
    for applet in APPLETS {
        tar.link(&format!("bin/{applet}"), "busybox")?;
    }
    tar.finish()
}

async fn test_server_tar() -> Result<Vec<u8>, LabError> {
    let binary = test_server_binary()?;
    let mut tar = Tar::default();
    tar.file(&binary, "testserver")?;
    for library in libraries(&binary).await? {
        let name = library.strip_prefix("/").unwrap_or(&library).to_string_lossy().into_owned();
        tar.file(&library, &name)?;
    }
    tar.finish()
}

/// Returns the libraries that a program loads, including the loader, as `ldd` finds them.
async fn libraries(binary: &Path) -> Result<BTreeSet<PathBuf>, LabError> {
    let said = command::run("ldd", &[binary]).await?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

struct Tar(tar::Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Tar {
    fn file(&mut self, path: &Path, name: &str) -> Result<(), LabError> {
        let content = fs::read(path).map_err(LabError::file("read", path))?;
        let mut header = header(tar::EntryType::Regular, 0o755);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, name, content.as_slice()).map_err(LabError::file("pack", path))
    }

    fn link(&mut self, name: &str, target: &str) -> Result<(), LabError> {
        let mut header = header(tar::EntryType::Symlink, 0o777);
        header.set_size(0);
        self.0.append_link(&mut header, name, target).map_err(LabError::file("pack", name))
    }

    fn finish(self) -> Result<Vec<u8>, LabError> {
        self.0.into_inner().map_err(LabError::file("pack", "the image"))
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}
