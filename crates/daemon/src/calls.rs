//! Calls to hosts: straight to the one that is asked, or to many at once.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use longshore_model::{Call, CallError, HostId};
use longshore_runtime::{CallPeers, Execute, Reply};

/// Calls this host or others. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    me: HostId,
    own: Arc<dyn Execute>,
    /// The way to other hosts, while this one is in a cluster; the same for all clones.
    peers: Arc<ArcSwapOption<Arc<dyn CallPeers>>>,
}

impl Caller {
    /// Creates a caller for this host.
    pub(crate) fn new(me: HostId, own: Arc<dyn Execute>) -> Self {
        Self { me, own, peers: Arc::default() }
    }

    /// Opens the way to other hosts, or closes it.
    pub(crate) fn set_peers(&self, peers: Option<Arc<dyn CallPeers>>) {
        self.peers.store(peers.map(Arc::new));
    }

    /// Returns who carries out calls on this host.
    pub(crate) fn own(&self) -> Arc<dyn Execute> {
        Arc::clone(&self.own)
    }

    /// Calls a host. The reply, or the beginning of its stream, comes within `limit`.
    ///
    /// # Errors
    /// Those of the host, and [`CallError::UnknownHost`], [`CallError::Unreachable`] and [`CallError::Timeout`].
    pub(crate) async fn call(&self, host: HostId, call: Call, limit: Duration) -> Result<Reply, CallError> {
        let peers = self.peers.load_full();
        let reply = match &peers {
            _ if host == self.me => self.own.execute(call, limit),
            Some(peers) => peers.call(host, call, limit),
            None => {
                let why = "this host is in no cluster now: ask that host's own agent".to_owned();
                return Err(CallError::Unreachable { host: host.to_string(), why });
            }
        };
        tokio::time::timeout(limit, reply).await.unwrap_or(Err(CallError::Timeout(limit)))
    }

    /// Calls hosts in parallel, and returns what each replied within `limit`, or why it did not, in their order.
    pub(crate) async fn ask_all(
        &self,
        hosts: impl IntoIterator<Item = HostId>,
        call: &Call,
        limit: Duration,
    ) -> Vec<(HostId, Result<Reply, CallError>)> {
        let ask = async |host| (host, self.call(host, call.clone(), limit).await);
        join_all(hosts.into_iter().map(ask)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    const ME: HostId = HostId::from_u128(1);
    const LIMIT: Duration = Duration::from_secs(5);

    #[derive(Debug)]
    struct Own;

    impl Execute for Own {
        fn execute(&self, _: Call, _: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
            async { Ok(Reply::Json("own".into())) }.boxed()
        }
    }

    /// Host 2 replies, host 3 never does, and there is no other.
    #[derive(Debug)]
    struct Peers;

    impl CallPeers for Peers {
        fn call(&self, host: HostId, _: Call, _: Duration) -> BoxFuture<'_, Result<Reply, CallError>> {
            async move {
                match host {
                    _ if host == HostId::from_u128(2) => Ok(Reply::Json("peer".into())),
                    _ if host == HostId::from_u128(3) => std::future::pending().await,
                    _ => Err(CallError::UnknownHost(host.to_string())),
                }
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn a_host_alone_calls_itself_and_reaches_no_other() {
        let caller = Caller::new(ME, Arc::new(Own));
        assert!(
            matches!(caller.call(ME, Call::ListImages, LIMIT).await, Ok(Reply::Json(json)) if json == "own")
        );
        let other = HostId::from_u128(2);
        let error = caller.call(other, Call::ListImages, LIMIT).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Unreachable { host, .. } if *host == other.to_string()),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_asked_at_once_and_one_that_is_silent_holds_up_nobody_beyond_the_deadline() {
        let caller = Caller::new(ME, Arc::new(Own));
        // A clone from before has the way to the others, too.
        caller.clone().set_peers(Some(Arc::new(Peers)));
        let begun = tokio::time::Instant::now();
        let hosts = [3, 1, 3, 2, 4].map(HostId::from_u128);
        let replies = caller.ask_all(hosts, &Call::ListImages, LIMIT).await;
        assert_eq!(begun.elapsed(), LIMIT);
        let shown = |reply: &Result<Reply, CallError>| match reply {
            Ok(Reply::Json(json)) => String::from_utf8_lossy(json).into_owned(),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        let shown: Vec<_> = replies.iter().map(|(host, reply)| (*host, shown(reply))).collect();
        let unknown = format!("no such host: {}", hosts[4]);
        let texts = ["no answer within 5s", "own", "no answer within 5s", "peer", &unknown];
        assert_eq!(shown, hosts.into_iter().zip(texts.map(str::to_owned)).collect::<Vec<_>>());
    }
}
