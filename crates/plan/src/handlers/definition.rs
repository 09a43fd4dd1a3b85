use std::collections::BTreeMap;
use std::path::PathBuf;

/// A handler as somebody wrote it down, before anything of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The file that it stands in, as an absolute path.
    pub file: PathBuf,
    /// The line where it begins, counted from 1, where it is not the whole file.
    pub line: Option<usize>,
    /// Whether the file is an INI file, which scripts and Python plugins read for themselves.
    pub is_ini: bool,
    /// Folders with scripts, which a Python plugin looks in by itself.
    pub script_paths: Vec<PathBuf>,
    /// What stands under `[handler]`: keys in lower case.
    pub head: BTreeMap<String, Said>,
    /// What stands under `[params]`: keys in lower case.
    pub params: BTreeMap<String, Said>,
}

/// The value of a key, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What.
    pub value: Value,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One text, in which commas separate what is a list.
    One(String),
    /// A list by its spelling, in which a comma means nothing.
    Many(Vec<String>),
}

impl Value {
    /// As one text: a list with commas between.
    pub fn joined(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Many(texts) => texts.join(","),
        }
    }

    /// As a list without empty parts.
    pub(crate) fn list(&self) -> Vec<String> {
        let parts: Vec<&str> = match self {
            Self::One(text) => text.split(',').collect(),
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        };
        parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }
}

/// Where a script was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundScript {
    /// A program, by its absolute path.
    At(PathBuf),
    /// A file that the agent may not execute.
    NotExecutable(PathBuf),
    /// Nowhere.
    Nowhere,
    /// It cannot be told: the file system of this folder, where it may be, does not answer.
    Unanswered(PathBuf),
}
