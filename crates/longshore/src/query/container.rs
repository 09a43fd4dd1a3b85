use std::process::ExitCode;

use anyhow::bail;
use longshore_api::Container;

use super::agent::client;
use super::print_list;
use crate::cli::{ContainerCommand, Inspect};
use crate::output::print;
use crate::table::{Table, Tone, cell, toned, words};

pub(crate) async fn container(command: ContainerCommand) -> anyhow::Result<ExitCode> {
    match command {
        ContainerCommand::Ls(list) => {
            let containers = client(&list.connection)?.containers().await?;
            print_list(&list, &containers, |container| short(&container.id), table, None)?;
        }
        ContainerCommand::Inspect(asked) => inspect(&asked).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(containers: &[Container]) -> Table {
    let rows = containers.iter().map(|container| {
        let addresses: Vec<_> = container.networks.values().filter(|ip| !ip.is_empty()).cloned().collect();
        let health = match container.health.as_str() {
            "healthy" => toned("healthy", Tone::Good),
            "unhealthy" => toned("unhealthy", Tone::Bad),
            "starting" => toned("starting", Tone::Waiting),
            other => cell(other),
        };
        let state = match (container.stopping, container.state.as_str()) {
            (true, _) => toned("stopping", Tone::Waiting),
            (false, "running") => toned("running", Tone::Good),
            (false, "dead") => toned("dead", Tone::Bad),
            (false, other) => cell(other),
        };
        let image = cell(&container.image);
        [cell(short(&container.id)), cell(&container.name), image, state, health, words(&addresses)]
    });
    Table::new(["CONTAINER ID", "NAME", "IMAGE", "STATE", "HEALTH", "ADDRESSES"], rows)
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

async fn inspect(asked: &Inspect) -> anyhow::Result<()> {
    let containers = client(&asked.connection)?.containers().await?;
    let found: Vec<&Container> =
        asked.containers.iter().map(|name| find(&containers, name)).collect::<anyhow::Result<_>>()?;
    print(&serde_json::to_string_pretty(&found)?)
}

/// Returns the container with this name, id, or beginning of an id.
fn find<'a>(containers: &'a [Container], text: &str) -> anyhow::Result<&'a Container> {
    let text = text.strip_prefix('/').unwrap_or(text);
    if let Some(named) = containers.iter().find(|container| container.name == text || container.id == text) {
        return Ok(named);
    }
    let mut begin = containers.iter().filter(|container| !text.is_empty() && container.id.starts_with(text));
    match (begin.next(), begin.next()) {
        (Some(container), None) => Ok(container),
        (Some(_), Some(_)) => bail!("ambiguous ID {text}: several containers' IDs begin with it"),
        (None, _) => {
            bail!("no such container: {text} (see `longshore container ls`)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_its_name_its_id_or_the_beginning_of_it() {
        let container = |id: &str, name: &str| Container {
            id: id.to_owned(),
            name: name.to_owned(),
            image: String::new(),
            state: String::new(),
            health: String::new(),
            stopping: false,
            networks: std::collections::BTreeMap::new(),
            published: Vec::new(),
            labels: std::collections::BTreeMap::new(),
        };
        let all = [container("abc1", "web"), container("abd2", "abc"), container("e3", "db")];
        let found = |text: &str| find(&all, text).map(|container| container.id.clone());
        for (text, id) in [("web", "abc1"), ("/web", "abc1"), ("abd2", "abd2"), ("e", "e3"), ("abc", "abd2")]
        {
            assert_eq!(found(text).unwrap(), id, "{text}");
        }
        assert!(found("ab").unwrap_err().to_string().contains("several"));
        assert!(found("").unwrap_err().to_string().contains("no such container"));
    }
}
