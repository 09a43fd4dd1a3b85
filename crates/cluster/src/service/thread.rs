use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{oneshot, watch};

use super::{ServiceConfig, run_file};
use crate::members::{At, Command, Config, Core, Departure, Output, Roster};
use crate::seal::MAX_DATAGRAM;

/// How many datagrams are read before the timers have their turn even if more arrive: as many as arrive in some
/// milliseconds, and as a socket holds after a freeze.
const MAX_READ: usize = 4_096;
/// The nice value of the thread.
const PRIORITY: i32 = -10;

enum Order {
    Command(Command),
    Stop(Departure, oneshot::Sender<()>),
    End,
}

/// Commands for the thread.
#[derive(Clone, Debug)]
pub(super) struct Control {
    orders: mpsc::Sender<Order>,
    wake: Arc<UnixDatagram>,
}

impl Control {
    pub(super) fn command(&self, command: Command) {
        self.order(Order::Command(command));
    }

    pub(super) fn stop(&self, departure: Departure, done: oneshot::Sender<()>) {
        self.order(Order::Stop(departure, done));
    }

    pub(super) fn end(&self) {
        self.order(Order::End);
    }

    /// A thread that has ended needs no orders.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        let _ = self.wake.send(&[0]);
    }
}

struct Loop {
    core: Core,
    socket: UdpSocket,
    wake: UnixDatagram,
    orders: mpsc::Receiver<Order>,
    roster: watch::Sender<Arc<Roster>>,
    data_dir: PathBuf,
    is_stopped: bool,
    done: Option<oneshot::Sender<()>>,
}

/// Starts the thread.
pub(super) fn start(
    config: ServiceConfig,
    run: u32,
    seed: [u8; 32],
    socket: UdpSocket,
) -> io::Result<(Control, watch::Receiver<Arc<Roster>>)> {
    let (wake, woken) = UnixDatagram::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let (sender, orders) = mpsc::channel();
    let data_dir = config.data_dir;
    let config = Config {
        cluster: config.cluster,
        host: config.host,
        name: config.name,
        address: config.advertise,
        run,
        keyring: config.keyring,
        remembered: config.remembered,
        settings: config.settings,
    };
    let core = Core::new(config, seed, at());
    let (published, roster) = watch::channel(Arc::clone(core.roster()));
    let state = Loop {
        core,
        socket,
        wake: woken,
        orders,
        roster: published,
        data_dir,
        is_stopped: false,
        done: None,
    };
    std::thread::Builder::new().name("cluster".to_owned()).spawn(move || state.run())?;
    Ok((Control { orders: sender, wake: Arc::new(wake) }, roster))
}

fn at() -> At {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    At { now: Instant::now(), unix: u32::try_from(unix).unwrap_or(u32::MAX) }
}

impl Loop {
    fn run(mut self) {
        // On Linux this is the thread's own. Without the right to it, the thread takes its turn like any other.
        if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
            tracing::debug!(%error, "the cluster's thread runs at normal priority");
        }
        while !self.is_stopped {
            self.round();
        }
        if let Some(done) = self.done.take() {
            let _ = done.send(());
        }
    }

    fn round(&mut self) {
        self.wait();
        self.read();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Command(command) => self.core.command(at(), command),
                Order::Stop(departure, done) => {
                    self.done = Some(done);
                    self.core.command(at(), Command::Stop(departure));
                }
                Order::End => self.is_stopped = true,
            }
        }
        self.core.tick(at());
        for output in self.core.take_outputs() {
            match output {
                Output::Send { to, datagram } => self.send(to, &datagram),
                Output::SaveRun(run) => save(&self.data_dir, run),
                Output::Stopped => self.is_stopped = true,
            }
        }
        let roster = self.core.roster();
        self.roster.send_if_modified(|published| {
            let is_new = !Arc::ptr_eq(published, roster);
            if is_new {
                *published = Arc::clone(roster);
            }
            is_new
        });
    }

    /// Waits for a datagram, an order or a timer.
    fn wait(&self) {
        let timeout = self.core.next_tick().saturating_duration_since(Instant::now());
        // An error (a signal) ends the wait early, no more.
        let timeout = Timespec::try_from(timeout.max(Duration::from_micros(100))).ok();
        let mut sources = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        let _ = poll(&mut sources, timeout.as_ref());
    }

    fn read(&mut self) {
        // One byte more than a datagram may have shows one that is too long.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        while self.wake.recv(&mut buffer).is_ok() {}
        for _ in 0..MAX_READ {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let Some(datagram) = buffer.get(..length) else { continue };
                    self.core.receive(at(), from, datagram);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// What cannot be sent is lost, as datagrams may be.
    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        if let Err(error) = self.socket.send_to(datagram, to) {
            tracing::trace!(%to, %error, "cannot send to a member");
        }
    }
}

fn save(data_dir: &Path, run: u32) {
    if let Err(error) = run_file::save(data_dir, run) {
        tracing::warn!(%error, "cannot save this host's run; the next start must be told again");
    }
}
