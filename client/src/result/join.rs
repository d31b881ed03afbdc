//! Waiting for many results.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lovage_model::{Json, ResultMeta, TaskId};
use serde::de::DeserializeOwned;

use super::{AnyResult, AsyncResult, GetOptions, ResultSet};
use crate::watch::{Seen, Watch};
use crate::{Error, Result, TaskFailure};

/// The failure in a meta, if it is to be raised.
pub(super) fn raise(meta: &ResultMeta, propagate: bool) -> Result<()> {
    match TaskFailure::of(meta).filter(|_| propagate) {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// The tasks of a set as they end: those first that are known to have ended.
pub(super) struct Arrivals<'a> {
    tasks: HashMap<&'a TaskId, Vec<&'a AsyncResult>>,
    known: VecDeque<Arc<ResultMeta>>,
    watch: Watch,
}

impl<'a> Arrivals<'a> {
    pub(super) fn of(set: &'a ResultSet, timeout: Option<Duration>) -> Self {
        let mut tasks: HashMap<&TaskId, Vec<&AsyncResult>> = HashMap::new();
        let (mut known, mut ids) = (VecDeque::new(), Vec::new());
        for task in set.leaves() {
            let same = tasks.entry(task.id()).or_default();
            same.push(task);
            if same.len() == 1 {
                match task.known() {
                    Some(meta) => known.push_back(meta),
                    None => ids.push(task.id().clone()),
                }
            }
        }
        Self { tasks, known, watch: set.client().watch(ids, timeout) }
    }

    /// None: all have come, or the time is over.
    pub(super) async fn next(&mut self) -> Result<Option<Arc<ResultMeta>>> {
        if let Some(known) = self.known.pop_front() {
            return Ok(Some(known));
        }
        let meta = match self.watch.next().await? {
            None => return Ok(None),
            Some(Seen::Ended(meta)) => *meta,
            // The refusal says what may have become of it.
            Some(Seen::Unknown(id)) => self.tasks[&id][0].client.task(&id).await?,
        };
        let same = &self.tasks[&meta.task_id];
        let meta = same[0].learn(meta);
        same[1..].iter().for_each(|task| _ = task.learn((*meta).clone()));
        Ok(Some(meta))
    }
}

/// What [`ResultSet::iter_native`] gives.
pub struct IterNative<'a> {
    set: &'a ResultSet,
    arrivals: Arrivals<'a>,
    timeout: Option<Duration>,
}

impl IterNative<'_> {
    /// The next task that has ended; none when all have. The end of the time is [`Error::Timeout`].
    pub async fn next(&mut self) -> Result<Option<(TaskId, Arc<ResultMeta>)>> {
        match self.arrivals.next().await? {
            Some(meta) => Ok(Some((meta.task_id.clone(), meta))),
            None => self.set.complete(self.timeout).await.map(|()| None),
        }
    }
}

impl ResultSet {
    /// The values of all, in order, once all have ended; of a group among them a list.
    ///
    /// The time is for all together. The first failure that arrives is raised, unless it is not to be propagated. With a
    /// callback the list is empty.
    pub async fn get<'a, T: DeserializeOwned>(&self, options: impl Into<GetOptions<'a>>) -> Result<Vec<T>> {
        let values = self.join_native(options).await?;
        let read = |value: Json| value.read().map_err(|error| Error::decode("a result", error));
        values.into_iter().map(read).collect()
    }

    /// As [`ResultSet::get`], but one is waited for after the other: the first failure in order is raised, as soon as all
    /// before it have ended, and callbacks are called in order.
    pub async fn join<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<Vec<Json>> {
        let GetOptions { timeout, propagate, mut callback, .. } = options.into();
        let (mut arrivals, mut values) = (Arrivals::of(self, timeout), Vec::new());
        for result in self.results() {
            for task in result.leaves().into_iter().filter(|task| !task.ignored()) {
                while task.known().is_none() {
                    if arrivals.next().await?.is_none() && task.known().is_none() {
                        return Err(task.late(timeout).await);
                    }
                }
                task.known().map_or(Ok(()), |meta| raise(&meta, propagate))?;
            }
            match &mut callback {
                Some(callback) => callback(result.id(), &result.value()?),
                None => values.push(result.value()?),
            }
        }
        Ok(values)
    }

    /// As [`ResultSet::get`], with values as text. Callbacks are called in the order in which results arrive.
    pub async fn join_native<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<Vec<Json>> {
        let GetOptions { timeout, propagate, mut callback, .. } = options.into();
        let (mut arrivals, mut waiting) = (Arrivals::of(self, timeout), Incomplete::of(self));
        while !waiting.is_empty()
            && let Some(meta) = arrivals.next().await?
        {
            waiting.raise(&meta, propagate)?;
            for complete in waiting.arrived(&meta.task_id) {
                if let Some(callback) = &mut callback {
                    callback(complete.id(), &complete.value()?);
                }
            }
        }
        self.complete(timeout).await?;
        if callback.is_some() { Ok(Vec::new()) } else { self.results().iter().map(AnyResult::value).collect() }
    }

    /// Each task as it ends, those of groups too.
    pub fn iter_native(&self, timeout: Option<Duration>) -> IterNative<'_> {
        IterNative { set: self, arrivals: Arrivals::of(self, timeout), timeout }
    }

    /// Whether it can be waited for without asking again and again; always.
    pub fn supports_native_join(&self) -> bool {
        true
    }

    /// That all have ended that somebody waits for; if not, the time is over.
    async fn complete(&self, timeout: Option<Duration>) -> Result<()> {
        match self.leaves().into_iter().find(|task| !task.ignored() && task.known().is_none()) {
            Some(task) => Err(task.late(timeout).await),
            None => Ok(()),
        }
    }
}

/// The members of a set that have not all ended, each with how many of its tasks.
struct Incomplete<'a> {
    set: &'a ResultSet,
    members: HashMap<&'a TaskId, Vec<usize>>,
    left: Vec<usize>,
    waiting: usize,
}

impl<'a> Incomplete<'a> {
    fn of(set: &'a ResultSet) -> Self {
        let mut members: HashMap<&TaskId, Vec<usize>> = HashMap::new();
        let mut left = vec![0; set.len()];
        for (place, result) in set.results().iter().enumerate() {
            for task in result.leaves().into_iter().filter(|task| !task.ignored()) {
                members.entry(task.id()).or_default().push(place);
                left[place] += 1;
            }
        }
        let waiting = members.len();
        Self { set, members, left, waiting }
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Raises a failure of a task that somebody waits for.
    fn raise(&self, meta: &ResultMeta, propagate: bool) -> Result<()> {
        if self.members.contains_key(&meta.task_id) { raise(meta, propagate) } else { Ok(()) }
    }

    /// The members that are complete now that a task has ended.
    fn arrived(&mut self, id: &TaskId) -> Vec<&'a AnyResult> {
        let places = self.members.remove(id);
        self.waiting -= usize::from(places.is_some());
        let mut complete = Vec::new();
        for place in places.into_iter().flatten() {
            self.left[place] -= 1;
            if self.left[place] == 0 {
                complete.push(&self.set.results()[place]);
            }
        }
        complete
    }
}
