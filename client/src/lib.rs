//! Send tasks to a Lovage daemon and await their results, with Celery's vocabulary.
//!
//! ```no_run
//! # async fn example() -> Result<(), lovage_client::Error> {
//! use std::time::Duration;
//! use lovage_client::{Client, s};
//!
//! let client = Client::new("http://127.0.0.1:7380")?;
//! let result = client.apply_async(s("tour.add", (2, 3))).await?;
//! let sum: i64 = result.get(Some(Duration::from_secs(10))).await?;
//! assert_eq!(sum, 5);
//! # Ok(())
//! # }
//! ```
//!
//! - Every member of `celery.result`, and what it is called here, is in `client/README.md`.
//! - Waiting asks the daemon to answer when there is something to say, and rides out a restart. Only where the tenant has as many
//!   streams open as it may, it is asked now and then what has ended.
//! - Only `http://` is spoken, and the token is sent as it is. Across an untrusted network, use a tunnel.
//! - Proxies named in the environment are not used.
#![deny(missing_docs)]

mod access;
mod beat;
mod client;
mod control;
mod error;
mod events;
mod groups;
mod http;
mod modules;
mod result;
mod secrets;
mod signature;
mod sse;
mod tasks;
mod watch;

pub use client::Client;
pub use control::ByHost;
pub use error::{Error, Result, TaskFailure};
pub use events::EventStream;
pub use lovage_model as model;
pub use modules::Pushed;
pub use result::{
    AnyResult, AsyncResult, Callback, Collect, DependencyGraph, Deps, EagerResult, GetOptions, GroupResult, IterNative,
    ResultSet, RevokeOptions,
};
pub use signature::{Header, Signature, chain, chord, group, s, si};
pub use tasks::{Polled, Receipt, TaskFilter};
pub use watch::{Seen, Watch};
