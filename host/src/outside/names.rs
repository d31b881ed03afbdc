//! What does the name of a server stand for? The system is asked, on a thread that waits for as long as that takes, also when
//! nobody wants to know any more. So each tenant has few lookups at once, and all have few together: they leave threads to
//! whatever else computes or reads aside.

use std::io::{Error, Result};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use lovage_model::TenantId;

use crate::held::Commons;

/// Lookups of one tenant's at once.
const OF_EACH: usize = 4;
/// And of all.
const OF_ALL: usize = 64;

type Find = dyn Fn(&str) -> Result<Vec<SocketAddr>> + Send + Sync;

/// Who looks up names.
pub(super) struct Names {
    find: Arc<Find>,
    places: Commons,
}

impl Default for Names {
    fn default() -> Self {
        Self::found_by(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }
}

impl Names {
    /// As this finds them, which may take its time.
    pub(super) fn found_by(find: impl Fn(&str) -> Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), places: Commons::of(OF_ALL, OF_EACH) }
    }

    /// The addresses of a name that a tenant's task asks for. Waits until it may be looked up.
    pub(super) async fn find(&self, tenant: &TenantId, name: String) -> Result<Vec<SocketAddr>> {
        let place = self.places.enter(tenant).await;
        let find = Arc::clone(&self.find);
        let found = tokio::task::spawn_blocking(move || {
            // Until the lookup has ended: whoever asked may be gone long before.
            let _place = place;
            find(&name)
        });
        found.await.map_err(Error::other)?
    }
}
