use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use longshore_api::HostImages;
use serde::{Deserialize, Serialize};

use super::agent::client;
use super::{print_list, pull};
use crate::INCOMPLETE;
use crate::bytes::decimal;
use crate::cli::{ImageCommand, ImageList};
use crate::output::complain;
use crate::table::{Table, cell};

/// One name of an image on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Image {
    host: String,
    repository: String,
    tag: String,
    id: String,
    /// RFC 3339 in UTC.
    created_at: String,
    /// In bytes.
    size: u64,
}

/// Docker's list, reduced to what is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Listed {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    created: u64,
    size: u64,
}

pub(crate) async fn image(command: ImageCommand) -> anyhow::Result<ExitCode> {
    match command {
        ImageCommand::Ls(asked) => list(&asked).await,
        ImageCommand::Pull(asked) => pull::pull(asked).await,
    }
}

async fn list(asked: &ImageList) -> anyhow::Result<ExitCode> {
    let hosts = client(&asked.list.connection)?.images(&asked.host).await?;
    let mut all = Vec::new();
    for host in &hosts {
        all.extend(images(host)?);
    }
    let now = SystemTime::now();
    print_list(&asked.list, &all, |image| short(&image.id), |images| table(images, now), None)?;
    let failures: Vec<&String> = hosts.iter().filter_map(|host| host.error.as_ref()).collect();
    for failure in &failures {
        complain(&format!("longshore: {failure}"));
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// Returns a host's images, one for each name.
fn images(host: &HostImages) -> anyhow::Result<Vec<Image>> {
    let listed: Vec<Listed> = match &host.images {
        Some(images) => serde_json::from_str(images.get())?,
        None => Vec::new(),
    };
    let named = listed.into_iter().flat_map(|image| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(image.created);
        let created_at = humantime::format_rfc3339_seconds(at).to_string();
        names(&image).into_iter().map(move |(repository, tag)| Image {
            host: host.host.clone(),
            repository,
            tag,
            id: image.id.clone(),
            created_at: created_at.clone(),
            size: image.size,
        })
    });
    Ok(named.collect())
}

/// Returns the repositories and tags of an image. Docker shows one without a name as `<none>`.
fn names(image: &Listed) -> Vec<(String, String)> {
    let none = || "<none>".to_owned();
    let tags = image.repo_tags.iter().flatten().filter_map(|name| name.rsplit_once(':'));
    let tags: Vec<_> = tags.map(|(name, tag)| (name.to_owned(), tag.to_owned())).collect();
    if !tags.is_empty() {
        return tags;
    }
    let digest = image.repo_digests.iter().flatten().find_map(|name| name.split_once('@'));
    vec![(digest.map_or_else(none, |(name, _)| name.to_owned()), none())]
}

fn short(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn table(images: &[Image], now: SystemTime) -> Table {
    let rows = images.iter().map(|image| {
        [
            cell(&image.host),
            cell(&image.repository),
            cell(&image.tag),
            cell(short(&image.id)),
            cell(super::status::ago(&image.created_at, now)),
            cell(decimal(image.size)),
        ]
    });
    Table::new(["HOST", "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Terminal;

    #[test]
    fn an_image_is_shown_once_for_each_name_on_each_host() {
        let docker = r#"[
            {"Id":"sha256:0123456789abcdef","RepoTags":["r.test:5000/a:1","b:2"],"Created":1700000000,"Size":4260000},
            {"Id":"sha256:ff","RepoTags":null,"RepoDigests":["c@sha256:ee"],"Created":1700000000,"Size":1},
            {"Id":"sha256:dd","RepoTags":[],"Created":1700000000,"Size":1}
        ]"#;
        let images_of = serde_json::from_str(docker).unwrap();
        let host = HostImages { host: "h1".to_owned(), images: Some(images_of), error: None };
        let all = images(&host).unwrap();
        let names: Vec<_> = all.iter().map(|image| (image.repository.as_str(), image.tag.as_str())).collect();
        assert_eq!(names, [("r.test:5000/a", "1"), ("b", "2"), ("c", "<none>"), ("<none>", "<none>")]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 3600);
        let text = table(&all, now).render(Terminal::default());
        let row = text.lines().nth(1).unwrap_or_default();
        assert!(row.contains("0123456789ab") && row.contains("1h ago") && row.ends_with("4.26MB"), "{text}");
    }
}
