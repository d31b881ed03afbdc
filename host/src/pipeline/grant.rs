//! What may this attempt use? The least of what the operator allows everybody, what he allows the tenant, what the task
//! declares and what the message asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lovage_model::{Message, ModuleName, Seconds, TaskOptions, TenantId, TenantPolicy, TimeLimit};

use crate::attempt::{Capabilities, Grants, SENT_PAYLOADS};

/// The longest that each of a task's handlers may take after its run.
const HANDLER_LIMIT: Duration = Duration::from_secs(10);

/// What the operator allows every attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// Linear memories and tables together, in bytes.
    pub memory_bytes: u64,
    /// The longest hard limit.
    pub time_limit: Duration,
    /// The hard limit of tasks and messages that name none.
    pub default_time_limit: Duration,
    /// The most fuel; none: a run is metered only if its message asks for it.
    pub fuel: Option<u64>,
    /// Bytes of output that are kept.
    pub output_bytes: usize,
    /// The largest result, meta or signature, in bytes.
    pub payload_bytes: usize,
    /// The most subtasks of one attempt.
    pub subtasks: usize,
    /// The most times that an attempt begins whose hosts were lost.
    pub deliveries: u32,
}

/// What the operator grants to modules, by tenant and name: another tenant may well call one of his the same.
#[derive(Debug, Clone, Default)]
pub struct Granted(BTreeMap<(TenantId, ModuleName), Arc<Capabilities>>);

impl Granted {
    /// What is granted to whom.
    pub fn of(all: impl IntoIterator<Item = ((TenantId, ModuleName), Capabilities)>) -> Self {
        Self(all.into_iter().map(|(whose, capabilities)| (whose, Arc::new(capabilities))).collect())
    }

    /// What is granted to a module: nothing, if nobody said otherwise.
    pub fn to(&self, tenant: &TenantId, module: &ModuleName) -> Arc<Capabilities> {
        self.0.get(&(tenant.clone(), module.clone())).cloned().unwrap_or_default()
    }
}

impl Caps {
    /// What a tenant's attempts may use.
    fn of(&self, policy: &TenantPolicy) -> Self {
        let time_limit = policy.time_limit_seconds.map_or(self.time_limit, Duration::from_secs).min(self.time_limit);
        Self {
            memory_bytes: policy.memory_bytes.unwrap_or(self.memory_bytes).min(self.memory_bytes),
            time_limit,
            default_time_limit: self.default_time_limit.min(time_limit),
            fuel: least(policy.fuel, self.fuel),
            output_bytes: at_most(policy.output_bytes, self.output_bytes),
            payload_bytes: at_most(policy.result_bytes, self.payload_bytes),
            subtasks: at_most(policy.subtasks, self.subtasks),
            ..self.clone()
        }
    }
}

fn at_most(own: Option<u64>, general: usize) -> usize {
    own.and_then(|own| usize::try_from(own).ok()).map_or(general, |own| own.min(general))
}

pub(super) fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What one attempt gets.
pub fn grant(caps: &Caps, policy: &TenantPolicy, task: &TaskOptions, message: &Message) -> Grants {
    let caps = caps.of(policy);
    let asked = message.timelimit.hard.or(task.time_limit).map(Seconds::duration);
    let hard_limit = asked.unwrap_or(caps.default_time_limit).min(caps.time_limit);
    let soft = message.timelimit.soft.or(task.soft_time_limit).map(Seconds::duration);
    let fuel = least(message.fuel, caps.fuel);
    Grants {
        fuel,
        memory_bytes: caps.memory_bytes,
        soft_limit: soft.filter(|soft| *soft < hard_limit),
        hard_limit,
        output_bytes: caps.output_bytes,
        payload_bytes: caps.payload_bytes,
        weight: policy.weight(),
        overhead: Duration::ZERO,
        subtasks: caps.subtasks,
        sent_bytes: caps.payload_bytes.saturating_mul(SENT_PAYLOADS),
        handler_limit: hard_limit.min(HANDLER_LIMIT),
        handler_fuel: fuel,
        // Those of the module, which is not known before the code is.
        capabilities: Arc::default(),
    }
}

/// The limits in force, as the task reads them in its request.
pub fn timelimit(grants: &Grants) -> TimeLimit {
    TimeLimit { soft: grants.soft_limit.map(Seconds::from), hard: Some(Seconds::from(grants.hard_limit)) }
}
