//! This host's labels: those of the settings, and what was changed since. The changes are the operator's decisions, so
//! they outlive the agent.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::HostInfo;
use longshore_runtime::files;
use tokio::sync::watch;

use crate::config::HostLabel;

/// The file's name in the data directory. It has a JSON object: the values of changed labels, `null` for removed ones.
const FILE: &str = "host-labels.json";
/// How many labels a host may have.
const MAX_LABELS: usize = 256;

/// Labels by their keys.
pub(crate) type Labels = BTreeMap<String, String>;
/// New values by their keys; `None` removes a label.
pub(crate) type LabelChanges = BTreeMap<String, Option<String>>;

/// Why labels are not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabelError {
    /// A key or a value is none.
    #[error(
        "invalid label {0:?}: a key has letters, digits, dots, hyphens, underscores and slashes; neither it nor its value more than 255 bytes"
    )]
    Invalid(String),
    /// There would be too many.
    #[error("a host has at most {MAX_LABELS} labels")]
    TooMany,
    /// They cannot be saved.
    #[error("cannot save the labels")]
    Save(#[source] io::Error),
}

/// The labels of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HostLabels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    /// Those of the settings.
    given: Labels,
    changes: Mutex<LabelChanges>,
    own: watch::Sender<HostInfo>,
}

/// Returns the labels that this host starts with.
pub(crate) fn at_start(data_dir: &Path, given: &Labels) -> Labels {
    effective(given, &read(&data_dir.join(FILE)))
}

impl HostLabels {
    /// Changes the labels in `own`, which has those that [`at_start`] returned.
    pub(crate) fn new(data_dir: &Path, given: Labels, own: watch::Sender<HostInfo>) -> Self {
        let file = data_dir.join(FILE);
        let changes = Mutex::new(read(&file));
        Self(Arc::new(Inner { file, given, changes, own }))
    }

    /// Changes labels, and returns all.
    ///
    /// # Errors
    /// Every variant of [`LabelError`]; nothing changes then.
    pub(crate) fn change(&self, changes: &LabelChanges) -> Result<Labels, LabelError> {
        let Inner { file, given, changes: known, own } = &*self.0;
        for (key, value) in changes {
            let text = format!("{key}={}", value.as_deref().unwrap_or_default());
            let is_label = text.parse::<HostLabel>().is_ok_and(|label| label.key == *key);
            if !is_label {
                return Err(LabelError::Invalid(text));
            }
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = known.clone();
        next.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
        // What the settings say needs no memory.
        next.retain(|key, value| given.get(key) != value.as_ref());
        let labels = effective(given, &next);
        if labels.len() > MAX_LABELS {
            return Err(LabelError::TooMany);
        }
        let json = serde_json::to_vec(&next).map_err(|error| LabelError::Save(error.into()))?;
        files::replace(file, &json).map_err(LabelError::Save)?;
        *known = next;
        own.send_if_modified(|own| std::mem::replace(&mut own.labels, labels.clone()) != labels);
        Ok(labels)
    }
}

fn effective(given: &Labels, changes: &LabelChanges) -> Labels {
    let mut labels = given.clone();
    for (key, value) in changes {
        match value {
            Some(value) => drop(labels.insert(key.clone(), value.clone())),
            None => drop(labels.remove(key)),
        }
    }
    labels
}

fn read(file: &Path) -> LabelChanges {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(file = %file.display(), %error, "cannot read the changed labels of this host");
            }
            return LabelChanges::new();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "damaged: this host has the labels of its settings");
        LabelChanges::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn changes(pairs: &[(&str, Option<&str>)]) -> LabelChanges {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn changes_outlive_the_agent_and_what_the_settings_say_again_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let given = labels(&[("zone", "a"), ("disk", "ssd")]);
        let start = || {
            let info = HostInfo { labels: at_start(dir.path(), &given), ..HostInfo::default() };
            let (own, seen) = watch::channel(info);
            (HostLabels::new(dir.path(), given.clone(), own), seen)
        };
        let (first, seen) = start();
        let expected = labels(&[("zone", "b"), ("rack", "")]);
        let wanted = changes(&[("zone", Some("b")), ("disk", None), ("rack", Some(""))]);
        assert_eq!(first.change(&wanted).unwrap(), expected);
        assert_eq!(seen.borrow().labels, expected);
        let (second, seen) = start();
        assert_eq!(seen.borrow().labels, expected);
        let back = changes(&[("zone", Some("a")), ("disk", Some("ssd")), ("rack", None)]);
        assert_eq!(second.change(&back).unwrap(), given);
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "{}");
    }

    #[test]
    fn an_invalid_label_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (own, seen) = watch::channel(HostInfo::default());
        let host = HostLabels::new(dir.path(), Labels::new(), own);
        for (key, value) in [("", "a"), ("a b", "c"), ("a", "b\n"), ("a=b", "c")] {
            let error = host.change(&changes(&[("good", Some("x")), (key, Some(value))])).unwrap_err();
            assert!(matches!(error, LabelError::Invalid(_)), "{key:?}: {error}");
        }
        let many = (0..=MAX_LABELS).map(|number| (format!("k{number}"), Some(String::new()))).collect();
        assert!(matches!(host.change(&many), Err(LabelError::TooMany)));
        assert!(seen.borrow().labels.is_empty() && !dir.path().join(FILE).exists());
    }

    #[test]
    fn a_damaged_file_leaves_the_labels_of_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "[").unwrap();
        let given = labels(&[("zone", "a")]);
        assert_eq!(at_start(dir.path(), &given), given);
    }
}
