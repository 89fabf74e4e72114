/// A stored object cannot be read or changed, with a reason for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// The object is not valid.
    Invalid(String),
    /// There is no active object with this id.
    Unknown,
    /// Another program changes the objects. The client may try again.
    Busy(String),
    /// The objects cannot be read or written.
    Failed(String),
}
