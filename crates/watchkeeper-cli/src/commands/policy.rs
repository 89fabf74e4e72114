use clap::Args;
use watchkeeper_core::embed::Registry;

use crate::{
    error::Error,
    global::Global,
    loading,
    output::{Output, Status},
};

/// Print the active policy, with the origin of every value
#[derive(Debug, Args)]
pub(crate) struct ShowPolicy {
    /// Print the source of the built-in policy, with its comments
    #[arg(long)]
    builtin: bool,
}

impl ShowPolicy {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        if self.builtin {
            output.out.write_all(watchkeeper_policy::BUILTIN.as_bytes())?;
        } else {
            let file = loading::find(global.policy.as_deref(), output);
            if global.is_verbose() {
                loading::print_place(&file, output);
            }
            let policy = loading::policy(&file, global, registry, output)?;
            write!(output.out, "{}", policy.effective)?;
        }
        Ok(Status::Success)
    }
}
