use std::path::Path;

use clap::{Args, ValueEnum};
use watchkeeper_core::embed::Registry;
use watchkeeper_policy::{BUILTIN_DEFAULT, builtin};

use crate::{
    error::Error,
    global::Global,
    loading,
    output::{Output, Status},
};

/// Print the active policy, with the origin of every value
#[derive(Debug, Args)]
pub(crate) struct ShowPolicy {
    /// Print the source of a built-in policy, with its comments
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "default")]
    builtin: Option<Builtin>,
}

/// A built-in policy.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Builtin {
    /// All known failures of agents
    Default,
    /// Fixed limits of a session
    SafeSession,
}

impl ShowPolicy {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        if let Some(name) = self.builtin {
            let name = match name {
                Builtin::Default => BUILTIN_DEFAULT,
                Builtin::SafeSession => "builtin:safe-session",
            };
            let text = builtin(Path::new(name)).unwrap_or_default();
            output.out.write_all(text.as_bytes())?;
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
