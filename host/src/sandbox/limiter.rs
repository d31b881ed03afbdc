//! How much memory an attempt has: all its linear memories and tables in one sum.
//!
//! wasmtime's own limits hold per memory, and a component may have thousands; this one adds them up, refuses before
//! anything is allocated, and remembers that it refused: a guest's abort after a refusal is then told apart from others.

use wasmtime::ResourceLimiter;

/// What one table element costs the host.
const TABLE_ELEMENT_BYTES: usize = 8;
/// The most core instances, and so on, that a component may have.
const MAX_PARTS: usize = 64;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A linear memory of so many bytes more.
    Memory(usize),
    /// A table of so many elements more.
    Table(usize),
}

/// The limiter of one store.
#[derive(Debug)]
pub(super) struct Limiter {
    limit_bytes: usize,
    in_use_bytes: usize,
    peak_bytes: usize,
    /// What the last growth added, in case it fails after it was granted.
    last_bytes: usize,
    refused: Option<Refused>,
}

impl Limiter {
    pub(super) fn new(limit_bytes: u64) -> Self {
        let limit_bytes = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self { limit_bytes, in_use_bytes: 0, peak_bytes: 0, last_bytes: 0, refused: None }
    }

    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub(super) fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    /// Counts what another instance of the same attempt came to.
    pub(super) fn peaked(&mut self, bytes: usize) {
        self.peak_bytes = self.peak_bytes.max(bytes);
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// `fits`: whether it stays below its own maximum, which is also where the pool's place for it ends.
    fn grant(&mut self, more_bytes: usize, fits: bool, what: Refused) -> bool {
        match self.in_use_bytes.checked_add(more_bytes) {
            Some(total) if fits && total <= self.limit_bytes => {
                self.in_use_bytes = total;
                self.last_bytes = more_bytes;
                self.peak_bytes = self.peak_bytes.max(total);
                true
            }
            _ => {
                self.last_bytes = 0;
                self.refused = Some(what);
                false
            }
        }
    }

    fn undo(&mut self) {
        self.in_use_bytes -= std::mem::take(&mut self.last_bytes);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = maximum.is_none_or(|most| desired <= most);
        Ok(self.grant(more, fits, Refused::Memory(more)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // The pool's slots end at the operator's limit, which is also a limit of memory.
        tracing::debug!(%error, "a granted growth of memory failed");
        self.refused = Some(Refused::Memory(self.last_bytes));
        self.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let bytes = more.saturating_mul(TABLE_ELEMENT_BYTES);
        let fits = maximum.is_none_or(|most| desired <= most);
        Ok(self.grant(bytes, fits, Refused::Table(more)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Refused::Table(self.last_bytes / TABLE_ELEMENT_BYTES));
        self.undo();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(!limiter.memory_growing(0, 600, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory(600)));
        assert!(limiter.table_growing(0, 50, None).unwrap());
        assert!(!limiter.table_growing(50, 51, None).unwrap());
        assert_eq!((limiter.peak_bytes(), limiter.refused()), (1000, Some(Refused::Table(1))));
    }

    #[test]
    fn the_end_of_a_place_is_a_refusal_too() {
        let mut limiter = Limiter::new(1000);
        assert!(!limiter.table_growing(0, 11, Some(10)).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Table(11)));
    }

    #[test]
    fn a_failed_growth_is_given_back() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 900, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(limiter.memory_growing(0, 1000, None).unwrap());
    }
}
