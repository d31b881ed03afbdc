//! Attempts for a sandbox, without a daemon.

use lovage::attempt::{Attempt, Progress};
use lovage_model::{Json, LogRecord, Message, Request, TenantId};
use serde_json::{Value, json};

use crate::artifacts::digest_of;

/// Who listens to an attempt and does nothing.
#[derive(Debug)]
pub struct Nobody;

impl Progress for Nobody {
    fn state(&self, _: &str, _: Json) {}
    fn wrote(&self, _: &'static str, _: &[u8]) {}
    fn logged(&self, _: &LogRecord) {}
    fn event(&self, _: &str, _: Json) {}
}

/// An attempt of a task of a component.
pub fn attempt(component: &[u8], task: &str, args: &Value) -> Attempt {
    let text = json!({ "id": "t-1", "task": task, "args": args, "kwargs": {}, "queue": "celery", "root_id": "t-1" });
    let message: Message = serde_json::from_value(text).expect("a message");
    Attempt {
        tenant: TenantId::default(),
        module: digest_of(component),
        request: Request::of(&message, "lab", false),
        handlers: Vec::new(),
    }
}
