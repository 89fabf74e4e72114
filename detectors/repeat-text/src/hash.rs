/// An FNV-1a hash, identical on every platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(crate) fn push(&mut self, byte: u8) {
        self.push_symbol(u32::from(byte));
    }

    /// Adds a symbol in one step.
    pub(crate) fn push_symbol(&mut self, symbol: u32) {
        self.0 = (self.0 ^ u64::from(symbol)).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// Returns the hash as a symbol, which is never zero.
    pub(crate) fn symbol(self) -> u32 {
        let [low, high] = [self.0 & 0xffff_ffff, self.0 >> 32];
        u32::try_from(low ^ high).unwrap_or_default().max(1)
    }
}
