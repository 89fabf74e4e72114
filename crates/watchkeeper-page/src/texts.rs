use std::collections::BTreeMap;

/// The number of different texts of one session. Later ones are the text 0.
const MAX_TEXTS: usize = 4096;

/// A table of texts, each once. Text 0 is empty.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    texts: Vec<String>,
    positions: BTreeMap<u64, u32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { texts: vec![String::new()], positions: BTreeMap::new() }
    }
}

impl Texts {
    /// Returns the number of a text with this key, which `text` makes if it is new.
    pub(crate) fn number(&mut self, key: u64, text: impl FnOnce() -> String) -> u32 {
        if let Some(number) = self.positions.get(&key) {
            return *number;
        }
        if self.texts.len() == MAX_TEXTS {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "there are at most 4096")]
        let number = self.texts.len() as u32;
        self.texts.push(text());
        self.positions.insert(key, number);
        number
    }

    /// Returns the text with a number.
    pub(crate) fn get(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}
