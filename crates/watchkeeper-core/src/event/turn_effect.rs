/// The effect of an event on the turn of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnEffect {
    /// The turn begins or continues.
    Continues,
    /// The turn ends.
    Ends,
    /// The event changes nothing about the turn.
    None,
}
