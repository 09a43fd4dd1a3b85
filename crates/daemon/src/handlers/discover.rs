use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_model::{BalanceJob, Handler, HandlerSet, Job, Problem, Subject};
use longshore_plan::handlers::{Definition, define, read_ini};
use longshore_runtime::files::{self, Guard};

use super::scripts;
use crate::config::HandlerSettings;

/// How long a handler's file may be, in bytes.
const LENGTH: u64 = 1024 * 1024;

/// What the first enabled handler that keeps a HAProxy asks for.
pub(super) fn balance_job(set: &HandlerSet) -> Option<BalanceJob> {
    set.handlers.values().filter(|handler| handler.enabled).find_map(|handler| match &handler.job {
        Job::Balance(job) => Some(job.clone()),
        _ => None,
    })
}

/// Reads all definitions. `before` is what the last look came to.
pub(super) fn discover(settings: &HandlerSettings, before: &HandlerSet) -> HandlerSet {
    let mut found = Discovery { settings, before, set: HandlerSet::default(), places: BTreeMap::new() };
    for definition in &settings.inline {
        found.take(&definition.name, &definition.file, |_| Ok(definition.clone()));
    }
    let mut looked_at = BTreeSet::new();
    for folder in &settings.paths {
        let Ok(folder) = std::path::absolute(folder) else { continue };
        if looked_at.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())) {
            found.folder(&folder);
        }
    }
    found.set
}

struct Discovery<'a> {
    settings: &'a HandlerSettings,
    before: &'a HandlerSet,
    set: HandlerSet,
    /// Where each name was found first.
    places: BTreeMap<String, PathBuf>,
}

impl Discovery<'_> {
    fn tell(&mut self, file: &Path, message: String, hint: Option<&str>) {
        let subject = Subject::File { path: shown(file), line: None };
        self.set.problems.push(Problem { subject, key: None, message, hint: hint.map(str::to_owned) });
    }

    /// The files of a folder, in order of their names. A folder that is not there has none.
    fn folder(&mut self, folder: &Path) {
        let names = match ini_files(folder) {
            Ok(names) => names,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return,
            Err(error) => {
                let message = format!("its handlers cannot be looked for, and go on as they were: {error}");
                self.tell(folder, message, None);
                let of_folder = |handler: &&Arc<Handler>| handler.origin.file.parent() == Some(folder);
                for handler in self.before.handlers.values().filter(of_folder) {
                    self.take(&handler.name.clone(), &handler.origin.file, |_| Err(Unread::Told));
                }
                return;
            }
        };
        for file_name in names {
            let file = folder.join(&file_name);
            let name = file.file_stem().and_then(OsStr::to_str);
            match name.filter(|name| !name.chars().any(char::is_control)) {
                Some(name) => self.take(name, &file, |file| read(name, file)),
                None => {
                    let message = "its name is no UTF-8 or has control characters".to_owned();
                    self.tell(&file, message, Some("rename it"));
                }
            }
        }
    }

    /// One definition.
    fn take(&mut self, name: &str, file: &Path, read: impl FnOnce(&Path) -> Result<Definition, Unread>) {
        if let Some(place) = self.places.get(name) {
            let message =
                format!("there is a handler {name:?} already, in {}: this one does nothing", shown(place));
            self.tell(file, message, Some("give it another name"));
            return;
        }
        let handler = match read(file) {
            Ok(definition) => {
                let script_paths = self.settings.script_paths.clone();
                let definition = Definition { script_paths, ..definition };
                let find = |script: &str| scripts::find(&definition.script_paths, script);
                let (handler, problems) = define(&definition, find);
                // Without a problem it is only switched off.
                let broken = handler.is_none() && !problems.is_empty();
                self.set.problems.extend(problems);
                if broken { Err(()) } else { Ok(handler) }
            }
            Err(Unread::Gone) => return,
            Err(Unread::Told) => Err(()),
            Err(Unread::Broken(problems)) => {
                self.set.problems.extend(problems);
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
                self.set.broken.insert(name.to_owned());
                let old = old.filter(|old| old.origin.file == file).cloned();
                if old.is_some() {
                    self.tell(file, format!("handler {name:?} goes on as it was read last"), None);
                }
                old
            }
        };
        self.set.handlers.extend(counts.map(|handler| (name.to_owned(), handler)));
    }
}

/// Why there is no definition.
enum Unread {
    /// The file was removed meanwhile.
    Gone,
    /// It is known already.
    Told,
    /// It is no such file.
    Broken(Vec<Problem>),
    /// The file is not read at all: why.
    Refused(String),
}

/// The names of a folder's INI files, in order. Hidden ones do not count: editors leave such behind.
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
    let text = files::read(file, LENGTH, Guard::Writers).map_err(|error| match error {
        absence if absence.is_absence() => Unread::Gone,
        error => Unread::Refused(format!("it is not read: {error}")),
    })?;
    read_ini(name, file, &text).map_err(Unread::Broken)
}

/// A path for a line of the log.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
