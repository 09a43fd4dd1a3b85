//! The one task that writes World.

use std::sync::Arc;

use longshore_model::ContainerEvent;
use tokio::sync::{broadcast, mpsc, watch};

use super::{DockerEvent, DockerState, Effect, Observation, Reader, State};

/// How many events a slow reader may lag behind before it loses some.
const FEED: usize = 4096;

/// Writes World. There is only one.
#[derive(Debug)]
pub struct Writer {
    state: State,
    reader: Reader,
    events: broadcast::Sender<ContainerEvent>,
    told: mpsc::UnboundedSender<DockerEvent>,
    docker: watch::Sender<Option<String>>,
}

impl Writer {
    /// Creates a writer that sends every event to `told`, and the handles that it feeds.
    pub fn new(state: State, told: mpsc::UnboundedSender<DockerEvent>) -> (Self, Reader, DockerState) {
        let (docker, docker_state) = watch::channel(Some("not connected yet".to_owned()));
        let (events, _) = broadcast::channel(FEED);
        let reader = Reader::default();
        (Self { state, reader: reader.clone(), events, told, docker }, reader, docker_state)
    }

    /// Returns a feed of all container events as they arrive.
    pub fn events(&self) -> broadcast::Sender<ContainerEvent> {
        self.events.clone()
    }

    /// Applies observations until all their senders are gone.
    pub async fn run(mut self, mut observations: mpsc::UnboundedReceiver<Observation>) {
        while let Some(observation) = observations.recv().await {
            for effect in self.state.take(observation) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Tell(event) => {
                // Having no listeners is not an error.
                if let DockerEvent::Container(event) = &event {
                    let action = action(event);
                    metrics::counter!("longshore_docker_events_total", "action" => action).increment(1);
                    let _ = self.events.send(event.clone());
                }
                let _ = self.told.send(event);
            }
            Effect::Publish(changes) => {
                let Some(world) = self.state.world() else { return };
                metrics::gauge!("longshore_containers").set(world.own().containers.size() as f64);
                self.reader.world.store(Some(Arc::new(world.clone())));
                if !changes.is_empty() {
                    self.reader.subscribers.tell(&changes);
                }
            }
            Effect::Repaired(container) => {
                metrics::counter!("longshore_resync_repairs_total").increment(1);
                tracing::warn!(%container, "an event was missed; the resync found the change");
            }
            Effect::Docker(why) => {
                self.docker.send_replace(why);
            }
        }
    }
}

/// Returns the event's name as a metric label: a known word, so the number of series stays bounded.
fn action(event: &ContainerEvent) -> String {
    match &event.kind {
        longshore_model::EventKind::Other(_) => "other".to_owned(),
        kind => kind.to_string(),
    }
}
