//! The components that the tests run; `build.rs` made them.

use std::path::Path;

macro_rules! guests {
    ($($(#[$doc:meta])* $name:ident = $variable:literal;)*) => {
        $($(#[$doc])* pub fn $name() -> &'static Path { Path::new(env!($variable)) })*
    };
}

guests! {
    /// `tasks/digest`
    digest = "GUEST_DIGEST";
    /// `tasks/thumbnail`
    thumbnail = "GUEST_THUMBNAIL";
    /// `tasks/tour`
    tour = "GUEST_TOUR";
    /// `tasks/wordcount`
    wordcount = "GUEST_WORDCOUNT";
    /// The tasks of Celery's own integration suite.
    celery_suite = "GUEST_CELERY_SUITE";
    /// Two tasks of one name.
    duplicate = "GUEST_DUPLICATE";
    /// No tasks.
    empty = "GUEST_EMPTY";
    /// Has handlers, good ones and bad ones.
    handlers = "GUEST_HANDLERS";
    /// Breaks the contract.
    liar = "GUEST_LIAR";
    /// Work for benches, and attacks.
    load = "GUEST_LOAD";
    /// Names what is not its own.
    meddling = "GUEST_MEDDLING";
    /// Does not describe itself as JSON.
    mumbling = "GUEST_MUMBLING";
    /// Reaches for what is outside.
    reaching = "GUEST_REACHING";
    /// Never describes itself.
    restless = "GUEST_RESTLESS";
    /// Runs into every wall.
    walls = "GUEST_WALLS";
}

/// Those that a sandbox admits.
pub fn admissible() -> [&'static Path; 9] {
    [digest(), thumbnail(), tour(), wordcount(), celery_suite(), handlers(), liar(), reaching(), walls()]
}
