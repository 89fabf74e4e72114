//! Test kits for sinks and sources.
