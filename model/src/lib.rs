//! The nouns of Lovage, shared by host, client and guests: what a task is called, what a message, a signature and a
//! result look like, which states there are.
//!
//! The JSON is Celery's (message protocol 2, signatures, result metas), so there is no second format to translate
//! into. Nothing here does IO, reads a clock, or knows about async; everything builds for `wasm32-wasip2` too.
#![deny(missing_docs)]

mod access;
pub mod api;
mod canvas;
mod change;
mod event;
mod exception;
mod inline;
pub mod inspect;
mod json;
mod message;
mod meta;
mod module;
mod names;
mod options;
mod periodic;
mod plan;
pub mod python;
mod request;
mod settlement;
mod shown;
mod signature;
mod state;
mod tagged;
mod time;
mod usage;
mod wire;

pub use access::{IssuedToken, MAX_WEIGHT, NewToken, Scope, TenantPolicy, TenantView, TokenView};
pub use canvas::Canvas;
pub use change::{CHANGES, CUSTOM, Change, is_legal};
pub use event::{Called, Event, EventKind};
pub use exception::{Exception, exc_module};
pub use inline::{Embed, Inline, InlineEnd, InlineMark, Part, Sender};
pub use json::Json;
pub use message::{Message, Then, TimeLimit};
pub use meta::ResultMeta;
pub use module::{Digest, Handler, ModuleVersion, Parameter, ParameterKind, TaskDefinition};
pub use names::{
    EntryName, ModuleName, NameError, QueueName, SecretName, TaskId, TaskName, TenantId, TokenId, WireName,
};
pub use options::{BadOption, Compression, RateLimit, Serializer, TaskOptions};
pub use periodic::{Crontab, PeriodicTask, Schedule};
pub use plan::{Arrival, Join, Plan, Planned, ResultTuple};
pub use request::{DeliveryInfo, Request};
pub use settlement::{AttemptLog, Followed, LogLevel, LogRecord, Room, Settlement, Verdict};
pub use shown::without_password;
pub use signature::{Expires, Signature, SignatureOptions};
pub use state::State;
pub use time::{Seconds, SecondsError, Timestamp};
pub use usage::{DailyUsage, Usage};
pub use wire::{Fields, WireOptions, WireShape, WireSignature, unrun};
