//! What does a task have done for it outside of its sandbox?
//!
//! It asks; here is looked at what it was granted, by this daemon and not by the process that runs it, and then it is done.
//! Nothing here knows of sandboxes or queues.

mod addresses;
mod http;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::attempt::{Answer, Ask, Capabilities, HttpFault};
use http::Http;

/// Requests of one attempt at once.
const AT_ONCE: usize = 8;

/// Who does it.
#[derive(Default)]
pub struct Outside {
    http: Http,
}

/// What one attempt may have done for it.
pub struct May {
    capabilities: Arc<Capabilities>,
    payload_bytes: usize,
    under_way: Semaphore,
}

impl May {
    /// What was granted, and how large what goes out or comes in may be.
    pub fn of(capabilities: Arc<Capabilities>, payload_bytes: usize) -> Self {
        Self { capabilities, payload_bytes, under_way: Semaphore::new(AT_ONCE) }
    }
}

impl Outside {
    /// Does what is asked, or says why not.
    pub async fn answer(&self, may: &May, ask: Ask) -> Answer {
        match ask {
            Ask::Http(request) => {
                let Ok(_place) = may.under_way.try_acquire() else {
                    return Answer::Http(Err(HttpFault::ConnectionLimitReached));
                };
                Answer::Http(self.http.send(&may.capabilities, may.payload_bytes, request).await)
            }
        }
    }
}
