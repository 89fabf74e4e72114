//! The texts of findings.

/// Returns a number of sub-agents for a message.
pub(crate) fn agents(n: u64) -> String {
    if n == 1 { "1 sub-agent".to_owned() } else { format!("{n} sub-agents") }
}
