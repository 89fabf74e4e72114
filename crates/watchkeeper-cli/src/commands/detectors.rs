use std::io;

use clap::Args;
use watchkeeper_core::embed::{Entry, Registry};

use crate::output::{Output, Status, Style};

/// List the detectors, sinks and sources of this program
#[derive(Debug, Args)]
pub(crate) struct Detectors {}

impl Detectors {
    pub(crate) fn run(self, registry: &Registry, output: &mut Output<'_>) -> io::Result<Status> {
        let mut list = List { output, is_first: true };
        list.write("Detectors", registry.detectors.iter())?;
        list.write("Sinks", registry.sinks.iter())?;
        list.write("Sources", registry.sources.iter())?;
        Ok(Status::Success)
    }
}

struct List<'a, 'o> {
    output: &'a mut Output<'o>,
    is_first: bool,
}

impl List<'_, '_> {
    fn write(
        &mut self,
        title: &str,
        kinds: impl Iterator<Item = &'static impl Entry>,
    ) -> io::Result<()> {
        let styled = self.output.styles.out;
        if !std::mem::take(&mut self.is_first) {
            writeln!(self.output.out)?;
        }
        writeln!(self.output.out, "{}", Style::Bold.paint(title, styled))?;
        let kinds: Vec<_> = kinds.collect();
        let width = kinds.iter().map(|it| it.kind().len()).max().unwrap_or(0);
        for entry in kinds {
            let kind = Style::Cyan.paint(&format!("{:width$}", entry.kind()), styled);
            let origin = Style::Dim.paint(&format!("({})", entry.origin()), styled);
            writeln!(self.output.out, "  {kind}  {}  {origin}", entry.summary())?;
        }
        Ok(())
    }
}
