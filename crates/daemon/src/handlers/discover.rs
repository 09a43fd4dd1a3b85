use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_model::{BalanceJob, BrokenHandler, Handler, HandlerSet, Job, Origin, Problem, Subject};
use longshore_plan::handlers::{Definition, FollowerClass, define, read_ini};
use longshore_runtime::files::{self, Guard};

use super::followers::classes;
use super::scripts;
use crate::config::HandlerSettings;

/// Longest handler file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Returns the job of the first enabled handler that maintains a HAProxy.
pub(super) fn balance_job(set: &HandlerSet) -> Option<BalanceJob> {
    set.handlers.values().filter(|handler| handler.enabled).find_map(|handler| match &handler.job {
        Job::Balance(job) => Some(job.clone()),
        _ => None,
    })
}

/// The result of reading the files.
#[derive(Default)]
pub(super) struct Found {
    /// The handlers.
    pub(super) set: HandlerSet,
    /// Absolute paths of scripts that definitions name: these must be watched as well as the folders.
    pub(super) scripts: BTreeSet<PathBuf>,
    /// The folders that were read, each with its number of files; `None` if it does not exist.
    pub(super) folders: Vec<(PathBuf, Option<usize>)>,
}

/// Reads all definitions. `before` is the previous result.
pub(super) fn discover(settings: &HandlerSettings, before: &HandlerSet) -> Found {
    let classes = classes();
    let (found, places) = (Found::default(), BTreeMap::new());
    let mut discovery = Discovery { settings, before, classes: &classes, found, places };
    for definition in &settings.inline {
        discovery.take(&definition.name, &definition.file, |_| Ok(definition.clone()));
    }
    let mut looked_at = BTreeSet::new();
    for folder in &settings.paths {
        let Ok(folder) = std::path::absolute(folder) else { continue };
        let of_folder = folder.clone();
        let real = files::within_time(&folder, move || of_folder.canonicalize());
        if looked_at.insert(real.and_then(|real| real).unwrap_or_else(|_| folder.clone())) {
            let count = discovery.folder(&folder);
            discovery.found.folders.push((folder, count));
        }
    }
    discovery.found
}

struct Discovery<'a> {
    settings: &'a HandlerSettings,
    before: &'a HandlerSet,
    classes: &'a [&'a FollowerClass],
    found: Found,
    /// Where each name was first found.
    places: BTreeMap<String, PathBuf>,
}

impl Discovery<'_> {
    fn tell(&mut self, file: &Path, message: String, hint: Option<&str>) {
        let subject = Subject::File { path: shown(file), line: None };
        self.found.set.problems.push(Problem { subject, key: None, message, hint: hint.map(str::to_owned) });
    }

    /// Reads the files of a folder, ordered by name. Returns how many there are; `None` if the folder does not
    /// exist.
    fn folder(&mut self, folder: &Path) -> Option<usize> {
        let of_folder = folder.to_owned();
        let listed = files::within_time(folder, move || ini_files(&of_folder));
        let names = match listed.and_then(|names| names) {
            Ok(names) => names,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return None,
            Err(error) => {
                let message = format!("cannot list its handlers, which stay as they are: {error}");
                self.tell(folder, message, None);
                let of_folder = |handler: &&Arc<Handler>| handler.origin.file.parent() == Some(folder);
                for handler in self.before.handlers.values().filter(of_folder) {
                    self.take(&handler.name.clone(), &handler.origin.file, |_| Err(Unread::Reported));
                }
                return Some(0);
            }
        };
        let count = names.len();
        for file_name in names {
            let file = folder.join(&file_name);
            let name = file.file_stem().and_then(OsStr::to_str);
            match name.filter(|name| !name.chars().any(char::is_control)) {
                Some(name) => self.take(name, &file, |file| read(name, file)),
                None => {
                    let message = "its name is not UTF-8 or has control characters".to_owned();
                    self.tell(&file, message, Some("rename it"));
                }
            }
        }
        Some(count)
    }

    /// Reads one definition.
    fn take(&mut self, name: &str, file: &Path, read: impl FnOnce(&Path) -> Result<Definition, Unread>) {
        if let Some(place) = self.places.get(name) {
            let message = format!(
                "handler {name:?} is already defined in {}: this definition is ignored",
                shown(place)
            );
            self.tell(file, message, Some("give it another name"));
            return;
        }
        let known = self.found.set.problems.len();
        let handler = match read(file) {
            Ok(definition) => {
                let script_paths = self.settings.script_paths.clone();
                let definition = Definition { script_paths, ..definition };
                let named = RefCell::new(BTreeSet::new());
                let find = |script: &str| {
                    named.borrow_mut().extend(Some(PathBuf::from(script)).filter(|path| path.is_absolute()));
                    scripts::find(&definition.script_paths, script)
                };
                let (handler, problems) = define(&definition, self.classes, find);
                self.found.scripts.extend(named.into_inner());
                // Without a problem it is only disabled.
                let broken = handler.is_none() && !problems.is_empty();
                self.found.set.problems.extend(problems);
                if broken { Err(()) } else { Ok(handler) }
            }
            Err(Unread::Gone) => return,
            Err(Unread::Reported) => Err(()),
            Err(Unread::Broken(problems)) => {
                self.found.set.problems.extend(problems);
                Err(())
            }
            Err(Unread::Refused(message)) => {
                self.tell(file, message, None);
                Err(())
            }
        };
        self.places.insert(name.to_owned(), file.to_owned());
        let old = self.before.handlers.get(name);
        let counts = match handler {
            Ok(handler) => handler.map(|handler| match old {
                Some(old) if **old == handler => Arc::clone(old),
                _ => Arc::new(handler),
            }),
            Err(()) => {
                let broken = broken(file, self.found.set.problems.get(known));
                self.found.set.broken.insert(name.to_owned(), broken);
                let old = old.filter(|old| old.origin.file == file).cloned();
                if old.is_some() {
                    self.tell(file, format!("handler {name:?} keeps its last good definition"), None);
                }
                old
            }
        };
        self.found.set.handlers.extend(counts.map(|handler| (name.to_owned(), handler)));
    }
}

/// Returns the entry of an invalid handler: its file and what is wrong with it.
fn broken(file: &Path, problem: Option<&Problem>) -> BrokenHandler {
    let line = match problem.map(|problem| &problem.subject) {
        Some(Subject::File { line, .. }) => *line,
        _ => None,
    };
    let error =
        problem.map_or_else(|| "its folder cannot be listed".to_owned(), |problem| problem.message.clone());
    BrokenHandler { origin: Origin { file: file.to_owned(), line }, error }
}

/// Why there is no definition.
enum Unread {
    /// The file has been removed.
    Gone,
    /// It has already been reported.
    Reported,
    /// It is not a valid handler file.
    Broken(Vec<Problem>),
    /// The file is not read at all, for this reason.
    Refused(String),
}

/// Returns the names of a folder's INI files, in order. Skips hidden files, which editors leave behind.
fn ini_files(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_ini = Path::new(&name).extension() == Some(OsStr::new("ini"));
        if is_ini && !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read(name: &str, file: &Path) -> Result<Definition, Unread> {
    let text = files::read_within_time(file, MAX_FILE, Guard::Writers).map_err(|error| match error {
        absence if absence.is_absence() => Unread::Gone,
        error => Unread::Refused(format!("not read: {error}")),
    })?;
    read_ini(name, file, &text).map_err(Unread::Broken)
}

/// Formats a path for the log.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
