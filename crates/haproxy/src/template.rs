//! Renders the configuration from Jinja2 templates.
//!
//! A template is searched for in the settings' directories first, then among the built-in ones, of which there is
//! one: `haproxy.cfg.j2`. A custom template may extend it (even under the same name), or stand alone. Available
//! variables:
//!
//! | variable | value |
//! |---|---|
//! | `routes` | list, in order of port, protocol, host and prefix: `port`, `protocol` (`http`, `tcp`), `host` (`example.com`, `*.example.com`, `*`), `prefix` (no outer slashes; empty for all paths), `strip_prefix` (bool), `backend` (its name in the built-in layout), `upstreams` |
//! | `routes[].upstreams` | list, in order of container ids: `container` (name), `id` (12 digits), `address` (`ip:port`), `ip`, `port`, `weight` (0 to 256) |
//! | `frontends` | list of the ports that are listened on: `name`, `protocol`, `port`, `binds` (what goes after `bind`), `map` (HTTP: the map's file), `backend` (TCP) |
//! | `backends` | list: `name`, `protocol`, `servers` (`name`, `address`, `weight`) |
//! | `description` | the fingerprint of everything that only a reload changes |
//! | `socket` | the stats socket to declare |
//! | `stats` | address of the statistics page, or none |
//! | `trusted` | the networks of trusted proxies, `10.0.0.0/8`; often empty |
//! | `user`, `group`, `threads` | or none |
//! | `log` | where the access log goes (`/dev/log local0`), or none |
//! | `lua`, `wildcard_labels`, `dropped_headers`, `dropped_response_headers`, `trusted_headers` | for the built-in layout |
//! | `sorted_config_by_port` | Docker Glue's: `{port: [(host, [prefix])]}`, hosts and prefixes longest first, all of them strings; the host is empty for any |
//! | `http_mapping` | Docker Glue's: `http_mapping[port][host][prefix]` is a list of `(ip, weight, strip_prefix)`, strings, the last `'1'` or `'0'` |
//! | `tcp_mapping` | Docker Glue's: `tcp_mapping[port]` is a list of `(ip, weight)` |
//!
//! Docker Glue's three variables have no port but the frontend's: an upstream on another port (`listen`, or a
//! published port of another host) is left out, with a warning. As always, so is a route without upstreams.
//! `re_escape` is a filter, and strings, maps and lists have Python's methods (`format`, `items`, `has_key`,
//! `append`, …). Nothing is escaped: every value was parsed, and contains no character that ends a word of the
//! configuration.
//!
//! If a template's output lacks the built-in layout's `description`, every change of its text is checked, written and
//! reloaded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use longshore_model::{Frontend, Protocol, Route, RouteTable};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, context};

use crate::HaproxyError;
use crate::layout::{Backend, Shape, State, Target, bare, map_key, weight};
use crate::settings::{BUILT_IN, Paths, Settings};
use crate::{docker_glue, headers, python};

/// The built-in template's other name, which no custom template can shadow.
const BUILT_IN_ALWAYS: &str = "built-in/haproxy.cfg.j2";

const BUILT_IN_TEXT: &str = include_str!("haproxy.cfg.j2");

/// The templates, with the settings that they use.
pub(crate) struct Templates {
    environment: Environment<'static>,
    settings: Settings,
    paths: Paths,
}

/// A rendered configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// The fingerprint of the shape, which HAProxy reports as its `description`.
    pub(crate) description: String,
    /// Whether it has the built-in layout, which lets routes change without a reload.
    pub(crate) has_layout: bool,
}

