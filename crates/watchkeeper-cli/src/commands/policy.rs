use std::io;

use clap::Args;
use watchkeeper_core::Registry;

use crate::{Global, Output, Status, loading};

/// Print the policy in force, with the origin of every value
#[derive(Debug, Args)]
pub(crate) struct ShowPolicy {
    /// Print the built-in policy as it is written, comments and all
    #[arg(long)]
    builtin: bool,
}

impl ShowPolicy {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        if self.builtin {
            output.out.write_all(watchkeeper_policy::BUILTIN.as_bytes())?;
            return Ok(Status::Success);
        }
        match loading::policy(global, registry, output) {
            Ok(policy) => {
                write!(output.out, "{}", policy.effective)?;
                Ok(Status::Success)
            }
            Err(status) => Ok(status),
        }
    }
}
