//! Who must be told?
