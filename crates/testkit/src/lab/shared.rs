//! The lab as a whole: leases of its hosts, setup and teardown.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::try_join_all;

use super::layout::Seat;
use super::{EngineOptions, Host, LabError, Layout, engine, lease, registry, wiring};

/// Some hosts of the machine's lab. Dropping it gives the hosts back; the lab stays up for the next test.
#[derive(Debug)]
pub struct Lab {
    layout: Layout,
    hosts: Vec<Host>,
}

/// One host of the lab, as `cargo xtask lab status` shows it.
#[derive(Debug)]
pub struct LabStatus {
    /// `h1`, `h2`, …
    pub name: String,
    /// Its address on the bridge.
    pub address: IpAddr,
    /// Whether its dockerd is running.
    pub runs: bool,
    /// Whether a test or a demo uses it.
    pub leased: bool,
    /// Its Docker's address, as `docker -H` expects it.
    pub docker: String,
}

impl Lab {
    /// Takes `count` hosts of the lab that `LONGSHORE_LAB` names, and creates missing ones: half a second per host,
    /// nothing if the lab is up.
    ///
    /// # Errors
    /// The step that failed; `cargo xtask setup` installs what is missing.
    pub async fn up(count: usize) -> Result<Self, LabError> {
        Self::up_with(count, &EngineOptions::default()).await
    }

    /// Takes hosts like [`Lab::up`], with custom daemon options.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn up_with(count: usize, options: &EngineOptions) -> Result<Self, LabError> {
        let layout = Layout::from_env()?;
        {
            let _building = lease::take(&ground(&layout)).await?;
            wiring::lay_bridge(&layout).await?;
            registry::start(&layout).await?;
        }
        let hosts = try_join_all((0..count).map(|_| take_any(&layout, options))).await?;
        Ok(Self { layout, hosts })
    }

    /// Returns one of the hosts that this lab was brought up with, counted from 0.
    ///
    /// # Panics
    /// Panics if the lab has fewer hosts.
    #[expect(clippy::indexing_slicing, reason = "a test asks for hosts that it brought up")]
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Returns all the hosts that this lab was brought up with.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Takes one more host, for exclusive use.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn private_host(&self, options: &EngineOptions) -> Result<Host, LabError> {
        take_any(&self.layout, options).await
    }

    /// Returns the registry that every host may push to and pull from, as the first part of an image's name.
    pub fn registry(&self) -> SocketAddr {
        self.layout.registry()
    }

    /// Removes the whole lab: daemons, containers, registry, namespaces, bridge and files. Returns the names of hosts
    /// still in use, which stay, as do bridge and registry in that case.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn down() -> Result<Vec<String>, LabError> {
        let layout = Layout::from_env()?;
        let building = lease::take(&ground(&layout)).await?;
        let mut in_use = Vec::new();
        for seat in seats(&layout).filter(exists) {
            match lease::try_take(&seat.lease)? {
                Some(_mine) => {
                    engine::clear(&seat).await?;
                    wiring::disconnect(&seat).await?;
                }
                None => in_use.push(seat.name),
            }
        }
        if in_use.is_empty() {
            registry::stop(&layout).await?;
            wiring::take_up_bridge(&layout).await?;
            fs::remove_dir_all(layout.root()).map_err(LabError::file("remove", layout.root()))?;
        }
        drop(building);
        Ok(in_use)
    }

    /// Returns the status of the lab's hosts.
    ///
    /// # Errors
    /// Fails if its files cannot be read.
    pub fn status() -> Result<Vec<LabStatus>, LabError> {
        let layout = Layout::from_env()?;
        seats(&layout)
            .filter(exists)
            .map(|seat| {
                Ok(LabStatus {
                    address: seat.address,
                    runs: engine::process(&seat).is_some(),
                    leased: lease::try_take(&seat.lease)?.is_none(),
                    docker: format!("unix://{}", seat.socket().display()),
                    name: seat.name,
                })
            })
            .collect()
    }
}

fn ground(layout: &Layout) -> std::path::PathBuf {
    layout.root().join("ground.lease")
}

fn seats(layout: &Layout) -> impl Iterator<Item = Seat> {
    (1..=Layout::HOSTS).map(|index| layout.seat(index))
}

fn exists(seat: &Seat) -> bool {
    seat.dir.exists() || seat.namespace_file().exists()
}

/// Takes the first unused host, and creates or recreates it with these options if needed.
async fn take_any(layout: &Layout, options: &EngineOptions) -> Result<Host, LabError> {
    for seat in seats(layout) {
        if let Some(lease) = lease::try_take(&seat.lease)? {
            return Host::take(layout, seat, options.clone(), lease).await;
        }
    }
    Err(LabError::Full(Layout::HOSTS))
}
