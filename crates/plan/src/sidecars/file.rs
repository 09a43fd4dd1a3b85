//! The sidecar file: compose-like YAML, or a template that renders it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use longshore_model::{Container, ImageReference, Problem, Subject};
use minijinja::value::{Serde, Value as Data};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::definition::{Definition, MAX_SIDECARS};
use super::reader::{Reader, is_name, texts};
use super::yaml::{self, Node, Value};
use crate::claim::quoted;

/// The most steps that a template may take: a hostile loop ends in milliseconds.
const FUEL: u64 = 1_000_000;

/// The name of the template inside its environment.
const NAME: &str = "sidecars";

/// A file that was read.
#[derive(Clone, Debug)]
pub struct SidecarFile {
    path: String,
    dir: PathBuf,
    environment: BTreeMap<String, String>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Plain(Definitions),
    /// A template, rendered for each main.
    Template(Box<Environment<'static>>),
}

/// The definitions in a file, or in its rendering for one main.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Definitions {
    /// Images, parsed if they are valid references, with their sidecars in order.
    services: Vec<(String, Option<ImageReference>, Vec<String>)>,
    sidecars: BTreeMap<String, Definition>,
}

impl SidecarFile {
    /// Reads the text of the file at `path`. Variables without a value take theirs from `environment`. A
    /// problem with one sidecar costs only that sidecar; an error means that nothing in the file can be used.
    ///
    /// # Errors
    /// The text is not YAML or, as a template, not Jinja2.
    pub fn read(
        path: &Path,
        text: &str,
        environment: BTreeMap<String, String>,
    ) -> Result<(Self, Vec<Problem>), Problem> {
        let shown = path.display().to_string();
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let is_template = ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark));
        if is_template {
            let jinja = template(text).map_err(|error| of_template(&shown, &error))?;
            let content = Content::Template(Box::new(jinja));
            return Ok((Self { path: shown, dir, environment, content }, Vec::new()));
        }
        let mut parsing = Parsing {
            path: &shown,
            for_main: None,
            dir: &dir,
            environment: &environment,
            problems: Vec::new(),
        };
        let definitions = parsing.definitions(text)?;
        let problems = parsing.problems;
        Ok((Self { path: shown, dir, environment, content: Content::Plain(definitions) }, problems))
    }

    /// Returns whether the file is a template, rendered for each main.
    pub fn is_template(&self) -> bool {
        matches!(self.content, Content::Template(_))
    }

    /// Returns the environment that variables without a value take theirs from.
    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Returns a main's sidecars, including their dependencies, and the problems. A template is rendered with
    /// the main's inspection as `data`, the name of its first network as `network`, and the names of all its
    /// networks as `networks`; without an inspection, these three are undefined.
    ///
    /// # Errors
    /// A template fails or does not render YAML.
    pub fn sidecars_of(
        &self,
        main: &Container,
        inspection: Option<&serde_json::Value>,
    ) -> Result<(BTreeMap<String, Definition>, Vec<Problem>), Problem> {
        match &self.content {
            Content::Plain(definitions) => {
                let mut problems = Vec::new();
                Ok((definitions.of(main, &self.path, &mut problems), problems))
            }
            Content::Template(environment) => {
                let failed = |error: minijinja::Error| for_main(of_template(&self.path, &error), main);
                let template = environment.get_template(NAME).map_err(failed)?;
                let data = inspection.map(|data| {
                    let networks: Vec<String> = main.networks.keys().cloned().collect();
                    let network = first_network(main).map(str::to_owned);
                    minijinja::context! { data => Serde(data), network, networks }
                });
                let text = template.render(data.unwrap_or(Data::UNDEFINED)).map_err(failed)?;
                let mut parsing = Parsing {
                    path: &self.path,
                    for_main: Some(main),
                    dir: &self.dir,
                    environment: &self.environment,
                    problems: Vec::new(),
                };
                let definitions = parsing.definitions(&text)?;
                let mut problems = Vec::new();
                let found = definitions.of(main, &self.path, &mut problems);
                // Problems with the sidecars of others in the rendering are not reported here.
                if definitions.services.iter().any(|service| service.is_of(main)) {
                    problems.extend(parsing.problems);
                }
                Ok((found, problems))
            }
        }
    }
}

