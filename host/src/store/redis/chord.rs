//! What did the parts of a chord in Celery's own form come to? Python workers may have written some of them.

use std::collections::HashSet;

use lovage_model::{Arrival, Json, ResultTuple, Sender, State, TaskId, TenantId, WireSignature};
use serde::Deserialize;

use super::RedisStore;
use super::script::Script;
use super::texts;
use super::wire::Blob;
use crate::celery::meta::{PartEnd, Unreadable, exception};
use crate::store::{ChordEnd, Result};

/// The most tasks of one nested header: clients write how it is nested.
const MAX_LEAVES: usize = 100_000;

/// Reads a part.
pub(super) fn part(text: &[u8]) -> std::result::Result<(TaskId, Arrival), Unreadable> {
    let PartEnd { id, state, result } = texts::read_part(text)?;
    let arrival = arrival(&id, &state, result);
    Ok((id, arrival))
}

fn arrival(id: &TaskId, state: &State, result: Json) -> Arrival {
    if !state.propagates() {
        return Arrival::Value(result);
    }
    Arrival::Failed { task: id.clone(), exception: exception(&result) }
}

/// The tasks at the ends of a result.
fn leaves<'a>(tuple: &'a ResultTuple, found: &mut Vec<&'a TaskId>) {
    match &tuple.children {
        None => found.push(&tuple.id),
        Some(children) => children.iter().for_each(|child| leaves(child, found)),
    }
}

impl RedisStore {
    pub(super) async fn chord(
        &self,
        tenant: &TenantId,
        body: WireSignature,
        mut parts: Vec<(TaskId, Arrival)>,
        nested: Option<Blob>,
        sender: Sender,
    ) -> Result<ChordEnd> {
        let nested = nested.as_ref().and_then(|text| texts::read_group(&text.0));
        if let Some(nested) = &nested {
            let mut wanted = Vec::new();
            leaves(nested, &mut wanted);
            wanted.truncate(MAX_LEAVES);
            let known: HashSet<&TaskId> = parts.iter().map(|(part, _)| part).collect();
            wanted.retain(|id| !known.contains(id));
            let found = self.outcomes(tenant, &wanted).await?;
            parts.extend(found);
        }
        Ok(ChordEnd { body, parts, nested, sender })
    }

    /// What tasks came to that are no parts themselves, as their results say.
    async fn outcomes(&self, tenant: &TenantId, ids: &[&TaskId]) -> Result<Vec<(TaskId, Arrival)>> {
        #[derive(serde::Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            ids: &'a [&'a TaskId],
        }
        #[derive(Deserialize)]
        struct Metas {
            metas: Vec<Blob>,
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found: Metas = self.link.call(Script::Metas, &Args { tenant, ids }).await?;
        let read = |(id, text): (&&TaskId, &Blob)| {
            let (state, result) = texts::read_meta(&text.0)?;
            Some(((*id).clone(), arrival(id, &state, result)))
        };
        Ok(ids.iter().zip(&found.metas).filter_map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_what_the_body_gets() {
        let (id, arrival) = part(br#"[1, "a", "SUCCESS", 123456789012345678901]"#).unwrap();
        assert_eq!((id.as_str(), arrival), ("a", Arrival::Value(Json::parse("123456789012345678901".into()).unwrap())));
        let failed =
            part(br#"[1, "b", "FAILURE", {"exc_type": "ValueError", "exc_message": ["x"], "exc_module": "builtins"}]"#);
        let (_, Arrival::Failed { task, exception }) = failed.unwrap() else { panic!("it failed") };
        assert_eq!((task.as_str(), exception.exc_type.as_str()), ("b", "ValueError"));
        assert!(part(b"nonsense").is_err());
    }
}
