use std::{collections::BTreeSet, sync::Arc};

/// How many names are held; an agent has some dozens of tools.
const MAX_NAMES: usize = 256;

/// Names of tools, each held once.
#[derive(Debug, Default)]
pub(crate) struct ToolNames(BTreeSet<Arc<str>>);

impl ToolNames {
    pub(crate) fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.0.get(name) {
            return name.clone();
        }
        let name = Arc::<str>::from(name);
        if self.0.len() < MAX_NAMES {
            self.0.insert(name.clone());
        }
        name
    }
}
