//! Celery tasks as WebAssembly components: what a task author imports.
//!
//! ```
//! use lovage_guest::prelude::*;
//!
//! /// Adds two numbers.
//! #[task]
//! fn add(x: i64, y: i64) -> i64 {
//!     x + y
//! }
//!
//! export_tasks!(add);
//! # fn main() {}
//! ```
//!
//! `cargo build --target wasm32-wasip2` makes the module; docs/authoring.md has the rest.
//!
//! Invariants: everything between the JSON that a host passes in and the [`Ending`](host::Ending) it gets back is the
//! same code in a component and in a native test; only the [`Host`](host::Host) behind it differs. A task touches its
//! host through its [`Context`] alone, so a task without one is a plain function.
//!
//! Absent: threads and async (a task is one call in a fresh instance), and any way to wait for another task.
#![deny(missing_docs)]

extern crate self as lovage_guest;

mod arguments;
mod autoretry;
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
#[rustfmt::skip]
#[doc(hidden)]
pub mod bindings;
mod context;
mod definition;
mod error;
mod handlers;
pub mod host;
pub mod http;
pub mod key_value;
mod retry;
mod run;
mod signature;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use arguments::{Arguments, Bound};
pub use context::Context;
pub use definition::{Definition, Entry, Parameter, ParameterKind, Task, TaskOptions};
pub use error::{TaskError, TaskResult};
pub use handlers::{Handlers, Retval};
pub use host::Raised;
pub use lovage_guest_macros::task;
pub use lovage_model::{Compression, DeliveryInfo, Exception, Json, LogLevel, Request, Serializer, Timestamp};
pub use retry::Retry;
pub use serde_json::json;
pub use signature::{AsyncResult, Header, Options, Signature, chain, chord, group};

/// Everything a task module usually needs: `use lovage_guest::prelude::*;`.
pub mod prelude {
    pub use crate::{
        AsyncResult, Context, Json, LogLevel, Options, Raised, Request, Retry, Retval, Signature, Task, TaskError,
        TaskResult, Timestamp, chain, chord, export_tasks, group, json, task,
    };
    pub use serde::{Deserialize, Serialize};
}

/// What the macros expand to. Nothing here is stable.
#[doc(hidden)]
pub mod __private {
    pub use crate::definition::{assert_distinct, describe};
    #[cfg(target_arch = "wasm32")]
    pub use crate::host::component::{after_return, before_start, on_failure, on_retry, on_success, run};
    pub use crate::run::{Returned, Settle};
    pub use serde::Serialize;
}

/// Lists the tasks of a module and exports it as a component: once in a crate, at its root.
///
/// Each item is the path of a `#[task]` function; tasks of other crates may be listed too, under the name they have
/// there. Two tasks of one name do not compile.
///
/// ```
/// # use lovage_guest::prelude::*;
/// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
/// mod text {
///     # use lovage_guest::prelude::*;
///     #[task]
///     pub fn upper(text: String) -> String {
///         text.to_uppercase()
///     }
/// }
///
/// export_tasks!(add, text::upper);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_tasks {
    ($($task:ty),+ $(,)?) => {
        const _: () = {
            const TASKS: &[$crate::Entry] = &[$($crate::Entry::of::<$task>()),+];
            const _: () = $crate::__private::assert_distinct(TASKS);

            #[cfg(target_arch = "wasm32")]
            $crate::__export_component!(TASKS);
        };
    };
}

/// The exports of the contract. A part of `export_tasks!`.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
#[macro_export]
macro_rules! __export_component {
    ($tasks:ident) => {
        use ::core::result::Result;
        use ::std::string::String;
        use $crate::bindings::exports::lovage::task::{handlers, tasks};

        struct Component;

        impl tasks::Guest for Component {
            fn describe() -> String {
                $crate::__private::describe($tasks)
            }

            fn run(task: String, args: String, kwargs: String) -> Result<String, tasks::Ending> {
                $crate::__private::run($tasks, &task, &args, &kwargs)
            }
        }

        impl handlers::Guest for Component {
            fn before_start(task: String, _: String, _: String) -> Result<(), handlers::Ending> {
                $crate::__private::before_start($tasks, &task)
            }

            fn on_success(task: String, retval: String, _: String, _: String) -> Result<(), handlers::Exception> {
                $crate::__private::on_success($tasks, &task, retval)
            }

            fn on_retry(
                task: String,
                exc: handlers::Exception,
                _: String,
                _: String,
            ) -> Result<(), handlers::Exception> {
                $crate::__private::on_retry($tasks, &task, exc)
            }

            fn on_failure(
                task: String,
                exc: handlers::Exception,
                _: String,
                _: String,
            ) -> Result<(), handlers::Exception> {
                $crate::__private::on_failure($tasks, &task, exc)
            }

            fn after_return(
                task: String,
                status: String,
                retval: Result<String, handlers::Exception>,
                _: String,
                _: String,
            ) -> Result<(), handlers::Exception> {
                $crate::__private::after_return($tasks, &task, &status, retval)
            }
        }

        $crate::bindings::export!(Component with_types_in $crate::bindings);
    };
}

/// The guide for authors: its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/authoring.md")]
pub struct AuthoringGuide;
