//! The sidecars file: watched, read again, and passed to the plan.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore_model::{Problem, Subject};
use longshore_plan::sidecars::{SidecarFile, SidecarPlan};
use longshore_runtime::files::{Guard, Watched, read_soon, unwatched};
use tokio::sync::watch as signal;

use crate::config::ReloadableSettings;

/// Longest file that is read, in bytes; the plan rejects longer ones.
pub(crate) const MAX_FILE: u64 = 2 * 1024 * 1024;

/// The file, if there is one.
pub(super) struct Source {
    path: Option<PathBuf>,
    /// Its last content, unless it could not be read.
    text: Option<String>,
    problems: Vec<Problem>,
    unwatched: Option<Problem>,
    is_outdated: bool,
    files: Watched,
    /// Changes whenever the agent reloads its settings; the file is then read again, too.
    reloads: signal::Receiver<ReloadableSettings>,
}

impl Source {
    pub(super) fn new(path: Option<&Path>, reloads: signal::Receiver<ReloadableSettings>) -> Self {
        let path = path.map(|path| std::path::absolute(path).unwrap_or(path.to_owned()));
        Self {
            is_outdated: path.is_some(),
            path,
            text: None,
            problems: Vec::new(),
            unwatched: None,
            files: Watched::default(),
            reloads,
        }
    }

    /// Returns what is wrong with the file, and with watching it.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(&self.unwatched)
    }

    /// Resolves when the file must be read again. Cancel-safe.
    pub(super) async fn outdated(&mut self) {
        tokio::select! {
            () = self.files.changed(), if self.path.is_some() => self.is_outdated = true,
            Ok(()) = self.reloads.changed() => self.is_outdated = true,
            else => std::future::pending().await,
        }
    }

    /// Reads the file again if it may have changed. Returns the environment files that must be read again with
    /// it.
    pub(super) async fn refresh(&mut self, plan: &mut SidecarPlan) -> BTreeSet<String> {
        if !std::mem::take(&mut self.is_outdated) {
            return BTreeSet::new();
        }
        let variables = self.watch(plan).await;
        self.read(plan).await;
        variables
    }

    /// Watches the file and the environment files before reading any of them. Returns the latter.
    pub(super) async fn watch(&mut self, plan: &mut SidecarPlan) -> BTreeSet<String> {
        let variables = plan.env_files();
        if let Some(path) = &self.path {
            let paths = variables.iter().map(PathBuf::from).chain([path.clone()]).collect();
            let error = self.files.aim(paths).await;
            self.unwatched = error.map(|error| unwatched(&path.display().to_string(), "sidecars", &error));
        }
        variables
    }

    /// Passes the file's content to the plan, if it changed. While the file cannot be read, its last content
    /// stays in force.
    async fn read(&mut self, plan: &mut SidecarPlan) {
        let Some(path) = self.path.clone() else { return };
        let text = match read_soon(&path, MAX_FILE, Guard::Writers).await {
            Ok(text) => text,
            Err(error) => {
                plan.file_unread();
                self.text = None;
                self.problems = vec![Problem {
                    subject: Subject::File { path: path.display().to_string(), line: None },
                    key: None,
                    message: format!("cannot be read: {error}"),
                    hint: Some("the last version that was read stays in force; fix the file".to_owned()),
                }];
                return;
            }
        };
        if self.text.as_ref() == Some(&text) {
            return;
        }
        let own = std::env::vars_os();
        let own = own.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        match SidecarFile::read(&path, &text, own.collect()) {
            Ok((file, problems)) => {
                tracing::info!(file = %path.display(), "sidecars file loaded");
                plan.file_read(file);
                self.problems = problems;
            }
            Err(mut problem) => {
                problem.hint = Some("the last version that was read stays in force".to_owned());
                plan.file_unread();
                self.problems = vec![problem];
            }
        }
        self.text = Some(text);
    }
}
