//! The limits of a policy.
//!
//! A policy can come from a stranger: a repository has one, and a policy names the files that
//! it extends. Reading any text takes a bounded time, because each limit below is checked
//! before work that grows faster than the text.

/// The largest size of a policy together with the files that it extends, in bytes.
pub(crate) const MAX_LEN: usize = 1 << 18;
/// The largest number of files that a policy extends, directly or indirectly.
pub(crate) const MAX_EXTENDED: usize = 32;
/// The largest number of keys and list elements of a policy with the files that it extends.
pub(crate) const MAX_VALUES: usize = 20_000;
/// The largest number of detectors, of which each combination of overrides counts.
pub(crate) const MAX_DETECTORS: usize = 1_000;
/// The largest memory of the compiled options of all detectors, in MiB.
pub(crate) const MAX_MEMORY_MIB: usize = 128;
/// The largest number of entries of each other section: such as sinks, routes and overrides.
pub(crate) const MAX_ENTRIES: usize = 250;
/// The largest number of exceptions of a detector.
pub(crate) const MAX_EXCEPTIONS: usize = 100;
/// The largest number of comparisons of patterns with names, for warnings only.
pub(crate) const MAX_COMPARISONS: usize = 1_000_000;
/// The largest number of errors, and of warnings, that are reported.
pub(crate) const MAX_REPORTED: usize = 50;
