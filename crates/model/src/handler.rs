//! Handlers: what should happen when a container comes or goes, as its file says it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where something was written down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1, where one line says it.
    pub line: Option<usize>,
}

/// A handler, defined and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Its name, which no other handler of the agent has: the file's without `.ini`, or the one that the settings
    /// file gives it.
    pub name: String,
    /// Where it is defined.
    pub origin: Origin,
    /// Whether it is told of anything.
    pub enabled: bool,
    /// Whether handlers of the dummy event `none` run after each run of this one.
    pub triggers_none: bool,
    /// What it is told of.
    pub filter: Filter,
    /// How it is told. Means nothing to jobs that follow World.
    pub delivery: DeliveryRules,
    /// What it does.
    pub job: Job,
    /// Its own options, as its file has them: keys in lower case.
    pub params: BTreeMap<String, String>,
}

/// What a handler does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Runs a program once for each event.
    Script {
        /// The program, found and absolute.
        program: PathBuf,
        /// The INI file that is its first argument. A handler of the settings file has none: one is written for it.
        ini: Option<PathBuf>,
        /// Whether the event counts as delivered however the program ends, as with Docker Glue.
        ignore_status: bool,
    },
    /// Tells a process that goes on running.
    Plugin {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// Posts to a URL.
    Webhook {
        /// `http:` or `https:`.
        url: String,
        /// A file with the key that requests are signed with; not signed without.
        secret_file: Option<PathBuf>,
    },
    /// Keeps HAProxy's configuration like the labels, as docker-balancer does.
    Balance(BalanceJob),
    /// Keeps something outside like World.
    Follow(FollowerJob),
}

impl Job {
    /// Returns whether it is told of each event, rather than following World.
    pub fn counts_events(&self) -> bool {
        matches!(self, Self::Script { .. } | Self::Plugin { .. } | Self::Webhook { .. })
    }

    /// Returns one word for it: `script`, `plugin`, `webhook`, `balancer`, or a follower's class.
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

/// A class of followers and what a handler's file asks of it. Which classes there are is not the model's to know.
#[derive(Clone)]
pub struct FollowerJob {
    class: &'static str,
    settings: Arc<dyn FollowerSettings>,
}

impl FollowerJob {
    /// Creates the job of a class, with these settings.
    pub fn new<S: Any + fmt::Debug + PartialEq + Send + Sync>(class: &'static str, settings: S) -> Self {
        Self { class, settings: Arc::new(settings) }
    }

    /// Returns the name of its class: `publisher`, `openvswitch`.
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

/// Settings of any class that can be compared.
trait FollowerSettings: Any + fmt::Debug + Send + Sync {
    fn is(&self, other: &dyn FollowerSettings) -> bool;
}

impl<S: Any + fmt::Debug + PartialEq + Send + Sync> FollowerSettings for S {
    fn is(&self, other: &dyn FollowerSettings) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }
}

/// docker-balancer's job, as a handler: its flags, where they are not its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalanceJob {
    /// Folders with templates, with colons between them; empty for the usual ones.
    pub template_dir: String,
    /// The template's name in those folders.
    pub template_file: Option<String>,
    /// HAProxy's configuration file.
    pub config_file: Option<PathBuf>,
    /// A file that sets `OPTIONS`, HAProxy's further arguments.
    pub rc: Option<PathBuf>,
    /// HAProxy's administration socket.
    pub socket: Option<PathBuf>,
    /// How HAProxy is reloaded: a command, or the path of its master socket.
    pub reload: Option<String>,
    /// Whether a container's environment counts as labels.
    pub include_env: bool,
}

/// Where containers are published, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishJob {
    /// etcd's members: `http://10.0.0.2:2379`.
    pub endpoints: Vec<String>,
    /// A key is this, a slash, and the container's id; `None` for `/longshore/containers/<host>`.
    pub prefix: Option<String>,
    /// Where the records for DNS go that CoreDNS reads: `/skydns`; `None` for nowhere.
    pub skydns: Option<String>,
    /// Whether the values of containers' environment variables are published, and not their names only.
    pub env: bool,
    /// How long keys outlive the agent that published them.
    pub lease: Duration,
    /// The user, where etcd wants one.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
    /// The authority that signed etcd's certificates, where it is not one that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The agent's own certificate and its key, where etcd wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How containers without a network are connected to Open vSwitch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenVswitchJob {
    /// The bridge, unless a container's label names another.
    pub bridge: String,
    /// The interface's name inside the container, unless a label names another.
    pub interface: String,
    /// Further arguments of `ovs-docker add-port`, unless a label has others: `--mtu=1450`.
    pub options: Vec<String>,
}

/// What a handler is told of: an event that passes every one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By what happened.
    pub events: EventFilter,
    /// Image references, any of which: one without a tag matches every tag. Empty lets all through.
    pub images: Vec<String>,
    /// Labels, all of which: with a value, or with any where there is none.
    pub labels: Vec<(String, Option<String>)>,
    /// Names, any of which; `*` stands for any text. Empty lets all through.
    pub names: Vec<String>,
}

/// Which events by their names, as Docker writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Every event of a container.
    pub all: bool,
    /// The dummy event, at the start and after a handler with `triggers_none`.
    pub none: bool,
    /// These, besides.
    pub named: Vec<String>,
}

impl EventFilter {
    /// As it is written down: `all`, `none` and the names.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let dummies = [(self.all, "all"), (self.none, "none")];
        let dummies = dummies.into_iter().filter(|(set, _)| *set).map(|(_, word)| word);
        dummies.chain(self.named.iter().map(String::as_str))
    }
}

/// How events are delivered to a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRules {
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often a failed attempt is repeated until the delivery counts as failed.
    pub retries: u32,
    /// How many deliveries run at once. Those of one container never do.
    pub parallel: usize,
}

impl Default for DeliveryRules {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), retries: 5, parallel: 4 }
    }
}
