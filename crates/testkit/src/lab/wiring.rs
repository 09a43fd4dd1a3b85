//! Bridge, namespaces and the links between them.

use std::fs;
use std::path::Path;

use super::command::run_line;
use super::layout::{Layout, Seat};
use super::{LabError, command};

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Creates the bridge, unless it exists.
pub(super) async fn lay_bridge(layout: &Layout) -> Result<(), LabError> {
    let (bridge, address) = (layout.bridge(), layout.gateway());
    if !link_exists(&bridge) {
        run_line(&format!("ip link add {bridge} address {} type bridge", layout.gateway_mac())).await?;
    }
    run_line(&format!("ip address replace {address}/24 dev {bridge}")).await?;
    run_line(&format!("ip link set {bridge} up")).await?;
    if bridged_frames_meet_iptables() {
        let rule = format!("FORWARD -i {bridge} -o {bridge} -j ACCEPT");
        if run_line(&format!("iptables -w -C {rule}")).await.is_err() {
            run_line(&format!("iptables -w -I {rule}")).await?;
        }
    }
    Ok(())
}

/// Removes the bridge, if it exists.
pub(super) async fn take_up_bridge(layout: &Layout) -> Result<(), LabError> {
    let bridge = layout.bridge();
    if link_exists(&bridge) {
        run_line(&format!("ip link delete {bridge}")).await?;
    }
    if bridged_frames_meet_iptables() {
        // The rule exists only if the sysctl was on when the bridge was created.
        let _ = run_line(&format!("iptables -w -D FORWARD -i {bridge} -o {bridge} -j ACCEPT")).await;
    }
    Ok(())
}

/// Returns whether bridged frames pass iptables: then the `FORWARD` policy of a Docker on this machine may drop
/// traffic between hosts.
fn bridged_frames_meet_iptables() -> bool {
    fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|on| on.trim() == "1")
}

/// Creates a host's namespace and connects it to the bridge, unless it exists.
pub(super) async fn connect(layout: &Layout, seat: &Seat) -> Result<(), LabError> {
    let Seat { namespace, link, address, mac, .. } = seat;
    if !seat.namespace_file().exists() {
        run_line(&format!("ip netns add {namespace}")).await?;
    }
    if !link_exists(link) {
        run_line(&format!("ip link add {link} type veth peer name eth0 address {mac} netns {namespace}"))
            .await?;
    }
    run_line(&format!("ip link set {link} master {} up", layout.bridge())).await?;
    run_line(&format!("ip -n {namespace} link set lo up")).await?;
    run_line(&format!("ip -n {namespace} address replace {address}/24 dev eth0")).await?;
    run_line(&format!("ip -n {namespace} link set eth0 up")).await?;
    run_line(&format!("ip -n {namespace} route replace default via {}", layout.gateway())).await?;
    Ok(())
}

/// Removes a host's namespace and link, if they exist.
pub(super) async fn disconnect(seat: &Seat) -> Result<(), LabError> {
    if link_exists(&seat.link) {
        run_line(&format!("ip link delete {}", seat.link)).await?;
    }
    if seat.namespace_file().exists() {
        run_line(&format!("ip netns delete {}", seat.namespace)).await?;
    }
    Ok(())
}

/// Takes a host's link down or up.
pub(super) async fn set_cable(seat: &Seat, up: bool) -> Result<(), LabError> {
    let state = if up { "up" } else { "down" };
    command::run("ip", &["link", "set", &seat.link, state]).await.map(drop)
}
