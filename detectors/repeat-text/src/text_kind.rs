/// A kind of text, counted separately from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    Message,
    Thought,
}
