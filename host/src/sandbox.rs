//! What happened inside?
