//! Orders for sidecars, carried out one step at a time; World shows the result.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, NetworkConnectRequest, NetworkingConfig,
    PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, InspectContainerOptions, RemoveContainerOptions,
    StartContainerOptions, StopContainerOptions,
};
use futures_util::TryStreamExt;
use longshore_model::{ContainerId, ImageReference, ImageReferenceError, Transport};
use longshore_plan::sidecars::{HealthCheck, Joined, Port, Restart, Sidecar, Step, Volume};
use longshore_runtime::chain;

use crate::client::CALL;
use crate::credentials;
use crate::deafness::is_deaf;

/// How long an image pull may take.
const PULL_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a container may take to start, which includes filling its volumes.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long Docker waits between stop signal and SIGKILL unless the container specifies it.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// There is no connection to Docker.
    #[error("cannot reach Docker")]
    Unreachable(#[source] Error),
    /// The registry or Docker refused the pull.
    #[error("cannot pull its image {image} {login}")]
    Pull {
        /// The image reference.
        image: String,
        /// The login that was used.
        login: String,
        /// Docker's answer.
        source: Error,
    },
    /// The image reference cannot be parsed.
    #[error("cannot pull its image {image}")]
    Reference {
        /// The reference.
        image: String,
        /// What is wrong with it.
        source: ImageReferenceError,
    },
    /// The pull took too long.
    #[error("pulling the image {image} took longer than {} s", PULL_TIMEOUT.as_secs())]
    PullTimeout {
        /// The image reference.
        image: String,
    },
    /// Docker did not create the container.
    #[error("cannot create it")]
    Create(#[source] Error),
    /// Docker did not connect the container to a network.
    #[error("cannot connect it to the network {network}")]
    Connect {
        /// The network's name.
        network: String,
        /// Docker's answer.
        source: Error,
    },
    /// Docker did not start the container.
    #[error("cannot start it")]
    Start(#[source] Error),
    /// Docker did not stop the container.
    #[error("cannot stop it")]
    Stop(#[source] Error),
    /// Docker did not remove the container.
    #[error("cannot remove it")]
    Remove(#[source] Error),
}

/// The result of a successful step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The image was pulled. The container was not created: a pull takes long, and the sidecar may no longer be
    /// wanted.
    Pulled,
    /// The container was created or started, and runs.
    Runs(ContainerId),
    /// The container is gone.
    Gone(ContainerId),
}

/// Carries out a step.
pub async fn carry_out(docker: &Docker, step: &Step) -> Result<Outcome, SidecarError> {
    match step {
        Step::Create(sidecar) => {
            let Some(id) = create(docker, sidecar).await? else {
                pull(docker, &sidecar.definition.image).await?;
                return Ok(Outcome::Pulled);
            };
            connect(docker, &id, sidecar).await?;
            start(docker, &id).await?;
            Ok(Outcome::Runs(ContainerId::new(id)))
        }
        Step::Start { id, .. } => {
            start(docker, id.as_str()).await?;
            Ok(Outcome::Runs(id.clone()))
        }
        Step::Remove { id, .. } => {
            stop(docker, id.as_str()).await?;
            remove(docker, id.as_str()).await.map_err(SidecarError::Remove)?;
            Ok(Outcome::Gone(id.clone()))
        }
    }
}

/// Creates a container, unless its image is missing.
async fn create(docker: &Docker, sidecar: &Sidecar) -> Result<Option<String>, SidecarError> {
    let options = CreateContainerOptions { name: Some(sidecar.name.clone()), ..Default::default() };
    match docker.create_container(Some(options), body(sidecar)).await {
        Ok(made) => Ok(Some(made.id)),
        // The container whose network it shares may be missing as well.
        Err(error) if status(&error) == Some(404) => {
            let image = docker.inspect_image(&sidecar.definition.image).await;
            let is_missing = image.is_err_and(|error| status(&error) == Some(404));
            if is_missing { Ok(None) } else { Err(SidecarError::Create(error)) }
        }
        Err(error) => Err(SidecarError::Create(error)),
    }
}

/// Pulls an image. A name without a tag means `latest`: Docker's API would pull every tag.
async fn pull(docker: &Docker, image: &str) -> Result<(), SidecarError> {
    let reference: ImageReference =
        image.parse().map_err(|source| SidecarError::Reference { image: image.to_owned(), source })?;
    let tag = reference.digest.clone().or(reference.tag.clone()).unwrap_or("latest".to_owned());
    let name = format!("{}/{}", reference.registry, reference.repository);
    let options = CreateImageOptions { from_image: Some(name), tag: Some(tag), ..Default::default() };
    let mut patient = docker.clone().with_timeout(PULL_TIMEOUT);
    let login = match credentials::of_registry(&reference.registry).await {
        Ok(Some(found)) => {
            patient = with_login(patient, &found);
            "with the agent's login".to_owned()
        }
        Ok(None) => format!("without a login ({} has none of the agent's user)", reference.registry),
        // Public images can still be pulled.
        Err(error) => format!("without a login, as {}", chain(&error)),
    };
    tracing::info!(image, "pulling {login}");
    let progress = patient.create_image(Some(options), None, None).try_for_each(async |_| Ok(()));
    match tokio::time::timeout(PULL_TIMEOUT, progress).await {
        Ok(pulled) => pulled.map_err(|source| SidecarError::Pull { image: image.to_owned(), login, source }),
        Err(_) => Err(SidecarError::PullTimeout { image: image.to_owned() }),
    }
}

/// Adds credentials to all requests of this connection.
fn with_login(docker: Docker, credentials: &DockerCredentials) -> Docker {
    let written = credentials::encode(credentials);
    docker.with_request_modifier(move |mut request| {
        if let Ok(value) = written.parse() {
            request.headers_mut().insert("X-Registry-Auth", value);
        }
        request
    })
}

/// Connects a container to all its networks but the first, which it was created with. If that fails, the container is
/// removed again: half connected, it would look complete.
async fn connect(docker: &Docker, id: &str, sidecar: &Sidecar) -> Result<(), SidecarError> {
    for joined in sidecar.networks.iter().skip(1) {
        let request =
            NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint(joined)) };
        if let Err(source) = docker.connect_network(&joined.network, request).await {
            // If this fails too, the plan detects that networks are missing.
            let _ = remove(docker, id).await;
            return Err(SidecarError::Connect { network: joined.network.clone(), source });
        }
    }
    Ok(())
}

async fn start(docker: &Docker, id: &str) -> Result<(), SidecarError> {
    let patient = docker.clone().with_timeout(START_TIMEOUT);
    match patient.start_container(id, None::<StartContainerOptions>).await {
        Err(error) if status(&error) != Some(304) => Err(SidecarError::Start(error)),
        _ => Ok(()),
    }
}

/// Stops a container with its own signal and grace period. One that cannot handle the signal is killed at once,
/// unless its definition sets a grace period.
async fn stop(docker: &Docker, id: &str) -> Result<(), SidecarError> {
    let known = match docker.inspect_container(id, None::<InspectContainerOptions>).await {
        Ok(known) => known,
        Err(error) if is_done(&error) => return Ok(()),
        Err(error) => return Err(SidecarError::Stop(error)),
    };
    let config = known.config.unwrap_or_default();
    let is_sigterm =
        config.stop_signal.as_deref().is_none_or(|signal| matches!(signal, "" | "SIGTERM" | "15"));
    let pid = known.state.and_then(|state| state.pid).unwrap_or_default();
    if config.stop_timeout.is_none() && is_sigterm && is_deaf(known.id.as_deref().unwrap_or_default(), pid) {
        return Ok(());
    }
    let grace = config.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok());
    let patient = docker.clone().with_timeout(CALL + grace.map_or(DEFAULT_GRACE, Duration::from_secs));
    match patient.stop_container(id, None::<StopContainerOptions>).await {
        Err(error) if !is_done(&error) => Err(SidecarError::Stop(error)),
        _ => Ok(()),
    }
}

