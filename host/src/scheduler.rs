//! When, and on which slot?
