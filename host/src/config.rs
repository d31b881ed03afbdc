//! What did the operator mean?