async fn remove(docker: &Docker, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match docker.remove_container(id, Some(options)).await {
        Err(error) if !is_done(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Returns whether an error says that the step was already done or is in progress.
fn is_done(error: &Error) -> bool {
    let removing = |error: &Error| error.to_string().contains("already in progress");
    matches!(status(error), Some(304 | 404)) || (status(error) == Some(409) && removing(error))
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Returns a sidecar as a request to Docker.
fn body(sidecar: &Sidecar) -> ContainerCreateBody {
    let definition = &sidecar.definition;
    // With another container's network, no port can be published, and Docker refuses the attempt.
    let has_network = !sidecar.networks.is_empty();
    let ports: &[Port] = if has_network { &definition.ports } else { &[] };
    let exposed =
        ports.iter().map(|port| (port.target, port.transport)).chain(definition.expose.iter().copied());
    let exposed: Vec<String> = exposed.map(|(port, transport)| spelled(port, transport)).collect();
    let first = sidecar.networks.first();
    let config = first.map(|joined| NetworkingConfig {
        endpoints_config: Some(HashMap::from([(joined.network.clone(), endpoint(joined))])),
    });
    let volumes: Vec<String> = definition.volumes.iter().filter_map(anonymous).collect();
    ContainerCreateBody {
        image: Some(definition.image.clone()),
        cmd: definition.command.clone(),
        entrypoint: definition.entrypoint.clone(),
        env: Some(sidecar.environment.clone()),
        labels: Some(sidecar.labels.clone().into_iter().collect()),
        exposed_ports: has_network.then_some(exposed),
        volumes: Some(volumes),
        user: definition.user.clone(),
        working_dir: definition.working_dir.clone(),
        hostname: definition.hostname.clone(),
        stop_signal: definition.stop_signal.clone(),
        stop_timeout: definition.stop_grace.map(i64::from),
        healthcheck: definition.health_check.as_ref().map(health_config),
        host_config: Some(host_config(sidecar, ports)),
        networking_config: config,
        ..Default::default()
    }
}

fn host_config(sidecar: &Sidecar, ports: &[Port]) -> HostConfig {
    let definition = &sidecar.definition;
    let restart = match definition.restart {
        // Longshore restarts it itself, and only while its main container runs.
        Some(Restart::Always | Restart::No) | None => None,
        Some(Restart::OnFailure(times)) => Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::ON_FAILURE),
            maximum_retry_count: times.map(i64::from),
        }),
    };
    // The default bridge has no DNS names: links are entries of the hosts file there.
    let on_bridge = sidecar.networks.first().filter(|joined| joined.network == "bridge");
    let tmpfs = definition.volumes.iter().filter_map(|volume| match volume {
        Volume::Tmpfs { target, options } => Some((target.clone(), options.join(","))),
        Volume::Bind { .. } | Volume::Anonymous { .. } => None,
    });
    HostConfig {
        network_mode: Some(sidecar.network_mode.clone()).filter(|mode| !mode.is_empty()),
        links: on_bridge.map(|joined| joined.links.clone()),
        port_bindings: Some(bindings(ports)),
        binds: Some(definition.volumes.iter().filter_map(bind).collect()),
        mounts: Some(definition.volumes.iter().filter_map(mount).collect()),
        tmpfs: Some(tmpfs.collect()),
        restart_policy: restart,
        privileged: Some(definition.privileged),
        readonly_rootfs: Some(definition.read_only),
        init: definition.init,
        cap_add: Some(definition.cap_add.clone()),
        cap_drop: Some(definition.cap_drop.clone()),
        extra_hosts: Some(definition.extra_hosts.clone()),
        dns: Some(definition.dns.clone()),
        ..Default::default()
    }
}

fn health_config(check: &HealthCheck) -> HealthConfig {
    let nanoseconds = |time: Option<Duration>| time.and_then(|time| i64::try_from(time.as_nanos()).ok());
    HealthConfig {
        test: check.test.clone(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        retries: check.retries.map(i64::from),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
    }
}

fn bindings(ports: &[Port]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        let binding = PortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            host_port: Some(match port.published {
                None => String::new(),
                Some((first, last)) if first == last => first.to_string(),
                Some((first, last)) => format!("{first}-{last}"),
            }),
        };
        let known = bindings.entry(spelled(port.target, port.transport)).or_default();
        known.get_or_insert_default().push(binding);
    }
    bindings
}

