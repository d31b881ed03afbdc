//! What is a settlement, told to a script? All its texts are made here; the script moves and counts.

use std::ops::Not;

use lovage_model::{Arrival, Message, Settlement, State, TaskId, TenantId};
use serde::Serialize;

use super::draft::{Draft, DraftPlan, text};
use super::inline::DraftInline;
use super::metering::{Meters, meters};
use super::texts::{self, Outcome};
use crate::store::Result;
use crate::store::metering::Used;
use crate::store::transition::{Next, Transition};

/// A settlement for a script.
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    st: String,
    at: i64,
    #[serde(skip_serializing_if = "Not::not")]
    done: bool,
    re: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tb: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fa: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    us: Option<String>,
    /// What it adds to what its tenant has used.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<Meters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grown: Vec<Grown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<DraftPlan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<Draft>,
    #[serde(skip_serializing_if = "Not::not")]
    requeue: bool,
    #[serde(skip_serializing_if = "Not::not")]
    leave: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrival: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<String>,
    /// How much of the plan there is room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<DraftRoom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    follower: Option<Follower>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline: Option<DraftInline>,
}

#[derive(Debug, Serialize)]
struct Grown {
    group: String,
    parts: u32,
}

/// How much may be stored. Lua counts in floating point, which is exact as far as anybody counts.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct DraftRoom {
    queued_tasks: f64,
    scheduled_tasks: f64,
    descendants: f64,
}

impl From<lovage_model::Room> for DraftRoom {
    #[allow(clippy::cast_precision_loss)]
    fn from(room: lovage_model::Room) -> Self {
        Self {
            queued_tasks: room.queued_tasks as f64,
            scheduled_tasks: room.scheduled_tasks as f64,
            descendants: room.descendants as f64,
        }
    }
}

/// The one task that was found to wait, and the message that it gets.
#[derive(Debug, Serialize)]
pub(super) struct Follower {
    pub(super) id: String,
    pub(super) n: String,
    pub(super) d: Draft,
}

/// A settlement of an attempt.
#[derive(Debug, Serialize)]
pub(super) struct Attempt {
    pub(super) tenant: TenantId,
    pub(super) id: TaskId,
    pub(super) tag: String,
    #[serde(skip_serializing_if = "Not::not")]
    pub(super) doubtful: bool,
    #[serde(flatten)]
    pub(super) ending: Ending,
}

/// Whose settlement it is, and how its result is to be written.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    /// None: it is not at hand.
    pub(super) message: Option<&'a Message>,
    pub(super) id: &'a TaskId,
    pub(super) extended: bool,
}

impl Ending {
    pub(super) fn of(settlement: &Settlement, of: Of<'_>) -> Result<Self> {
        let silent = settlement.ignore_result && matches!(settlement.verdict, lovage_model::Verdict::Success { .. });
        let transition = Transition::of(settlement.verdict.clone(), settlement.ignore_result, settlement.ignore_errors);
        let hidden = settlement.ignore_errors && matches!(transition.state, State::Failure | State::Retry);
        let told = transition.state.is_ready() || transition.state == State::Retry;
        let worker = Some(settlement.worker.clone()).filter(|worker| !worker.is_empty());
        let meta = if told && !silent && !hidden {
            let outcome = Outcome {
                state: &transition.state,
                result: &transition.result,
                traceback: transition.traceback.as_deref(),
                children: &settlement.children,
                worker: worker.as_deref(),
                at: settlement.at,
            };
            Some(texts::meta(of, &outcome)?)
        } else {
            None
        };
        let swap = match &transition.next {
            Next::Swap(planned) => Some(Draft::of(planned, settlement.at)?),
            Next::End | Next::Requeue | Next::Leave => None,
        };
        let children = settlement.children.iter().map(text).collect::<Result<Vec<_>>>()?;
        let grown = settlement.grown.iter().map(|(group, parts)| Grown { group: group.to_string(), parts: *parts });
        Ok(Self {
            st: transition.state.as_str().to_owned(),
            at: settlement.at.as_micros(),
            done: transition.state.is_terminal(),
            re: transition.result.as_str().to_owned(),
            tb: transition.traceback,
            fa: transition.fault,
            us: worker.as_ref().map(|_| text(&settlement.usage)).transpose()?,
            used: Used::by(settlement).map(|used| meters(used, settlement.at)),
            wo: worker,
            log: if settlement.log.is_empty() { None } else { Some(text(&settlement.log)?) },
            children: Some(children).filter(|children| !children.is_empty()),
            grown: grown.collect(),
            plan: if settlement.publish.is_empty() {
                None
            } else {
                Some(DraftPlan::of(&settlement.publish, settlement.at)?)
            },
            swap,
            requeue: matches!(transition.next, Next::Requeue),
            leave: matches!(transition.next, Next::Leave),
            arrival: settlement.arrival.as_ref().map(text::<Arrival>).transpose()?,
            meta,
            room: (!settlement.publish.is_empty()).then(|| settlement.room.into()),
            follower: None,
            inline: DraftInline::of(&settlement.inline, settlement.at)?,
        })
    }

    /// The one that waits gets the value in the same step.
    pub(super) fn hand_to(&mut self, follower: Follower) {
        self.follower = Some(follower);
    }
}
