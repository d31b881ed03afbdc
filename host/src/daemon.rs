//! What is wired to what?
//!
//! The only composition root: builds the rooms, starts them in order and stops them in reverse. `serve` and `dev` are whole
//! daemons; `exec` is the same house without its door, for one task; the rest look after stores at rest.

mod dev;
mod exec;
mod files;
mod house;
mod maintenance;
mod serve;
mod signals;
mod telemetry;

pub use dev::{DevArgs, DevNews, dev, of_one_module};
pub use exec::{ExecArgs, exec};
pub use house::{House, HouseError, Plan};
pub use maintenance::{store_backup, store_check};
pub use serve::{Ready, serve, shown as store_shown};
pub(crate) use signals::Signals;
pub use signals::Stopped;

pub use crate::sandbox::{compile_child, executor_child};
pub use crate::store::file::CheckReport;
