//! How do tasks end by an order?

use lovage_model::{Exception, Json, State, TaskId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::broker::Found;
use super::inline::{DraftPart, unrun_after};
use super::script::Script;
use super::settle::Of;
use super::texts::{self, Outcome};
use super::{RedisStore, Rings};
use crate::store::transition::Transition;
use crate::store::{Result, Revoked};

/// What a revoked task leaves, as texts in which the script puts the task's id.
#[derive(Debug, Serialize)]
pub(super) struct Texts {
    exception: String,
    meta_head: String,
    meta_tail: String,
}

impl Texts {
    pub(super) fn of(now: Timestamp) -> Result<Self> {
        let Transition { result, .. } = Transition::revoked("revoked");
        let stand_in = TaskId::from_uuid(PLACE);
        let meta = texts::meta(Of { message: None, id: &stand_in, extended: false }, &outcome(&result, now))?;
        let (head, tail) = meta.split_once(&format!("\"{PLACE}\"")).unwrap_or((&meta, ""));
        let (meta_head, meta_tail) = (head.to_owned(), tail.to_owned());
        Ok(Self { exception: result.as_str().to_owned(), meta_head, meta_tail })
    }
}

/// Stands for an id in a text.
const PLACE: &str = "the-id-of-the-task";

fn outcome(result: &Json, at: Timestamp) -> Outcome<'_> {
    Outcome { state: &State::Revoked, result, traceback: None, children: &[], worker: None, at }
}

impl RedisStore {
    pub(super) async fn order_end(&self, tenant: &TenantId, id: &TaskId, now: Timestamp) -> Result<Revoked> {
        #[derive(Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            id: &'a TaskId,
            now: i64,
            own_meta: String,
            /// Of what follows it in its chain.
            metas: Vec<(&'a TaskId, String)>,
            parts: Vec<DraftPart>,
            #[serde(flatten)]
            texts: Texts,
        }
        #[derive(Deserialize)]
        struct Answer {
            found: Found,
            rings: Rings,
        }
        let Some(row) = self.row(tenant, id).await? else { return Ok(Revoked::Unknown) };
        let texts = Texts::of(now)?;
        // Even one whose message cannot be read can be ended.
        let message = row.message(&self.link.faults).ok();
        let result = Json::of(&Exception::revoked("revoked")).unwrap_or_else(|_| Json::null());
        let of = Of { message: message.as_ref(), id, extended: self.extended };
        let own_meta = texts::meta(of, &outcome(&result, now))?;
        let (mut metas, mut parts) = (Vec::new(), Vec::new());
        if let Some(message) = &message {
            let meta = |id| texts::meta(Of { message: None, id, extended: false }, &outcome(&result, now));
            metas = unrun_after(message).map(|id| Ok((id, meta(id)?))).collect::<Result<_>>()?;
            parts = DraftPart::unrun(message, &State::Revoked, &result)?;
        }
        let args = Args { tenant, id, now: now.as_micros(), own_meta, metas, parts, texts };
        let answer: Answer = self.link.call(Script::Revoke, &args).await?;
        self.ring(answer.rings);
        Ok(answer.found.revoked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_id_is_found() {
        let texts = Texts::of(Timestamp::from_micros(0)).unwrap();
        let meta = format!("{}\"a\"{}", texts.meta_head, texts.meta_tail);
        let read: serde_json::Value = serde_json::from_str(&meta).unwrap();
        assert_eq!((read["task_id"].as_str(), read["status"].as_str()), (Some("a"), Some("REVOKED")));
    }
}
