//! What did the parts of a chord in Celery's own form come to? Python workers may have written some of them.

use std::collections::{HashMap, HashSet};

use lovage_model::{Arrival, Exception, Json, ResultTuple, State, TaskId, TenantId, exc_module};
use serde::Deserialize;

use super::RedisStore;
use super::script::Script;
use super::texts;
use super::wire::Blob;
use crate::celery::meta::{PartEnd, Unreadable, exception};
use crate::store::Result;
use crate::store::record::MAX_LEASED_BYTES;

/// The most tasks of one nested header: clients write how it is nested.
const MAX_LEAVES: usize = 100_000;

/// What is known of a chord that has ended.
pub(super) struct Gathered {
    /// The parts by their place, then the tasks that are no parts themselves.
    pub(super) parts: Vec<(TaskId, Arrival)>,
    /// How their results are nested.
    pub(super) nested: Option<ResultTuple>,
}

/// Reads a part.
fn part(text: &[u8]) -> std::result::Result<(TaskId, Arrival), Unreadable> {
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

/// What tasks came to; none, if that is more than fits into memory once it is unpacked.
fn that_fit(ends: impl Iterator<Item = (TaskId, Arrival)>) -> Option<Vec<(TaskId, Arrival)>> {
    let mut left = MAX_LEASED_BYTES;
    let fitting = |end: (TaskId, Arrival)| {
        left = left.checked_sub(end.1.bytes())?;
        Some(end)
    };
    ends.map(fitting).collect()
}

/// The parts, if they fit into memory.
fn read_parts(group: &TaskId, texts: &[Blob]) -> Option<Vec<(TaskId, Arrival)>> {
    // Clients write them as well: one that cannot be read has failed, and stops nobody else.
    let read = |text: &Blob| part(&text.0).unwrap_or_else(|why| (group.clone(), unreadable(group, &why)));
    that_fit(texts.iter().map(read))
}

/// Stands for a part that nobody can read.
fn unreadable(group: &TaskId, why: &dyn std::fmt::Display) -> Arrival {
    let text = format!("a part of group {group} cannot be read: {why}");
    Arrival::Failed { exception: Exception::new(exc_module::BUILTINS, "ValueError", text), task: group.clone() }
}

/// The tasks at the ends of a result.
fn leaves<'a>(tuple: &'a ResultTuple, found: &mut Vec<&'a TaskId>) {
    match &tuple.children {
        None => found.push(&tuple.id),
        Some(children) => children.iter().for_each(|child| leaves(child, found)),
    }
}

/// Whether the values of a nested result fit into memory. A client may name one of them again and again.
fn fits(named: &[&TaskId], parts: &[(TaskId, Arrival)]) -> bool {
    let sizes: HashMap<&TaskId, usize> = parts.iter().map(|(id, arrival)| (id, arrival.bytes())).collect();
    named.iter().filter_map(|id| sizes.get(*id)).sum::<usize>() <= MAX_LEASED_BYTES
}

impl RedisStore {
    /// The parts of a chord, with the ends of tasks that are named beside them; none, if they are more than fits into memory.
    pub(super) async fn gathered(
        &self,
        tenant: &TenantId,
        group: &TaskId,
        parts: &[Blob],
        nested: Option<Blob>,
    ) -> Result<Option<Gathered>> {
        let Some(mut parts) = read_parts(group, parts) else { return Ok(None) };
        let Some(nested) = nested.and_then(|text| texts::read_group(&text.0)) else {
            return Ok(Some(Gathered { parts, nested: None }));
        };
        let mut named = Vec::new();
        leaves(&nested, &mut named);
        let mut known: HashSet<&TaskId> = parts.iter().map(|(part, _)| part).collect();
        let wanted: Vec<&TaskId> = named.iter().copied().filter(|&id| known.insert(id)).take(MAX_LEAVES).collect();
        let Some(found) = self.outcomes(tenant, &wanted).await? else { return Ok(None) };
        parts.extend(found);
        let fits = fits(&named, &parts);
        Ok(fits.then_some(Gathered { parts, nested: Some(nested) }))
    }

    /// What tasks came to that are no parts themselves, as their results say; none, if that is more than fits into memory.
    async fn outcomes(&self, tenant: &TenantId, ids: &[&TaskId]) -> Result<Option<Vec<(TaskId, Arrival)>>> {
        #[derive(serde::Serialize)]
        struct Args<'a> {
            tenant: &'a TenantId,
            ids: &'a [&'a TaskId],
        }
        #[derive(Deserialize)]
        struct Metas {
            #[serde(default)]
            metas: Vec<Blob>,
            #[serde(default)]
            too_long: bool,
        }
        if ids.is_empty() {
            return Ok(Some(Vec::new()));
        }
        // What is large is slow on its way.
        let args = Args { tenant, ids };
        let found = self.link.call_for::<Metas>(Script::Metas, &args, MAX_LEASED_BYTES).await?;
        if found.too_long {
            return Ok(None);
        }
        let end = |(id, text): (&&TaskId, &Blob)| {
            let (state, result) = texts::read_meta(&text.0)?;
            Some(((*id).clone(), arrival(id, &state, result)))
        };
        Ok(that_fit(ids.iter().zip(&found.metas).filter_map(end)))
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
