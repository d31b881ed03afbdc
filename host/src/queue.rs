//! What may be queued?