impl Templates {
    pub(crate) fn new(settings: &Settings, paths: &Paths) -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_path_join_callback(|name, parent| match name {
            // A custom template with the default name extends the built-in one, not itself.
            BUILT_IN if parent == BUILT_IN => BUILT_IN_ALWAYS.into(),
            name => name.into(),
        });
        python::install(&mut environment);
        environment.add_filter("re_escape", re_escape);
        let dirs = settings.template_dirs.clone();
        environment.set_loader(move |name| {
            for dir in &dirs {
                if let Some(source) = read(dir, name)? {
                    return Ok(Some(python::rewrite(&source)));
                }
            }
            Ok([BUILT_IN, BUILT_IN_ALWAYS].contains(&name).then(|| BUILT_IN_TEXT.to_owned()))
        });
        Self { environment, settings: settings.clone(), paths: paths.clone() }
    }

    /// Renders the configuration of this state, with the routes of its frontends.
    pub(crate) fn render(&self, state: &State, table: &RouteTable) -> Result<Rendered, HaproxyError> {
        let description = self.description(&state.shape)?;
        let text = self.text(state, table, &description)?;
        let has_layout = text.lines().any(|line| line.trim() == format!("description {description}"));
        Ok(Rendered { text, description, has_layout })
    }

    /// Returns whether the template uses Docker Glue's variables.
    pub(crate) fn uses_docker_glue(&self) -> bool {
        let template = self.environment.get_template(self.settings.template());
        template.is_ok_and(|template| template.source().contains("_mapping"))
    }

    /// Returns the fingerprint of everything that only a reload changes: the text without routes.
    pub(crate) fn description(&self, shape: &Shape) -> Result<String, HaproxyError> {
        let empty = State::lay_out(shape, &RouteTable::default(), None);
        let mut hasher = DefaultHasher::new();
        crate::LUA.hash(&mut hasher);
        self.text(&empty, &RouteTable::default(), "")?.hash(&mut hasher);
        Ok(format!("longshore-{:016x}", hasher.finish()))
    }

    fn text(&self, state: &State, table: &RouteTable, description: &str) -> Result<String, HaproxyError> {
        let name = self.settings.template();
        let fail = |source| HaproxyError::Template { name: name.to_owned(), source };
        let carried = |route: &&Route| state.shape.frontends.contains(&route.key.frontend);
        let routes: Vec<&Route> = table.iter().map(AsRef::as_ref).filter(carried).collect();
        let (user, group) = self.settings.run_as.clone().unzip();
        let own = context! {
            description,
            socket => self.paths.socket.display().to_string(),
            stats => self.settings.stats.filter(|_| state.shape.stats).map(|address| address.to_string()),
            trusted => self.settings.trusted.iter().map(ToString::to_string).collect::<Vec<String>>(),
            user,
            group,
            threads => self.settings.threads,
            wildcard_labels => (1..=state.shape.wildcard_labels).rev().collect::<Vec<usize>>(),
            lua => self.paths.lua.display().to_string(),
            log => self.settings.log.clone(),
            dropped_headers => headers::dropped(),
            dropped_response_headers => headers::dropped_from_responses(),
            trusted_headers => headers::trusted(),
            frontends => state.shape.frontends.iter().map(|f| self.frontend(f)).collect::<Vec<Value>>(),
            backends => backends(state),
            routes => routes.iter().map(|route| route_value(route, state)).collect::<Vec<Value>>(),
        };
        let template = self.environment.get_template(name).map_err(fail)?;
        let mut text =
            template.render(context! { ..own, ..docker_glue::variables(&routes) }).map_err(fail)?;
        // HAProxy treats a last line without a line end as a truncated file.
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    fn frontend(&self, frontend: &Frontend) -> Value {
        let bind = |ip: &IpAddr| match ip {
            // Without this, `::` covers IPv4 too and conflicts with the same port on 0.0.0.0.
            IpAddr::V6(ip) => format!("[{ip}]:{} v6only", frontend.port),
            IpAddr::V4(ip) => format!("{ip}:{}", frontend.port),
        };
        context! {
            name => frontend_name(frontend),
            protocol => frontend.protocol.to_string(),
            port => frontend.port,
            binds => self.settings.bind.iter().map(bind).collect::<Vec<String>>(),
            map => self.paths.map(frontend.port).display().to_string(),
            backend => Backend::Tcp(frontend.port).to_string(),
        }
    }
}

/// Returns the name of a frontend in the built-in layout.
pub(crate) fn frontend_name(frontend: &Frontend) -> String {
    format!("{}_{}", frontend.protocol, frontend.port)
}

/// Parses what [`frontend_name`] writes.
pub(crate) fn parse_frontend_name(text: &str) -> Option<Frontend> {
    text.replacen('_', ":", 1).parse().ok()
}

/// Returns a template's text from a directory. A name that leaves the directory is not found.
fn read(dir: &std::path::Path, name: &str) -> Result<Option<String>, minijinja::Error> {
    let hostile = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\\');
    if name.split('/').any(hostile) {
        return Ok(None);
    }
    let path = dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!("cannot read {}", path.display());
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message).with_source(error))
        }
    }
}

fn backends(state: &State) -> Vec<Value> {
    let slots = (1..=state.shape.pool).map(Backend::Slot);
    let tcp = state.shape.frontends.iter().filter(|frontend| frontend.protocol == Protocol::Tcp);
    slots
        .chain(tcp.map(|frontend| Backend::Tcp(frontend.port)))
        .map(|backend| backend_value(backend, state))
        .collect()
}

