//! What is done in one step? The scripts, each with the texts that it stands on.
//!
//! Invariants: a script is all or nothing, since it checks before it writes. It looks at what it moves, or at a page: so do lists with a
//! filter, and so does what goes back to its line, stands for nothing any more, or is purged; what is left is due at once. (Who opens the
//! store, or asks again for messages that it was given and never heard of, looks at all leases; who asks where leases look, at all queues.)
//! Scripts name keys in `scripts/keys.lua` alone.

use super::options::Options;
use crate::store::VALUE_OVERHEAD_BYTES;
use crate::store::record::{MAX_CHILDREN, MAX_LEASED_BYTES, MAX_LISTED_BYTES, MAX_LOGS};

/// The schema of our own keys.
pub(super) const SCHEMA: u32 = 2;

/// The most messages that nobody can run that are kept, the newest.
const MAX_DEAD: u64 = 10_000;

/// One step ends once it has put back, or purged, so many bytes, so that others get their turn.
const MAX_MOVED_BYTES: u64 = 2 * 1024 * 1024;

/// For how long a chord is claimed by who counted its last part, in seconds.
const CLAIM_TTL: u32 = 60;
/// For how long a chord that has been dealt with is remembered, in seconds: as Celery does.
const DONE_TTL: u32 = 300;

/// What every script stands on.
const BASE: [&str; 3] =
    [include_str!("scripts/keys.lua"), include_str!("scripts/gather.lua"), include_str!("scripts/rows.lua")];
/// Every text is in a function within the one of the text before it. What a function uses from around the one that it is made in is at
/// hand; what is local to that one is looked for, name by name, each time that a script begins.
const BEGIN: &str = "\nreturn (function()\n";
const END: &str = "\nend)()";

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($file:literal),*]),* $(,)?) => {
        /// A script.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Script { $($(#[$doc])* $name),* }

        const TEXTS: &[&[&str]] = &[$(&[$(include_str!(concat!("scripts/", $file, ".lua"))),*]),*];
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    /// Begins a host's time.
    Open = ["back", "open"],
    /// Which queues there are.
    Registry = ["registry"],
    /// Stores plans.
    Submit = ["ends", "submit"],
    /// Takes messages.
    Lease = ["back", "glance", "lease"],
    /// Says what was found in messages of clients.
    Adopt = ["back", "adopt"],
    /// Ends what nobody can run.
    Bury = ["ends", "inline", "bury"],
    /// Puts back what a Celery worker lost.
    Restore = ["back", "restore"],
    /// Ends attempts.
    Settle = ["ends", "inline", "settle"],
    /// Gives messages back.
    Give = ["back", "give"],
    /// Extends leases.
    Renew = ["renew"],
    /// Sets a state of a task's own.
    Report = ["report"],
    /// Revokes one task.
    Revoke = ["ends", "inline", "revoked", "revoke"],
    /// Revokes tasks by their stamps.
    Stamped = ["ends", "inline", "revoked", "stamped"],
    /// Revokes what waits in a queue.
    Purge = ["ends", "inline", "revoked", "purge"],
    /// Lets a task run once more.
    Resubmit = ["resubmit"],
    /// Deals with followers.
    Follow = ["ends", "inline", "follow"],
    /// What has ended.
    Ended = ["ended"],
    /// Whose something is that ended.
    Whose = ["whose"],
    /// Who waits.
    Followers = ["followers"],
    /// What is known of tasks.
    Tasks = ["tasks"],
    /// Logs of one task.
    Logs = ["logs"],
    /// Results of some tasks.
    Metas = ["metas"],
    /// How much is in each queue.
    Queues = ["queues"],
    /// Drops one task.
    Forget = ["forget"],
    /// Drops old tasks.
    Expire = ["expire"],
    /// Results of groups.
    Groups = ["room", "groups"],
    /// Versions of modules.
    Modules = ["modules"],
    /// Reads of modules.
    Shelf = ["shelf"],
    /// Periodic tasks.
    Schedules = ["schedules"],
    /// What waits for its time.
    Scheduled = ["scheduled"],
    /// Lets what was postponed be leased.
    Hasten = ["back", "hasten"],
    /// Pauses a queue.
    Pause = ["pause"],
    /// Whether a queue is paused.
    Paused = ["paused"],
    /// Tenants and tokens.
    Access = ["access"],
    /// What a tenant has used.
    Metered = ["metered"],
    /// How much fuel tenants have used.
    Fuel = ["fuel"],
    /// Values by key.
    Values = ["room", "values"],
}