/// Returns the first network of a container.
fn first_network(main: &Container) -> Option<&str> {
    let named = main.networks.get_key_value(&main.network_mode);
    named.or_else(|| main.networks.iter().next()).map(|(name, _)| name.as_str())
}

fn template(text: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_template_owned(NAME, text.to_owned())?;
    Ok(environment)
}

fn of_template(path: &str, error: &minijinja::Error) -> Problem {
    let message = match error.detail() {
        Some(detail) => format!("the template fails: {}: {}", error.kind(), quoted(detail)),
        None => format!("the template fails: {}", error.kind()),
    };
    Problem {
        subject: Subject::File { path: path.to_owned(), line: error.line() },
        key: None,
        message,
        hint: None,
    }
}

fn for_main(mut problem: Problem, main: &Container) -> Problem {
    problem.message = format!("{} (for the main container {})", problem.message, main.name);
    problem
}

impl Definitions {
    fn of(&self, main: &Container, path: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, Definition> {
        let services = self.services.iter().filter(|service| service.is_of(main));
        let mut open: Vec<&str> = services.flat_map(|(_, _, names)| names).map(String::as_str).collect();
        let mut seen = BTreeSet::new();
        let mut found = BTreeMap::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            // A name missing from the file is a compose service, or was reported when the file was read.
            let Some(definition) = self.sidecars.get(name) else { continue };
            open.extend(definition.needs().map(|(needed, _)| needed));
            found.insert(name.to_owned(), definition.clone());
        }
        if found.len() > MAX_SIDECARS {
            problems.push(Problem {
                subject: Subject::File { path: path.to_owned(), line: None },
                key: Some("services".to_owned()),
                message: format!("{} has more than {} sidecars: none is created", main.name, MAX_SIDECARS),
                hint: None,
            });
            found.clear();
        }
        found
    }
}

trait Service {
    fn is_of(&self, main: &Container) -> bool;
}

impl Service for (String, Option<ImageReference>, Vec<String>) {
    fn is_of(&self, main: &Container) -> bool {
        let (text, reference, _) = self;
        *text == main.image || reference.as_ref().is_some_and(|key| names(key, &main.image))
    }
}

/// Returns whether a key matches an image: without a tag it matches any tag; an image without a tag is
/// `latest`.
fn names(key: &ImageReference, image: &str) -> bool {
    let Ok(image) = image.parse::<ImageReference>() else { return false };
    if (&key.registry, &key.repository) != (&image.registry, &image.repository) {
        return false;
    }
    let digest = key.digest.as_ref().is_none_or(|digest| image.digest.as_ref() == Some(digest));
    let tag = key.tag.as_ref().is_none_or(|tag| {
        let default = if image.digest.is_none() { Some("latest") } else { None };
        image.tag.as_deref().or(default) == Some(tag)
    });
    digest && tag
}

