//! The one task that writes World.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_model::{ContainerEvent, ContainerId, NetworkEvent, PortState};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::apply::{Applied, State};
use super::{Change, DockerState, Observation, Reader, Subscribers};

/// What a look at a container's port said.
#[derive(Debug)]
pub struct PortSeen {
    /// Whose.
    pub container: ContainerId,
    /// Where.
    pub address: SocketAddr,
    /// What was seen.
    pub state: PortState,
}

/// What happened, told in order to those to whom each event counts.
#[derive(Clone, Debug)]
pub enum Happened {
    /// To a container.
    Container(ContainerEvent),
    /// To a network.
    Network(NetworkEvent),
}

/// How many events a slow reader may be behind before it loses some.
const FEED: usize = 4096;

/// How often it is looked for containers that outlived their stop signal.
const TICK: Duration = Duration::from_secs(1);

/// Writes World. There is one.
#[derive(Debug)]
pub struct Writer {
    state: State,
    reader: Reader,
    subscribers: Subscribers,
    events: broadcast::Sender<ContainerEvent>,
    told: mpsc::UnboundedSender<Happened>,
    away: watch::Sender<Option<String>>,
}

impl Writer {
    /// A writer of an empty World that tells every event to `told`, and what it feeds.
    pub fn new(told: mpsc::UnboundedSender<Happened>) -> (Self, Reader, Subscribers, DockerState) {
        let subscribers = Subscribers::default();
        let (away, docker_state) = watch::channel(Some("not connected yet".to_owned()));
        let (events, _) = broadcast::channel(FEED);
        let reader = Reader::default();
        let state = State::default();
        let writer =
            Self { state, reader: reader.clone(), subscribers: subscribers.clone(), events, told, away };
        (writer, reader, subscribers, docker_state)
    }

    /// Every event of every container, as it is heard.
    pub fn events(&self) -> broadcast::Sender<ContainerEvent> {
        self.events.clone()
    }

    /// Writes what comes, for as long as it is polled.
    pub async fn run(
        mut self,
        mut docker: mpsc::UnboundedReceiver<Observation>,
        mut ports: mpsc::UnboundedReceiver<PortSeen>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let applied = tokio::select! {
                Some(input) = docker.recv() => self.docker(input, Instant::now()),
                Some(seen) = ports.recv() => self.state.port(&seen.container, seen.address, seen.state),
                now = tick.tick() => self.state.tick(now),
            };
            self.publish(applied);
        }
    }

    fn docker(&mut self, input: Observation, now: Instant) -> Applied {
        match input {
            Observation::Event { event, past } => {
                metrics::counter!("longshore_docker_events_total", "action" => action(&event)).increment(1);
                let applied = if past { Applied::default() } else { self.state.heard(&event, now) };
                // Nobody listening is no failure.
                let _ = self.told.send(Happened::Container(event.clone()));
                let _ = self.events.send(event);
                applied
            }
            Observation::Network(event) => {
                let _ = self.told.send(Happened::Network(event));
                Applied::default()
            }
            Observation::Inspected { id, container, resync } => {
                let applied = match container {
                    Some(container) => self.state.inspected(*container),
                    None => self.state.gone(&id),
                };
                if resync && applied != Applied::default() {
                    metrics::counter!("longshore_resync_repairs_total").increment(1);
                    tracing::warn!(container = %id, "an event was missed; the resync found the change");
                }
                applied
            }
            Observation::Listed { containers, networks } => {
                tracing::debug!(containers = containers.len(), "listed");
                self.away.send_replace(None);
                self.state.listed(containers, networks)
            }
            Observation::Networks(networks) => self.state.networks(networks),
            Observation::Away(why) => {
                self.away.send_replace(Some(why));
                Applied::default()
            }
        }
    }

    fn publish(&self, applied: Applied) {
        if applied == Applied::default() {
            return;
        }
        self.reader.0.store(Arc::new(self.state.world.clone()));
        metrics::gauge!("longshore_containers").set(self.state.world.containers.size() as f64);
        let each = applied.containers.into_iter().map(Change::Container);
        self.subscribers.tell(&each.chain(applied.everything.then_some(Change::Everything)).collect());
    }
}

/// The event's name as a metric label: a known word, so that the number of series stays bounded.
fn action(event: &ContainerEvent) -> String {
    match &event.kind {
        longshore_model::EventKind::Other(_) => "other".to_owned(),
        kind => kind.to_string(),
    }
}
