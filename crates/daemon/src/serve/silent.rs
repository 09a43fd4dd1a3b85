//! The hosts whose containers may not be as they are shown.

use axum::http::{HeaderName, HeaderValue};
use longshore_api::{SILENT_HOSTS, SilentHost};
use longshore_model::HostId;

use super::Api;

impl Api {
    /// Returns the hosts that have a place in the cluster, but do not tell this one about themselves, with the reason.
    pub(super) fn silent_hosts(&self, wanted: impl Fn(HostId, &str) -> bool) -> Vec<SilentHost> {
        let roster = self.roster.borrow().clone();
        let world = self.world.snapshot();
        let members = roster.iter().flat_map(|roster| &roster.members);
        let others = members.filter(|member| member.host != self.about.host && member.is_reliable());
        let silent = others.filter_map(|member| {
            let is_known = world.as_ref().is_some_and(|world| world.host(member.host).is_some());
            let unknown = (!is_known).then_some("its containers are not known yet");
            let why = member.silence().or(unknown)?;
            let host = member.name.to_string();
            wanted(member.host, &host).then(|| SilentHost { host, why: why.to_owned() })
        });
        silent.collect()
    }
}

/// Returns the header that names these hosts, if there are any.
pub(super) fn header(silent: &[SilentHost]) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(SilentHost::list(silent)).ok().filter(|_| !silent.is_empty())?;
    Some((HeaderName::from_static(SILENT_HOSTS), value))
}
