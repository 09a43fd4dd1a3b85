//! One run of the program: what it is given, and what it must come to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use longshore_testkit::TestResult;

/// A run of the program in the making.
pub(crate) struct Longshore {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    output: Stdio,
    errors: Stdio,
    user: Option<u32>,
    dir: tempfile::TempDir,
}

/// What a run came to.
pub(crate) struct Ran {
    line: String,
    output: Output,
}

impl Longshore {
    /// Creates the program with these arguments, separated by spaces.
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

    /// Creates one more argument, as it is.
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Called through a link of this name.
    pub(crate) fn link(mut self, name: &str) -> Self {
        let link = self.dir.path().join(name);
        std::os::unix::fs::symlink(&self.program, &link).expect("a link");
        self.program = link;
        self
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// With a settings file, which `LONGSHORE_CONFIG` names.
    pub(crate) fn settings(self, text: &str) -> Self {
        let path = self.write("longshore.toml", text);
        self.env("LONGSHORE_CONFIG", path)
    }

    /// Returns a file in the run's own directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// With its standard output there.
    pub(crate) fn stdout(mut self, output: impl Into<Stdio>) -> Self {
        self.output = output.into();
        self
    }

    /// With its standard error there.
    pub(crate) fn stderr(mut self, errors: impl Into<Stdio>) -> Self {
        self.errors = errors.into();
        self
    }

    /// As another user, who finds the program outside the build's folders.
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

    /// Runs it, and waits for its end.
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

    /// It must end with this exit code.
    pub(crate) fn code(self, code: i32) -> Self {
        let shown = || format!("{}\n{}{}", self.line, self.stdout(), self.stderr());
        assert_eq!(self.output.status.code(), Some(code), "{}", shown());
        self
    }

    /// Returns its standard output must have this part.
    pub(crate) fn prints(self, part: &str) -> Self {
        assert!(self.stdout().contains(part), "{part:?} is not printed by {}\n{}", self.line, self.stdout());
        self
    }

    /// Returns its standard error must have this part.
    pub(crate) fn complains(self, part: &str) -> Self {
        assert!(self.stderr().contains(part), "{part:?} is no complaint of {}\n{}", self.line, self.stderr());
        self
    }

    /// Returns its standard error must not have this part.
    pub(crate) fn never_complains(self, part: &str) -> Self {
        assert!(!self.stderr().contains(part), "{part:?} is a complaint of {}\n{}", self.line, self.stderr());
        self
    }

    /// Ends a test.
    pub(crate) fn ok(self) -> TestResult {
        Ok(())
    }
}

/// Returns a file that takes nothing: `/dev/full`.
pub(crate) fn full() -> Stdio {
    std::fs::OpenOptions::new().write(true).open(Path::new("/dev/full")).expect("/dev/full").into()
}

/// Returns the end of a pipe that nobody reads.
pub(crate) fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}