/// Every script, with the settings of one store in it.
pub(super) struct Scripts(Vec<Text>);

/// One of them.
pub(super) struct Text {
    pub(super) code: String,
    pub(super) hash: String,
}

impl Scripts {
    /// The scripts of all hosts with these options.
    pub(super) fn of(options: &Options) -> Self {
        let head = head(options);
        let text = |parts: &&[&str]| {
            let texts: Vec<&str> = BASE.iter().chain(*parts).copied().collect();
            let code = head.clone() + &texts.join(BEGIN) + &END.repeat(texts.len() - 1);
            Text { hash: redis::Script::new(&code).get_hash().to_owned(), code }
        };
        Self(TEXTS.iter().map(text).collect())
    }

    pub(super) fn get(&self, script: Script) -> &Text {
        &self.0[script as usize]
    }
}

impl Script {
    /// What it is called in errors.
    pub(super) fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

fn head(options: &Options) -> String {
    let steps: Vec<String> = options.priority_steps.iter().map(u8::to_string).collect();
    let lists = options.priority_steps.iter().map(|step| format!("\"{}\"", quoted(&options.behind(*step))));
    let lists: Vec<String> = lists.collect();
    let texts = [
        ("G", options.global_keyprefix.as_str()),
        ("R", &options.result_keyprefix),
        ("SEP", &options.sep),
        ("UNACKED", &options.unacked_key),
        ("UNACKED_INDEX", &options.unacked_index_key),
        ("UNACKED_MUTEX", &options.unacked_mutex_key),
    ];
    let numbers = [
        ("TTL", options.result_expires.as_secs().max(1)),
        ("VISIBILITY", options.visibility_timeout.as_secs().max(1)),
        ("MAX_BYTES", MAX_LEASED_BYTES as u64),
        ("MAX_LISTED", MAX_LISTED_BYTES as u64),
        ("MAX_CHILDREN", MAX_CHILDREN as u64),
        ("MAX_LOGS", MAX_LOGS as u64),
        ("MAX_DEAD", MAX_DEAD),
        ("MAX_MOVED", MAX_MOVED_BYTES),
        ("SCHEMA", u64::from(SCHEMA)),
        ("CLAIM_TTL", u64::from(CLAIM_TTL)),
        ("DONE_TTL", u64::from(DONE_TTL)),
        ("VALUE_OVERHEAD", VALUE_OVERHEAD_BYTES),
    ];
    let texts = texts.iter().map(|(name, text)| format!("local {name} = \"{}\"\n", quoted(text)));
    let numbers = numbers.iter().map(|(name, number)| format!("local {name} = {number}\n"));
    let steps = format!("local STEPS, LISTS = {{{}}}, {{{}}}\n", steps.join(","), lists.join(","));
    let arguments = "local A, OPENING = cmsgpack.unpack(ARGV[1]), ARGV[2]\n";
    texts.chain(numbers).collect::<String>() + &steps + arguments
}

/// A text as Lua writes it: every byte by its number, so that none means anything else.
fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:03}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_its_quotes() {
        assert_eq!(quoted("a\"\n\\"), "\\097\\034\\010\\092");
    }

    #[test]
    fn scripts_are_told_apart() {
        let scripts = Scripts::of(&Options::new("redis://", "host"));
        let mut all: Vec<&str> = scripts.0.iter().map(|text| text.hash.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), TEXTS.len());
        assert_eq!(Script::Pause.name(), "Pause");
    }
}
