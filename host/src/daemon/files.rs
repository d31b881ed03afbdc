//! How many files may be open at once? Each connection is one. The system has two limits: one that holds, for programs that take
//! long over each, and one up to which a program may raise it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::outside::MOST_CONNECTIONS;

/// What is open besides connections to this daemon: the store, the pipes of processes, what tasks have others do, and what is kept for
/// their next requests.
const BESIDE: u64 = 256 + MOST_CONNECTIONS as u64;

/// Raises the limit as far as it goes, and warns if that is not far enough.
pub(super) fn raise(max_connections: usize) {
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    if let Some(limit) = too_few(getrlimit(Resource::Nofile).current, max_connections) {
        tracing::warn!(
            "{limit} files may be open at once, and {max_connections} connections (http.max_connections) may need {BESIDE} \
             more than that: connections that are idle are closed when it runs out; raise the limit (ulimit -Hn, \
             LimitNOFILE) or lower http.max_connections"
        );
    }
}

/// The limit (none: there is no such), if it is too low.
fn too_few(limit: Option<u64>, max_connections: usize) -> Option<u64> {
    limit.filter(|limit| *limit < BESIDE.saturating_add(u64::try_from(max_connections).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_too_low_that_has_no_room_for_more_than_connections() {
        assert_eq!(too_few(Some(1024), 1024), Some(1024));
        assert_eq!(too_few(Some(1791), 1024), Some(1791));
        assert_eq!(too_few(Some(1792), 1024), None);
        assert_eq!(too_few(None, usize::MAX), None);
    }

    #[test]
    fn it_is_raised_as_far_as_it_goes() {
        raise(0);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
