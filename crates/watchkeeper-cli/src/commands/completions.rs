use std::io;

use clap::Args;
use clap_complete::{Shell, generate};

use crate::output::{Output, Status};

/// Print completions for a shell
///
/// Example for bash: watchkeeper completions bash >
/// ~/.local/share/bash-completion/completions/watchkeeper
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Name of the shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(
        self,
        mut parser: clap::Command,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        let name = parser.get_bin_name().unwrap_or("watchkeeper").to_owned();
        let mut text = Vec::new();
        generate(self.shell, &mut parser, name, &mut text);
        output.out.write_all(&text)?;
        Ok(Status::Success)
    }
}
