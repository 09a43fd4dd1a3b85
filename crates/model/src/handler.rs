//! Handlers: what to do when a container starts or stops, as defined in a file.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where something is defined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, if it is known.
    pub line: Option<usize>,
}

/// A handler, defined and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its name, unique on this agent: the name of its file without `.ini`, or its name in the settings file.
    pub name: String,
    /// Where it is defined.
    pub origin: Origin,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether handlers of the dummy event `none` run after each run of this one.
    pub triggers_none: bool,
    /// Which events it receives.
    pub filter: Filter,
    /// How events are delivered. Unused by jobs that follow World.
    pub delivery: DeliveryRules,
    /// What it does.
    pub job: Job,
    /// Its own options from its definition, with keys in lower case.
    pub params: BTreeMap<String, String>,
}

/// What a handler does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Runs a program once for each event.
    Script {
        /// The program's absolute path.
        program: PathBuf,
        /// The INI file passed as its first argument. Absent for a handler of the settings file: one is
        /// written for it.
        ini: Option<PathBuf>,
        /// Whether the exit status is ignored, as Docker Glue does: the event always counts as delivered.
        ignore_status: bool,
    },
    /// Sends events to a long-running process.
    Plugin {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Posts to a URL.
    Webhook {
        /// `http:` or `https:`.
        url: String,
        /// A file with the key that signs requests; without it, requests are not signed.
        secret_file: Option<PathBuf>,
    },
    /// Keeps HAProxy's configuration in line with the labels, as docker-balancer does.
    Balance(BalanceJob),
    /// Keeps an external system in line with World.
    Follow(FollowerJob),
}

impl Job {
    /// Returns whether it receives each event, rather than following World.
    pub fn counts_events(&self) -> bool {
        matches!(self, Self::Script { .. } | Self::Plugin { .. } | Self::Webhook { .. })
    }

    /// Returns its kind: `script`, `plugin`, `webhook`, `balancer`, or a follower's class.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Script { .. } => "script",
            Self::Plugin { .. } => "plugin",
            Self::Webhook { .. } => "webhook",
            Self::Balance(_) => "balancer",
            Self::Follow(job) => job.class(),
        }
    }
}

/// A follower class and its settings. The model does not know which classes exist.
#[derive(Clone)]
pub struct FollowerJob {
    class: &'static str,
    settings: Arc<dyn FollowerSettings>,
}

impl FollowerJob {
    /// Creates a job of this class with these settings.
    pub fn new<S: Any + fmt::Debug + PartialEq + Send + Sync>(class: &'static str, settings: S) -> Self {
        Self { class, settings: Arc::new(settings) }
    }

    /// Returns its class: `publisher`, `openvswitch`.
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// Returns its settings; `None` if they are of another type.
    pub fn settings<S: Any>(&self) -> Option<&S> {
        (&*self.settings as &dyn Any).downcast_ref()
    }
}

impl fmt::Debug for FollowerJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FollowerJob").field(&self.class).field(&self.settings).finish()
    }
}

impl PartialEq for FollowerJob {
    fn eq(&self, other: &Self) -> bool {
        self.class == other.class && self.settings.is(&*other.settings)
    }
}

impl Eq for FollowerJob {}

/// Settings of any class, with comparison.
trait FollowerSettings: Any + fmt::Debug + Send + Sync {
    fn is(&self, other: &dyn FollowerSettings) -> bool;
}

impl<S: Any + fmt::Debug + PartialEq + Send + Sync> FollowerSettings for S {
    fn is(&self, other: &dyn FollowerSettings) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }
}

/// docker-balancer's job as a handler: the flags that differ from its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalanceJob {
    /// Template folders, separated by colons; empty for the defaults.
    pub template_dir: String,
    /// The template's file name.
    pub template_file: Option<String>,
    /// HAProxy's configuration file.
    pub config_file: Option<PathBuf>,
    /// A file that sets `OPTIONS`, additional arguments for HAProxy.
    pub rc: Option<PathBuf>,
    /// HAProxy's administration socket.
    pub socket: Option<PathBuf>,
    /// How HAProxy is reloaded: a command, or the path of its master socket.
    pub reload: Option<String>,
    /// Whether environment variables of containers count as labels.
    pub include_env: bool,
}

/// Where and how containers are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishJob {
    /// The URLs of etcd's members: `http://10.0.0.2:2379`.
    pub endpoints: Vec<String>,
    /// The prefix of keys, followed by a slash and the container's id; `None` for
    /// `/longshore/containers/<host>`.
    pub prefix: Option<String>,
    /// The prefix of the DNS records that CoreDNS reads: `/skydns`; `None` for no records.
    pub skydns: Option<String>,
    /// Whether the values of environment variables are published, rather than only their names.
    pub env: bool,
    /// How long keys remain after the agent that published them stops.
    pub lease: Duration,
    /// The user, if etcd requires one.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
    /// The CA that signed etcd's certificates, if the system does not trust it already.
    pub ca: Option<PathBuf>,
    /// The agent's client certificate and key, if etcd requires them.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How containers without a network are connected to Open vSwitch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenVswitchJob {
    /// The bridge, unless a container's label names another.
    pub bridge: String,
    /// The interface name inside the container, unless a label names another.
    pub interface: String,
    /// Additional arguments of `ovs-docker add-port`, unless a label overrides them: `--mtu=1450`.
    pub options: Vec<String>,
}

/// Which events a handler receives: those that pass every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The kinds of events.
    pub events: EventFilter,
    /// Image references; one must match. A reference without a tag matches every tag. Empty matches all.
    pub images: Vec<String>,
    /// Labels; all must match. Without a value, any value matches.
    pub labels: Vec<(String, Option<String>)>,
    /// Names; one must match. `*` matches any text. Empty matches all.
    pub names: Vec<String>,
}

/// Which events to pass, by Docker's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Every event of a container.
    pub all: bool,
    /// The dummy event, sent at the start and after a handler with `triggers_none`.
    pub none: bool,
    /// Additional events, by name.
    pub named: Vec<String>,
}

impl EventFilter {
    /// Returns it as written: `all`, `none` and the names.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let dummies = [(self.all, "all"), (self.none, "none")];
        let dummies = dummies.into_iter().filter(|(set, _)| *set).map(|(_, word)| word);
        dummies.chain(self.named.iter().map(String::as_str))
    }
}

/// How events are delivered to a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRules {
    /// The time limit of one attempt.
    pub timeout: Duration,
    /// How often a failed attempt is retried before the delivery counts as failed.
    pub retries: u32,
    /// How many deliveries run in parallel. Deliveries for one container are always sequential.
    pub parallel: usize,
}

impl Default for DeliveryRules {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), retries: 5, parallel: 4 }
    }
}
