//! What may be queued?
//!
//! Admission turns what somebody asks for into a plan of messages, or says which field is wrong and why. Pure: what is known
//! of tasks, the limits, the time and ids are arguments.
//!
//! Absent: the length of queues (only a store can count in the same step in which it stores), and the types of a task's
//! arguments (only the task knows them).

use std::sync::Arc;

use lovage_model::api::SubmitRequest;
use lovage_model::{Json, Signature, TaskDefinition, TaskId, TaskName, TenantId, TenantPolicy, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::canvas::{self, Scope, Tasks};
use crate::modules::{Modules, Unresolved};

pub use crate::canvas::{Fault as RefusalCode, Invalid as Refusal, Rules, Sent};

/// What the operator lets into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far one call may go.
    pub rules: Rules,
    /// How much may wait.
    pub room: lovage_model::Room,
}

impl Limits {
    /// The same for a tenant, which may have less.
    #[must_use]
    pub fn of(self, policy: &TenantPolicy) -> Self {
        Self { rules: self.rules.of(policy), ..self }
    }
}

/// The tasks that the modules of a tenant export: a call must name one of them.
pub struct Known<'a> {
    /// The modules.
    pub modules: &'a Modules,
    /// Whose.
    pub tenant: &'a TenantId,
}

impl Known<'_> {
    /// The task of this name, or the one that ends in it.
    pub fn task(&self, name: &TaskName) -> Result<Arc<TaskDefinition>, Refusal> {
        let refused = |why: Unresolved| {
            let kind = match why {
                Unresolved::Unknown { .. } => RefusalCode::UnknownTask,
                Unresolved::Ambiguous { .. } => RefusalCode::AmbiguousTask,
            };
            Refusal { kind, ..Refusal::wrong("task", why.to_string()) }
        };
        let code = self.modules.resolve(self.tenant, name.as_str()).map_err(refused)?;
        Ok(Arc::clone(&code.definition))
    }
}

impl Tasks for Known<'_> {
    fn find(&self, name: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Refusal> {
        self.task(name).map(Some)
    }
}

/// The call that a request describes: its `signature`, or its `task` with `args`, `kwargs` and `options`.
pub fn call(request: SubmitRequest) -> Result<Signature, Refusal> {
    let SubmitRequest { task, args, kwargs, options, signature } = request;
    match (task, signature) {
        (Some(_), Some(_)) => Err(Refusal::wrong("signature", "stands beside task: send one of the two")),
        (None, None) => Err(Refusal::wrong("task", "is missing: send a task, or a signature")),
        (None, Some(_)) if args.is_some() || kwargs.is_some() || options.is_some() => {
            Err(Refusal::wrong("signature", "holds args, kwargs and options itself: move those beside it into it"))
        }
        (None, Some(signature)) => Ok(signature),
        (Some(task), None) => Ok(Signature {
            kwargs: kwargs.unwrap_or_else(Json::empty_object),
            options: options.unwrap_or_default(),
            ..Signature::new(task, args.unwrap_or_else(Json::empty_array))
        }),
    }
}

/// Which ids a call gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// Its result has this one; the others are made of it and of the call, so that the same call under the same id is the same
    /// plan, and another call under it is not.
    Given(TaskId),
    /// Those that the call itself names, and others that are made of this one, which nobody else has.
    New(TaskId),
}

/// The plan of a call.
pub fn admit(call: Signature, given: Ids, tasks: &dyn Tasks, limits: &Limits, now: Timestamp) -> Result<Sent, Refusal> {
    let (id, seed) = match given {
        Ids::Given(id) => (Some(id.clone()), id),
        Ids::New(seed) => (None, seed),
    };
    let made_of = fingerprint(&seed, &call)?;
    let mut count = 0_u32;
    let mut ids = || {
        count += 1;
        derived(&seed, &made_of, count)
    };
    let mut scope = Scope::new(tasks, &mut ids, limits.rules, now);
    canvas::expand(call, id, &mut scope)
}

fn fingerprint(seed: &TaskId, call: &Signature) -> Result<Sha256, Refusal> {
    let text = Json::of(call).map_err(|error| Refusal::wrong("signature", error.to_string()))?;
    Ok(Sha256::new().chain_update(seed.as_str()).chain_update([0]).chain_update(text.as_str()))
}

/// The id of a task of a call: a UUID made of the call and a number.
fn derived(seed: &TaskId, made_of: &Sha256, number: u32) -> TaskId {
    let digest = made_of.clone().chain_update(number.to_be_bytes()).finalize();
    let mut bytes: [u8; 16] = digest[..16].try_into().expect("16 of 32 bytes");
    // Ids that are made at one time stay together, as those of their kind do in the store's index.
    if let Ok(uuid) = seed.as_str().parse::<uuid::Uuid>() {
        bytes[..6].copy_from_slice(&uuid.as_bytes()[..6]);
    }
    TaskId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests;
