//! Is it time? Pure.

use lovage_model::{PeriodicTask, Timestamp};

use super::Timetable;
use crate::store::{Periodic, wrong_from};

/// What a look at a periodic task says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It must be sent, for this time.
    Now(Timestamp),
    /// It is due at this time.
    Later(Timestamp),
    /// It is not.
    Never,
}

impl Due {
    /// When it is due, if not now.
    pub fn later(self) -> Option<Timestamp> {
        if let Self::Later(at) = self { Some(at) } else { None }
    }
}

/// Whether a periodic task is due, by a daemon that runs since `awake`. Of times that were noted by a clock which was far ahead nothing
/// is known but that: what counts then is since when the daemon runs.
pub fn due(periodic: &Periodic, awake: Timestamp, now: Timestamp) -> Due {
    let Periodic { entry, since, last_run, .. } = periodic;
    let table = match Timetable::of(&entry.schedule) {
        Ok(table) if entry.enabled => table,
        _ => return Due::Never,
    };
    let known = |noted: Timestamp| if noted < wrong_from(now) { noted } else { awake };
    let since = known(*since);
    let done = last_run.map_or(since, |last| known(last.slot).max(since));
    let done = if entry.catch_up { done } else { done.max(awake) };
    match table.latest(now) {
        Some(slot) if slot > done => Due::Now(slot),
        _ => table.next(now.max(done)).map_or(Due::Never, Due::Later),
    }
}

/// Reads the schedule of an entry, and looks at what nobody can say of something that is sent many times. The error names
/// the field and what it may be.
pub fn check(entry: &PeriodicTask) -> Result<Timetable, String> {
    let table = Timetable::of(&entry.schedule)?;
    if entry.options.task_id.is_some() || entry.options.group_id.is_some() {
        return Err("options.task_id: each run has an id of its own: leave it out".to_owned());
    }
    if entry.options.eta.is_some() {
        return Err("options.eta: each run has its own time: leave it out, or use countdown".to_owned());
    }
    Ok(table)
}
