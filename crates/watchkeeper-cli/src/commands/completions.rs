use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::{Output, Status};

/// Print completions for a shell
///
/// For bash, for example: watchkeeper completions bash >
/// ~/.local/share/bash-completion/completions/watchkeeper
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, output: &mut Output<'_>) -> io::Result<Status> {
        let mut command = crate::Args::command();
        let name = command.get_name().to_owned();
        let mut text = Vec::new();
        generate(self.shell, &mut command, name, &mut text);
        output.out.write_all(&text)?;
        Ok(Status::Success)
    }
}
