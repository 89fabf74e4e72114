//! The number of files that the program may open.

#[cfg(unix)]
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The number of open files for which the program asks. The page has up to 256 connections, and
/// each session file that is read is open for a moment. Some systems allow 256 without being asked.
#[cfg(unix)]
const WANTED: rlim_t = 4096;

/// Raises the number of files that the program may open, as far as the system allows. Otherwise
/// clients of the page could use up the number, and session files would not be read.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        raised(soft, hard).map_or(Ok(()), |soft| setrlimit(Resource::RLIMIT_NOFILE, soft, hard))
    });
    if let Err(err) = raised {
        tracing::debug!(%err, "the number of open files cannot be raised");
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_limit() {}

/// Returns the limit to ask for, if it is higher than the present one.
#[cfg(unix)]
fn raised(soft: rlim_t, hard: rlim_t) -> Option<rlim_t> {
    let wanted = WANTED.min(hard);
    (soft < wanted).then_some(wanted)
}

#[cfg(all(test, unix))]
mod tests {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

    use super::{WANTED, raise_limit, raised};

    #[test]
    fn the_limit_is_raised_within_the_hard_one_and_never_lowered() {
        assert_eq!(raised(256, RLIM_INFINITY), Some(WANTED));
        assert_eq!(raised(256, 1024), Some(1024));
        assert_eq!((raised(1024, 1024), raised(65_536, RLIM_INFINITY)), (None, None));
        raise_limit();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(WANTED.min(hard) <= soft, "{soft} of {hard}");
    }
}
