//! Periodic tasks, for the beats of all hosts.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use lovage_model::{EntryName, PeriodicTask, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::draft::text;
use super::row::micros;
use super::script::Script;
use crate::store::schedules::skipped;
use crate::store::{LastRun, Periodic, Result, Schedules, wrong_from};

#[derive(Default, Serialize)]
struct Args<'a> {
    what: &'a str,
    tenant: Option<&'a TenantId>,
    name: Option<&'a EntryName>,
    entry: Option<String>,
    slot: i64,
    at: i64,
    /// From which time on what is noted does not count.
    wrong: i64,
    /// Where the server is to go on.
    cursor: String,
}

/// An entry as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    tenant: TenantId,
    name: EntryName,
    entry: PeriodicTask,
    of_config: bool,
    /// Absent in rows of versions that did not keep it.
    #[serde(default)]
    declared_by: BTreeSet<String>,
    since: i64,
}

/// An entry, of what is written of it and of its runs. One that cannot be read must not keep the others from being sent.
fn read((tenant, name): (&str, &str), written: &str, runs: Option<&str>) -> Option<Periodic> {
    let kept = serde_json::from_str::<Kept>(written).inspect_err(|error| skipped(tenant, name, error)).ok()?;
    let run = runs.and_then(run);
    Some(Periodic {
        tenant: kept.tenant,
        name: kept.name,
        entry: kept.entry,
        of_config: kept.of_config,
        declared_by: kept.declared_by,
        since: Timestamp::from_micros(kept.since),
        last_run: run.map(|(last, _)| last),
        total_run_count: run.map_or(0, |(_, count)| count),
    })
}

/// The last run and how many there were.
fn run(text: &str) -> Option<(LastRun, u64)> {
    let mut words = text.split(' ');
    let mut time = || words.next().and_then(|word| micros(word).ok());
    let (slot, at): (Timestamp, Timestamp) = (time()?, time()?);
    Some((LastRun { slot, at }, words.next()?.parse().ok()?))
}

#[async_trait]
impl Schedules for RedisStore {
    async fn periodic(&self, of: Option<&TenantId>) -> Result<Vec<Periodic>> {
        let (entries, runs) = self.written(of).await?;
        let one = |(field, written): (String, String)| {
            let (tenant, name) = field.split_once('\0').unwrap_or(("", &field));
            read((tenant, name), &written, runs.get(&field).map(String::as_str))
        };
        let mut all: Vec<_> = entries.into_iter().filter_map(one).collect();
        all.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        Ok(all)
    }

    async fn periodic_one(&self, tenant: &TenantId, name: &EntryName) -> Result<Option<Periodic>> {
        let args = Args { what: "one", tenant: Some(tenant), name: Some(name), ..Args::default() };
        let (written, run): (Option<String>, Option<String>) = self.link.ask(Script::Schedules, &args).await?;
        Ok(written.and_then(|written| read((tenant.as_str(), name.as_str()), &written, run.as_deref())))
    }

    async fn periodic_version(&self) -> Result<u64> {
        self.link.ask(Script::Schedules, &Args { what: "version", ..Args::default() }).await
    }

    async fn set_periodic(&self, periodic: Periodic) -> Result<()> {
        let Periodic { tenant, name, entry, of_config, declared_by, since, .. } = periodic;
        let kept = Kept { tenant, name, entry, of_config, declared_by, since: since.as_micros() };
        let written = Some(text(&kept)?);
        let args =
            Args { what: "set", tenant: Some(&kept.tenant), name: Some(&kept.name), entry: written, ..Args::default() };
        self.link.ask::<i64>(Script::Schedules, &args).await.map(drop)
    }

    async fn remove_periodic(&self, tenant: &TenantId, name: &EntryName) -> Result<bool> {
        let args = Args { what: "remove", tenant: Some(tenant), name: Some(name), ..Args::default() };
        self.link.ask(Script::Schedules, &args).await
    }

    async fn drop_periodic(&self, tenant: &TenantId) -> Result<()> {
        let mut cursor = "0".to_owned();
        loop {
            let args = Args { what: "clear", tenant: Some(tenant), cursor, ..Args::default() };
            cursor = self.link.ask(Script::Schedules, &args).await?;
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    async fn note_run(&self, tenant: &TenantId, name: &EntryName, run: LastRun) -> Result<bool> {
        let (slot, at) = (run.slot.as_micros(), run.at.as_micros());
        let wrong = wrong_from(run.at).as_micros();
        let args = Args { what: "run", tenant: Some(tenant), name: Some(name), slot, at, wrong, ..Args::default() };
        self.link.ask(Script::Schedules, &args).await
    }
}

type Texts = BTreeMap<String, String>;

impl RedisStore {
    /// Entries and runs as they are written, by tenant and name.
    async fn written(&self, of: Option<&TenantId>) -> Result<(Texts, Texts)> {
        let (mut entries, mut runs, mut cursor) = (Texts::new(), Texts::new(), "0".to_owned());
        loop {
            let what = if of.is_some() { "some" } else { "all" };
            let args = Args { what, tenant: of, cursor, ..Args::default() };
            let found: (String, Texts, Texts) = self.link.ask(Script::Schedules, &args).await?;
            cursor = found.0;
            entries.extend(found.1);
            runs.extend(found.2);
            if cursor == "0" {
                return Ok((entries, runs));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_an_older_version_is_read() {
        let row = r#"{"tenant": "default", "name": "a", "entry": {"task": "t.a", "every": 10}, "of_config": true, "since": 5}"#;
        let kept: Kept = serde_json::from_str(row).unwrap();
        assert!(kept.of_config && kept.declared_by.is_empty());
        let kept = Kept { declared_by: ["lovage@a".to_owned()].into(), ..kept };
        let again: Kept = serde_json::from_str(&text(&kept).unwrap()).unwrap();
        assert_eq!(again.declared_by, kept.declared_by);
    }

    #[test]
    fn a_run_is_read() {
        let (last, count) = run("5 6 7").unwrap();
        assert_eq!((last.slot.as_micros(), last.at.as_micros(), count), (5, 6, 7));
        assert_eq!(run("5 6"), None);
    }
}
