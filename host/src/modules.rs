//! Which code is a task name?
