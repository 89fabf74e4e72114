use clap::Args;
use watchkeeper_core::embed::Registry;

use super::install::{Clients, print};
use crate::{
    error::Error,
    global::Global,
    loading,
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
        // An invalid policy does not matter here.
        let file = loading::find(global.policy.as_deref(), output);
        let policy = loading::policy_without_text(&file, registry).ok();
        self.clients.each(policy.as_ref(), output, |_, installation, output| {
            print(&installation.remove(dry)?, installation.file(), dry, output)
        })
    }
}
