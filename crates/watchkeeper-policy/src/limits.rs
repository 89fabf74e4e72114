//! The limits of a policy.
//!
//! A policy can come from a stranger: a repository has one, and a policy names the files that
//! it extends. Reading any text takes a bounded time, because each limit below is checked
//! before work that grows faster than the text.

/// The largest size of a policy together with the files that it extends, in bytes.
pub(crate) const MAX_LEN: usize = 1 << 18;
/// The largest number of files that a policy extends, directly or indirectly.
pub(crate) const MAX_EXTENDED: usize = 32;
/// The largest number of keys and values of a policy with the files that it extends, and of those
/// that its `[lists]` insert. An element of a list is a value, and so is the list.
pub(crate) const MAX_VALUES: usize = 20_000;
/// The largest number of keys and values of all files that each file extends, directly or
/// indirectly. A file that several files extend counts for each of them.
pub(crate) const MAX_MERGED_VALUES: usize = 40_000;
/// The largest number of detectors, of which each combination of overrides counts.
pub(crate) const MAX_DETECTORS: usize = 1_000;
/// The largest number of keys and values of the detectors and sinks that are read. Each combination
/// of overrides counts; a regular expression counts as 10, and a template as 1,000.
pub(crate) const MAX_EFFORT: usize = 40_000;
/// The largest memory of the compiled options of all detectors, in MiB.
pub(crate) const MAX_MEMORY_MIB: usize = 128;
/// The largest number of entries of each other section: such as sinks, routes and overrides.
pub(crate) const MAX_ENTRIES: usize = 250;
/// The largest number of exceptions of a detector.
pub(crate) const MAX_EXCEPTIONS: usize = 100;
/// The largest number of bytes of names that are compared with patterns, for warnings only.
pub(crate) const MAX_COMPARED: usize = 8 << 20;
/// The largest number of errors, and of warnings, that are reported.
pub(crate) const MAX_REPORTED: usize = 50;