fn backend_value(backend: Backend, state: &State) -> Value {
    let servers = state.servers.get(&backend).into_iter().flatten().filter(|(_, server)| server.serving);
    let server = |(name, server): (&String, &crate::layout::Server)| {
        context! { name, address => bare(server.address).to_string(), weight => server.weight }
    };
    let protocol = match backend {
        Backend::Slot(_) => Protocol::Http,
        Backend::Tcp(_) => Protocol::Tcp,
    };
    context! {
        name => backend.to_string(),
        protocol => protocol.to_string(),
        servers => servers.map(server).collect::<Vec<Value>>(),
    }
}

fn route_value(route: &Route, state: &State) -> Value {
    let port = route.key.frontend.port;
    let slot = |target: &Target| Backend::Slot(target.slot);
    let backend = match route.key.frontend.protocol {
        Protocol::Http => state.maps.get(&port).and_then(|map| map.get(&map_key(&route.key))).map(slot),
        Protocol::Tcp | Protocol::Udp => Some(Backend::Tcp(port)),
    };
    let upstream = |upstream: &longshore_model::Upstream| {
        let address = upstream.way.direct()?;
        Some(context! {
            container => upstream.name.as_str(),
            id => upstream.container.id.short(),
            address => bare(address).to_string(),
            ip => address.ip().to_string(),
            port => address.port(),
            weight => weight(route, upstream),
        })
    };
    context! {
        port,
        protocol => route.key.frontend.protocol.to_string(),
        host => route.key.host.to_string(),
        prefix => route.key.prefix.as_str(),
        strip_prefix => route.strip_prefix,
        backend => backend.map(|backend| backend.to_string()),
        upstreams => route.upstreams.iter().filter_map(upstream).collect::<Vec<Value>>(),
    }
}

