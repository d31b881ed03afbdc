//! What is wired to what?
