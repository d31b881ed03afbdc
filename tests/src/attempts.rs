//! Attempts for a sandbox, without a daemon.

use lovage::attempt::Attempt;
use lovage_model::{Message, Request, TenantId};
use serde_json::{Value, json};

use crate::artifacts::digest_of;

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