/// Implements Python's `re.escape`.
fn re_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::fixture::{at, route, table};
    use crate::settings::Mode;

    fn templates(dir: Option<&Path>, file: Option<&str>) -> Templates {
        let mut settings = Settings::new(Mode::Own { dir: PathBuf::from("/d") });
        settings.run_as = None;
        settings.template_dirs = dir.map(Path::to_owned).into_iter().collect();
        settings.template_file = file.map(str::to_owned);
        let paths = Paths::of(&settings.mode).unwrap();
        Templates::new(&settings, &paths)
    }

    fn render(templates: &Templates, table: &RouteTable) -> Result<Rendered, HaproxyError> {
        let frontends = table.iter().map(|route| route.key.frontend).collect();
        let shape = Shape { frontends, pool: 3, stats: true, wildcard_labels: 4 };
        templates.render(&State::lay_out(&shape, table, None), table)
    }

    fn with_template(text: &str, table: &RouteTable) -> Result<Rendered, HaproxyError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("own.j2"), text).unwrap();
        render(&templates(Some(dir.path()), Some("own.j2")), table)
    }

    #[test]
    fn the_fingerprint_follows_the_shape_and_not_the_routes() {
        let templates = templates(None, None);
        let one = render(&templates, &table(&[("http:80 a.com/", &[1])])).unwrap();
        let two = render(&templates, &table(&[("http:80 b.com/p", &[1, 2]), ("http:80 */", &[])])).unwrap();
        let three = render(&templates, &table(&[("http:81 a.com/", &[1])])).unwrap();
        assert!(one.has_layout);
        assert_eq!(one.description, two.description);
        assert_ne!(one.text, two.text);
        assert_ne!(one.description, three.description);
    }

    #[test]
    fn a_template_that_extends_the_built_in_one_keeps_its_layout() {
        let text =
            "{% extends 'haproxy.cfg.j2' %}{% block global_extra %}\n    tune.bufsize 32768{% endblock %}";
        let rendered = with_template(text, &table(&[("http:80 a.com/", &[1])])).unwrap();
        assert!(rendered.has_layout);
        assert!(rendered.text.contains("\n    tune.bufsize 32768\n"));
    }

    #[test]
    fn the_constructs_of_docker_glues_templates_render() {
        let text = "\
{% block content %}{% for port, hosts in sorted_config_by_port.items() %}F {{port}}
{% for host, prefixes in hosts %}{% set acl = \"{0}_{1}_host\".format(host, loop.index) %}H {{acl}}
{% for prefix in prefixes %}P {{ \"be_{0}_{1}_{2}\".format(port, host, loop.index) }} {{prefix | re_escape}}\
{% if http_mapping[port][host][prefix][0][2]=='1' %} strip{% endif %}
{% for ip, weight, strip_prefix in http_mapping[port][host][prefix] %}S {{loop.index}} {{ip}}:{{port}} {{weight}}
{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% for port, servers in tcp_mapping.items() %}T {{port}}\
{% for ip, weight in servers %} {{ip}} {{weight}}{% endfor %}
{% endfor %}{% endblock content %}
";
        let up = |address: &str| at(address.parse().unwrap(), "7");
        let table: RouteTable = [
            route("http:80 a.com/", vec![up("10.0.0.1:80")]),
            route("http:80 a.com/x.y strip", vec![up("10.0.0.1:80"), up("10.0.0.3:80"), up("10.0.0.4:8080")]),
            route("http:80 longer.com/", vec![up("10.0.0.5:80")]),
            route("http:80 */", vec![up("10.0.0.5:80")]),
            route("http:80 empty.com/", vec![]),
            route("tcp:5432", vec![up("10.0.0.2:5432")]),
        ]
        .into_iter()
        .collect();
        let rendered = with_template(text, &table).unwrap();
        assert!(!rendered.has_layout);
        let lines: Vec<&str> = rendered.text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "F 80",
                "H longer.com_1_host",
                "P be_80_longer.com_1 ",
                "S 1 10.0.0.5:80 7",
                "H a.com_2_host",
                "P be_80_a.com_1 x\\.y strip",
                "S 1 10.0.0.1:80 7",
                "S 2 10.0.0.3:80 7",
                "P be_80_a.com_2 ",
                "S 1 10.0.0.1:80 7",
                "H _3_host",
                "P be_80__1 ",
                "S 1 10.0.0.5:80 7",
                "T 5432 10.0.0.2 7",
            ]
        );
        assert_eq!(docker_glue::lacking(&table).len(), 1);
    }

    #[test]
    fn a_template_of_the_default_name_may_extend_the_built_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "{% extends 'haproxy.cfg.j2' %}{% block defaults_extra %}\n    option contstats{% endblock %}";
        std::fs::write(dir.path().join("haproxy.cfg.j2"), text).unwrap();
        let rendered =
            render(&templates(Some(dir.path()), None), &table(&[("http:80 a.com/", &[1])])).unwrap();
        assert!(rendered.has_layout);
        assert!(rendered.text.contains("\n    option contstats\n"));
    }

    #[test]
    fn a_template_for_python_2_renders_before_there_is_any_route_and_after() {
        let text = "{% set lines = [] %}{% for port, hosts in http_mapping.iteritems() %}\
            {% for host in hosts.iterkeys() %}{% if lines.append('%s/%s' % (port, host)) %}{% endif %}{% endfor %}\
            {% endfor %}{% for host, prefixes in http_mapping['80'].items() %}\
            {% for ip, weight, strip in prefixes[''] %}{{ '%s=%s' % (host, weight) }} {% endfor %}{% endfor %}\
            {{ lines|join(',') }} {{ http_mapping.has_key('80') }} {{ tcp_mapping['1']|length }}";
        let empty = with_template(text, &RouteTable::default()).unwrap();
        assert_eq!(empty.text, " False 0\n");
        let up = at("10.0.0.1:80".parse().unwrap(), "7");
        let table: RouteTable = [route("http:80 a.com/", vec![up])].into_iter().collect();
        assert_eq!(with_template(text, &table).unwrap().text, "a.com=7 80/a.com True 0\n");
    }

    #[test]
    fn our_own_variables_tell_the_upstreams_port() {
        let text = "{% for r in routes %}{{ r.protocol }}:{{ r.port }} {{ r.host }}/{{ r.prefix }}\
            {% for u in r.upstreams %} {{ u.container }}@{{ u.address }}*{{ u.weight }}{% endfor %}\n{% endfor %}";
        let rendered = with_template(text, &table(&[("http:80 *.a.com/p", &[1]), ("tcp:81", &[2])])).unwrap();
        let expected = "http:80 *.a.com/p c20001@127.0.0.1:20001*100\ntcp:81 */ c20002@127.0.0.1:20002*100\n";
        assert_eq!(rendered.text, expected);
    }

    #[test]
    fn a_template_cannot_be_taken_from_outside_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("out.j2"), "").unwrap();
        let templates = templates(Some(&dir.path().join("in")), Some("../out.j2"));
        assert!(matches!(render(&templates, &RouteTable::default()), Err(HaproxyError::Template { .. })));
    }

    #[test]
    fn a_template_that_fails_says_where() {
        let error = with_template("\n{{ 1 +", &RouteTable::default()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("own.j2:2"), "{source}");
    }

    #[test]
    fn text_is_escaped_as_python_escapes_it() {
        assert_eq!(re_escape("a_b/c-d.e~f%41"), "a_b/c\\-d\\.e\\~f%41");
    }
}
