//! What does the name of a server stand for? The system is asked, on a thread that waits for as long as that takes, also when
//! nobody wants to know any more. So each tenant has few lookups at once, and all have few together: they leave threads to
//! whatever else computes or reads aside.

use std::io::{Error, Result};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use lovage_model::TenantId;
use tokio::sync::Semaphore;

use crate::held::Rooms;

/// Lookups of one tenant's at once.
const OF_EACH: u32 = 4;
/// And of all.
const OF_ALL: usize = 64;

type Find = dyn Fn(&str) -> Result<Vec<SocketAddr>> + Send + Sync;

/// Who looks up names.
pub(super) struct Names {
    find: Arc<Find>,
    of_each: Rooms,
    of_all: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        Self::found_by(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }
}

impl Names {
    /// As this finds them, which may take its time.
    pub(super) fn found_by(find: impl Fn(&str) -> Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), of_each: Rooms::of(OF_EACH), of_all: Arc::new(Semaphore::new(OF_ALL)) }
    }

    /// The addresses of a name that a tenant's task asks for. Waits until it may be looked up.
    pub(super) async fn find(&self, tenant: &TenantId, name: String) -> Result<Vec<SocketAddr>> {
        let own = self.of_each.enter(tenant, 1).await;
        let of_all = Arc::clone(&self.of_all).acquire_owned().await;
        let find = Arc::clone(&self.find);
        let found = tokio::task::spawn_blocking(move || {
            // Until the lookup has ended: whoever asked may be gone long before.
            let _places = (own, of_all);
            find(&name)
        });
        found.await.map_err(Error::other)?
    }
}
