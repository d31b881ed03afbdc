//! What does an outcome mean?
