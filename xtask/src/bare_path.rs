//! A `PATH` with nothing but Rust, the C compiler and coreutils.
//!
//! The workspace promises to build with these alone. CI's own builds therefore run under this `PATH`: a dependency
//! that needs `protoc`, `cmake` or `pkg-config` fails there, even if they are installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use xtask::steps::read;
use xtask::workspace::{self, Metadata};

/// From the toolchain's own folder.
const RUST: [&str; 7] =
    ["cargo", "rustc", "rustdoc", "rustfmt", "cargo-fmt", "cargo-clippy", "clippy-driver"];

/// The C compiler and what it runs.
const C: [&str; 6] = ["cc", "gcc", "ld", "as", "ar", "ranlib"];

/// The coreutils that a build script may run.
const COREUTILS: [&str; 34] = [
    "basename", "cat", "chmod", "cp", "cut", "date", "dirname", "echo", "env", "expr", "false", "head",
    "install", "ln", "ls", "mkdir", "mktemp", "mv", "nproc", "od", "printf", "pwd", "readlink", "realpath",
    "rm", "rmdir", "sort", "tail", "tee", "test", "touch", "tr", "true", "uname",
];

/// Returns a command for the cargo that runs this, in the workspace's root, under the bare `PATH`.
pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<Command> {
    let folder = Metadata::read()?.target_directory.join("bare-path");
    lay_out(&folder)?;
    let mut command = workspace::cargo(arguments);
    command.env("PATH", folder).env_remove("PROTOC").env_remove("PKG_CONFIG_PATH");
    Ok(command)
}

/// Recreates the folder, so that it contains nothing else.
fn lay_out(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    let sysroot = read(Command::new("rustc").args(["--print", "sysroot"]))?;
    let toolchain = Path::new(sysroot.trim()).join("bin");
    for name in RUST {
        let program = toolchain.join(name);
        ensure!(
            program.is_file(),
            "{name} is missing in {}: `rustup component add` installs it",
            toolchain.display()
        );
        symlink(program, folder.join(name))?;
    }
    for name in C.into_iter().chain(COREUTILS) {
        let Some(program) = find(name) else { continue };
        symlink(program, folder.join(name))?;
    }
    ensure!(folder.join("cc").exists(), "there is no C compiler: on Debian, `apt-get install gcc libc6-dev`");
    Ok(())
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_path_compiles_c_and_rust_and_has_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        lay_out(&bin).unwrap();
        lay_out(&bin).unwrap();
        let known = |name: &str| RUST.contains(&name) || C.contains(&name) || COREUTILS.contains(&name);
        for entry in fs::read_dir(&bin).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(known(&name), "{name}");
        }
        let works = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(bin.join(program));
            let output =
                command.args(arguments).env("PATH", &bin).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        fs::write(folder.path().join("a.c"), "int main(void) { return 0; }").unwrap();
        works("cc", &["a.c", "-o", "a"]);
        fs::write(folder.path().join("b.rs"), "fn main() {}").unwrap();
        works("rustc", &["b.rs"]);
    }
}
