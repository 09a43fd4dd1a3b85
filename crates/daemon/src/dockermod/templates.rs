//! Templates of containers: bodies of Docker's create request, by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use longshore_api::from_commented_json;
use longshore_runtime::files::{Guard, ReadError, read_soon};
use serde_json::{Map, Value, json};

/// The end of a template's file name.
const SUFFIX: &str = ".json";
/// The template of DockerMod's document, which is there without a file.
const TEST: &str = "test";
/// Maximum length of a template, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// A directory of templates.
#[derive(Clone, Debug)]
pub(crate) struct Templates {
    directory: PathBuf,
}

/// Why there is no such template.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The name is not that of a file in the directory.
    #[error("invalid field template: {0:?} is not the name of a file in the templates' directory")]
    Name(String),
    /// There is no such file.
    #[error("no template {name:?} in {}: the templates are {known}", directory.display())]
    Unknown { name: String, directory: PathBuf, known: String },
    /// The file cannot be read.
    #[error("cannot read the template {}", .0.display())]
    Read(PathBuf, #[source] ReadError),
    /// The file is not JSON.
    #[error("the template {} is not a JSON object", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
}

impl TemplateError {
    /// Returns the HTTP status that says this.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Name(_) => 400,
            Self::Unknown { .. } => 404,
            Self::Read(..) | Self::Json(..) => 500,
        }
    }
}

impl Templates {
    /// Creates the templates of a directory, which need not exist.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Returns a template as it is in its file now.
    pub(crate) async fn get(&self, name: &str) -> Result<Map<String, Value>, TemplateError> {
        if name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(TemplateError::Name(name.to_owned()));
        }
        let path = self.directory.join(format!("{name}{SUFFIX}"));
        match read_soon(&path, MAX_LENGTH, Guard::Writers).await {
            Ok(text) => from_commented_json(&text).map_err(|error| TemplateError::Json(path, error)),
            Err(error) if !error.is_absence() => Err(TemplateError::Read(path, error)),
            Err(_) if name == TEST => Ok(test()),
            Err(_) => {
                let known = Vec::from_iter(self.names().await).join(", ");
                let directory = self.directory.clone();
                Err(TemplateError::Unknown { name: name.to_owned(), directory, known })
            }
        }
    }

    async fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::from([TEST.to_owned()]);
        let Ok(mut entries) = tokio::fs::read_dir(&self.directory).await else { return names };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            names.extend(name.filter(|name| !name.starts_with('.')).map(str::to_owned));
        }
        names
    }
}

/// Returns the template `test`: its container is shown in DockerMod's document.
fn test() -> Map<String, Value> {
    let fields = [
        ("Image", json!("ubuntu")),
        ("Cmd", json!(["/bin/ping", "8.8.8.8"])),
        ("Hostname", json!("TESTNODE")),
        ("AttachStdout", json!(true)),
        ("AttachStderr", json!(true)),
        ("OpenStdin", json!(true)),
        ("Tty", json!(true)),
        ("ExposedPorts", json!({ "22/tcp": {}, "80/tcp": {} })),
        ("HostConfig", json!({ "PublishAllPorts": true })),
    ];
    fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(files: &[(&str, &str)]) -> (tempfile::TempDir, Templates) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let templates = Templates::new(dir.path());
        (dir, templates)
    }

    #[tokio::test]
    async fn a_template_is_its_file_with_comments_and_all_fields() {
        let text = "{\"Image\": \"a\", // ours\n \"X\": [1, null]}";
        let (dir, templates) = templates(&[("web.json", text), ("test.json", "{\"Image\": \"b\"}")]);
        let web = templates.get("web").await.unwrap();
        assert_eq!(Value::Object(web), json!({ "Image": "a", "X": [1, null] }));
        assert_eq!(templates.get("test").await.unwrap()["Image"], "b", "a file goes before the built-in one");
        std::fs::remove_file(dir.path().join("test.json")).unwrap();
        let test = templates.get("test").await.unwrap();
        assert_eq!((&test["Image"], &test["Cmd"]), (&json!("ubuntu"), &json!(["/bin/ping", "8.8.8.8"])));
        assert_eq!(test["HostConfig"]["PublishAllPorts"], true);
    }

    #[tokio::test]
    async fn a_name_that_leaves_the_directory_is_refused() {
        let (_dir, templates) = templates(&[]);
        for name in ["../web", "/etc/web", "a/b", "..", ".web", "a\0"] {
            let error = templates.get(name).await.unwrap_err();
            assert!(matches!(error, TemplateError::Name(_)) && error.status() == 400, "{name:?}: {error}");
        }
    }

    #[tokio::test]
    async fn an_unknown_template_is_answered_with_those_that_exist() {
        let (_dir, templates) = templates(&[("web.json", "{}"), ("db.json", "{}"), ("notes.txt", "")]);
        let error = templates.get("wob").await.unwrap_err();
        assert_eq!(error.status(), 404);
        assert!(error.to_string().ends_with("the templates are db, test, web"), "{error}");
        let none = Templates::new(Path::new("/nonexistent"));
        let error = none.get("web").await.unwrap_err();
        assert!(error.to_string().ends_with("the templates are test"), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_template_is_named() {
        let (_dir, templates) = templates(&[("list.json", "[]"), ("half.json", "{")]);
        for name in ["list", "half"] {
            let error = templates.get(name).await.unwrap_err();
            assert_eq!(error.status(), 500);
            assert!(error.to_string().contains(&format!("{name}.json is not a JSON object")), "{error}");
        }
    }
}
