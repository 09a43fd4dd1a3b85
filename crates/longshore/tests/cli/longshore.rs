//! One run of the program: its input, and the expected outcome.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use longshore_testkit::TestResult;

/// A run of the program being prepared.
pub(crate) struct Longshore {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    output: Stdio,
    errors: Stdio,
    user: Option<u32>,
    dir: tempfile::TempDir,
}

/// The outcome of a run.
pub(crate) struct Ran {
    line: String,
    output: Output,
}

impl Longshore {
    /// Creates a run of the program with these arguments, separated by spaces.
    pub(crate) fn new(arguments: &str) -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_longshore").into(),
            arguments: arguments.split_whitespace().map(OsString::from).collect(),
            variables: Vec::new(),
            output: Stdio::piped(),
            errors: Stdio::piped(),
            user: None,
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Adds one more argument, as it is.
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Calls the program through a link of this name.
    pub(crate) fn link(mut self, name: &str) -> Self {
        let link = self.dir.path().join(name);
        std::os::unix::fs::symlink(&self.program, &link).expect("a link");
        self.program = link;
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Writes a settings file, which `LONGSHORE_CONFIG` names.
    pub(crate) fn settings(self, text: &str) -> Self {
        let path = self.write("longshore.toml", text);
        self.env("LONGSHORE_CONFIG", path)
    }

    /// Writes a file to the run's own directory; returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Redirects standard output.
    pub(crate) fn stdout(mut self, output: impl Into<Stdio>) -> Self {
        self.output = output.into();
        self
    }

    /// Redirects standard error.
    pub(crate) fn stderr(mut self, errors: impl Into<Stdio>) -> Self {
        self.errors = errors.into();
        self
    }

    /// Runs as another user, with the program outside the build's folders.
    pub(crate) fn user(mut self, user: u32) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let copy = self.dir.path().join("longshore");
        std::fs::copy(&self.program, &copy).expect("a copy");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.dir.path(), open).expect("an open directory");
        self.program = copy;
        self.user = Some(user);
        self
    }

    /// Runs the program, and waits for its end.
    pub(crate) fn run(self) -> Ran {
        use std::os::unix::process::CommandExt;
        let line = format!("{} {:?}", self.program.display(), self.arguments);
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("LONGSHORE_") || name.starts_with("DOCKER_") {
                command.env_remove(&*name);
            }
        }
        command.args(&self.arguments).envs(self.variables).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(self.output).stderr(self.errors);
        if let Some(user) = self.user {
            command.uid(user);
        }
        let output = command.spawn().and_then(std::process::Child::wait_with_output).expect(&line);
        Ran { line, output }
    }
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Asserts this exit code.
    pub(crate) fn code(self, code: i32) -> Self {
        let shown = || format!("{}\n{}{}", self.line, self.stdout(), self.stderr());
        assert_eq!(self.output.status.code(), Some(code), "{}", shown());
        self
    }

    /// Asserts that standard output has this part.
    pub(crate) fn prints(self, part: &str) -> Self {
        assert!(self.stdout().contains(part), "{part:?} is not printed by {}\n{}", self.line, self.stdout());
        self
    }

    /// Asserts that standard error has this part.
    pub(crate) fn complains(self, part: &str) -> Self {
        assert!(self.stderr().contains(part), "{part:?} is no complaint of {}\n{}", self.line, self.stderr());
        self
    }

    /// Asserts that standard error does not have this part.
    pub(crate) fn never_complains(self, part: &str) -> Self {
        assert!(!self.stderr().contains(part), "{part:?} is a complaint of {}\n{}", self.line, self.stderr());
        self
    }

    /// Ends a test.
    pub(crate) fn ok(self) -> TestResult {
        Ok(())
    }
}

/// Opens a file that accepts no data: `/dev/full`.
pub(crate) fn full() -> Stdio {
    std::fs::OpenOptions::new().write(true).open(Path::new("/dev/full")).expect("/dev/full").into()
}

/// Returns the write end of a pipe without a reader.
pub(crate) fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}