/// The parsing of one text.
struct Parsing<'a> {
    path: &'a str,
    /// The main that the text was rendered for: the lines are then not those of the file.
    for_main: Option<&'a Container>,
    dir: &'a Path,
    environment: &'a BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Parsing<'_> {
    fn problem(&self, line: Option<usize>, key: Option<String>, message: String) -> Problem {
        let line = line.filter(|line| *line > 0 && self.for_main.is_none());
        let subject = Subject::File { path: self.path.to_owned(), line };
        let problem = Problem { subject, key, message, hint: None };
        match self.for_main {
            Some(main) => for_main(problem, main),
            None => problem,
        }
    }

    fn tell(&mut self, line: usize, key: String, message: String) {
        let problem = self.problem(Some(line), Some(key), message);
        self.problems.push(problem);
    }

    fn definitions(&mut self, text: &str) -> Result<Definitions, Problem> {
        let root = yaml::read(text).map_err(|malformed| {
            let message = format!("invalid YAML: {}", quoted(&malformed.message));
            self.problem(malformed.line, None, message)
        })?;
        let mut found = Definitions::default();
        let mut lost = BTreeSet::new();
        let mut services = Vec::new();
        for (key, line, value) in
            top(&root).map_err(|message| self.problem(Some(root.line), None, message))?
        {
            match key {
                "services" => services.push(value),
                "sidecars" | "slaves" => self.sidecars(key, value, &mut found.sidecars, &mut lost),
                "version" => {}
                _ if key.starts_with("x-") => {}
                _ => {
                    let message = "unknown key: ignored; expected services or sidecars".to_owned();
                    self.tell(line, key.chars().take(120).collect(), message);
                }
            }
        }
        for value in services {
            self.services(value, &mut found, &lost);
        }
        Ok(found)
    }

    fn sidecars(
        &mut self,
        section: &str,
        node: &Node,
        found: &mut BTreeMap<String, Definition>,
        lost: &mut BTreeSet<String>,
    ) {
        let Value::Map(entries) = &node.value else {
            if !matches!(node.value, Value::Null) {
                self.tell(
                    node.line,
                    section.to_owned(),
                    format!("it is {}, not a map of sidecars", node.kind()),
                );
            }
            return;
        };
        for entry in entries {
            let place = format!("{section}.{}", entry.key.chars().take(100).collect::<String>());
            if !is_name(&entry.key) {
                let message = "the name is not letters, digits, '_', '.' and '-': the sidecar is not created";
                self.tell(entry.line, place, message.to_owned());
                continue;
            }
            let mut reader = Reader {
                dir: Some(self.dir),
                environment: Some(self.environment),
                by_label: false,
                flaws: Vec::new(),
            };
            let definition = reader.definition(&entry.value);
            for flaw in reader.flaws {
                let key = if flaw.key.is_empty() { place.clone() } else { format!("{place}.{}", flaw.key) };
                let then = if flaw.fatal { ": the sidecar is not created" } else { "" };
                let line = if flaw.line == 0 { entry.line } else { flaw.line };
                self.tell(line, key, format!("{}{then}", flaw.message));
            }
            match definition {
                Some(definition) => {
                    if found.insert(entry.key.clone(), definition).is_some() {
                        self.tell(entry.line, place, "defined twice: the last definition counts".to_owned());
                    }
                }
                None => {
                    lost.insert(entry.key.clone());
                }
            }
        }
    }

    fn services(&mut self, node: &Node, found: &mut Definitions, lost: &BTreeSet<String>) {
        let Value::Map(entries) = &node.value else {
            if !matches!(node.value, Value::Null) {
                let message = format!("it is {}, not a map of images", node.kind());
                self.tell(node.line, "services".to_owned(), message);
            }
            return;
        };
        for entry in entries {
            let place = format!("services.{}", entry.key.chars().take(200).collect::<String>());
            let reference = entry.key.parse::<ImageReference>();
            if let Err(error) = &reference {
                self.tell(entry.line, place.clone(), format!("{error}: it matches no container"));
                continue;
            }
            let mut names = Vec::new();
            for (key, line, value) in top(&entry.value).unwrap_or_default() {
                match (key, texts(value)) {
                    ("sidecars" | "slaves", Ok(more)) => {
                        names.extend(more.into_iter().map(|name| (line, name)));
                    }
                    ("sidecars" | "slaves", Err(message)) => {
                        self.tell(line, format!("{place}.{key}"), message);
                    }
                    _ => self.tell(
                        line,
                        format!("{place}.{}", key.chars().take(100).collect::<String>()),
                        "unknown key: ignored; expected sidecars, a list of names".to_owned(),
                    ),
                }
            }
            if !matches!(entry.value.value, Value::Map(_)) {
                self.tell(
                    entry.line,
                    place.clone(),
                    "expected sidecars, a list of names, below it".to_owned(),
                );
            }
            for (line, name) in &names {
                if !found.sidecars.contains_key(name) && !lost.contains(name) {
                    self.tell(*line, place.clone(), format!("no such sidecar: {}", quoted(name)));
                }
            }
            let names = names.into_iter().map(|(_, name)| name).collect();
            found.services.push((entry.key.clone(), reference.ok(), names));
        }
    }
}

/// Returns the entries of a map with their lines.
fn top(node: &Node) -> Result<Vec<(&str, usize, &Node)>, String> {
    match &node.value {
        Value::Map(entries) => Ok(entries.iter().map(|e| (e.key.as_str(), e.line, &e.value)).collect()),
        Value::Null => Ok(Vec::new()),
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            Err(format!("it is {}, not a map of services and sidecars", node.kind()))
        }
    }
}
