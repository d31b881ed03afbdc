//! Calls, as they come over HTTP: each is refused, or becomes a plan that keeps to its limits.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lovage::canvas::{Rules, Tasks};
use lovage::queue::{Ids, Limits, Refusal, admit, call};
use lovage_model::{Room, TaskDefinition, TaskName, Timestamp};

const TASKS: u32 = 50;
const RULES: Rules = Rules { message_bytes: 1 << 16, canvas_tasks: TASKS as _, lineage_depth: 10, replacements: 10 };
const LIMITS: Limits = Limits { rules: RULES, room: Room::UNLIMITED };

/// Every task is known, with nothing said of it.
struct Any;

impl Tasks for Any {
    fn find(&self, _: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Refusal> {
        Ok(None)
    }
}

fuzz_target!(|body: &[u8]| {
    let Ok(request) = serde_json::from_slice(body) else { return };
    let Ok(signature) = call(request) else { return };
    let id = "11111111-1111-4111-8111-111111111111".parse().expect("an id");
    if let Ok(sent) = admit(signature, Ids::New(id), &Any, &LIMITS, Timestamp::from_micros(1_800_000_000_000_000)) {
        let tasks = &sent.plan.tasks;
        assert!(tasks.len() <= TASKS as usize, "{} tasks", tasks.len());
        let ids: HashSet<_> = tasks.iter().map(|planned| &planned.message.id).collect();
        assert_eq!(ids.len(), tasks.len(), "two tasks of one id");
    }
});