fn spelled(port: u16, transport: Transport) -> String {
    format!("{port}/{transport}")
}

fn anonymous(volume: &Volume) -> Option<String> {
    match volume {
        Volume::Anonymous { target, read_only: false } => Some(target.clone()),
        Volume::Anonymous { .. } | Volume::Bind { .. } | Volume::Tmpfs { .. } => None,
    }
}

fn bind(volume: &Volume) -> Option<String> {
    let Volume::Bind { source, target, options, create: true } = volume else { return None };
    let options = if options.is_empty() { String::new() } else { format!(":{}", options.join(",")) };
    Some(format!("{source}:{target}{options}"))
}

/// Returns a mount, for a volume that a bind cannot express.
fn mount(volume: &Volume) -> Option<Mount> {
    match volume {
        Volume::Anonymous { target, read_only: true } => Some(Mount {
            typ: Some(MountType::VOLUME),
            target: Some(target.clone()),
            read_only: Some(true),
            ..Default::default()
        }),
        Volume::Bind { source, target, options, create: false } => {
            use MountBindOptionsPropagationEnum as Propagation;
            let propagation = options.iter().find_map(|option| option.parse::<Propagation>().ok());
            Some(Mount {
                typ: Some(MountType::BIND),
                source: Some(source.clone()),
                target: Some(target.clone()),
                read_only: Some(options.iter().any(|option| option == "ro")),
                bind_options: propagation.map(|propagation| MountBindOptions {
                    propagation: Some(propagation),
                    ..Default::default()
                }),
                ..Default::default()
            })
        }
        Volume::Anonymous { .. } | Volume::Bind { .. } | Volume::Tmpfs { .. } => None,
    }
}

fn endpoint(joined: &Joined) -> EndpointSettings {
    let ipam = EndpointIpamConfig {
        ipv4_address: joined.ipv4.map(|ip| ip.to_string()),
        ipv6_address: joined.ipv6.map(|ip| ip.to_string()),
        ..Default::default()
    };
    let is_bridge = joined.network == "bridge";
    EndpointSettings {
        aliases: Some(joined.aliases.clone()).filter(|aliases| !aliases.is_empty()),
        links: Some(joined.links.clone()).filter(|links| !is_bridge && !links.is_empty()),
        ipam_config: (joined.ipv4.is_some() || joined.ipv6.is_some()).then_some(ipam),
        ..Default::default()
    }
}
