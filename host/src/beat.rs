//! What must be sent again and again?

mod fields;
mod timetable;

pub use timetable::Timetable;
