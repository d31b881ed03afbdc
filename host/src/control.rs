//! What is ordered about tasks?
