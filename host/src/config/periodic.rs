//! The periodic tasks that are declared: `[beat.NAME]`.

use lovage_model::{EntryName, PeriodicTask};

use super::show::Origin;
use super::tables::Declared;
use crate::beat;

/// For the sample.
pub(super) const SAMPLE: &str = "
# Periodic tasks: a table for each, under a name of its own, such as
# [beat.nightly]
# task = \"report.build\"
# args = [1]                      # and kwargs = {...}, options = {queue = \"slow\", expires = 3600, ...}
# crontab = \"30 7 * * mon-fri\"    # or {minute = 30, hour = 7, day_of_week = \"mon-fri\"}, or instead: every = 30.0
# timezone = \"Europe/Berlin\"      # UTC if left out
# enabled = true
# catch_up = true                 # make up for the latest of the times that came while no daemon ran
";

/// Reads one table; the error says what it should be.
pub(super) fn read(
    name: &str,
    written: toml::Value,
    origin: Origin,
) -> Result<(EntryName, Declared<PeriodicTask>), String> {
    let fault = |why: &str| format!("beat.{name} ({origin}): {why}");
    let entry_name: EntryName = name.parse().map_err(|error: lovage_model::NameError| fault(&error.to_string()))?;
    let such_as = "[beat.nightly] with task = \"report.build\" and every = 30.0";
    let declared = Declared::<PeriodicTask>::read(written, origin.clone(), such_as).map_err(|why| fault(&why))?;
    beat::check(&declared.it).map_err(|why| fault(&why))?;
    Ok((entry_name, declared))
}
