use std::collections::BTreeMap;
use std::path::PathBuf;

/// A handler as written, before validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The absolute path of its file.
    pub file: PathBuf,
    /// The line where it begins, counted from 1, unless it is the whole file.
    pub line: Option<usize>,
    /// Whether the file is an INI file, which scripts and Python plugins read themselves.
    pub is_ini: bool,
    /// Script folders, which a Python plugin searches itself.
    pub script_paths: Vec<PathBuf>,
    /// The keys under `[handler]`, in lower case.
    pub head: BTreeMap<String, Setting>,
    /// The keys under `[params]`, in lower case.
    pub params: BTreeMap<String, Setting>,
}

/// The value of a key, with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// The line, counted from 1, if known.
    pub line: Option<usize>,
}

/// A value as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text; in lists, commas separate the items.
    One(String),
    /// An explicit list, in which commas have no meaning.
    Many(Vec<String>),
}

impl Value {
    /// Returns it as one text, with list items separated by commas.
    pub fn joined(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Many(texts) => texts.join(","),
        }
    }

    /// Returns it as a list without empty items.
    pub(crate) fn list(&self) -> Vec<String> {
        let parts: Vec<&str> = match self {
            Self::One(text) => text.split(',').collect(),
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        };
        parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }
}

/// The result of a search for a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundScript {
    /// A program, by its absolute path.
    At(PathBuf),
    /// A file that the agent may not execute.
    NotExecutable(PathBuf),
    /// Not found.
    Nowhere,
    /// Unknown: the file system of this folder does not respond.
    Unanswered(PathBuf),
}
