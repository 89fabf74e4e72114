use clap::Args;
use watchkeeper_core::embed::Registry;

use super::install::{Clients, print};
use crate::{
    error::Error,
    global::Global,
    output::{Output, Status},
};

/// Remove the hooks of `watchkeeper install` from the settings of clients
///
/// A file that nobody has changed since gets its earlier content back, byte for byte. In another,
/// the hooks are removed and everything else stays.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    clients: Clients,
}

impl Uninstall {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let dry = self.clients.is_dry();
        self.clients.each(global, registry, output, |_, installation, output| {
            print(&installation.remove(dry)?, installation.file(), dry, output)
        })
    }
}
