//! The progress that finished calls make.
//!
//! | contribution | recognized by | reason |
//! | --- | --- | --- |
//! | change | a successful write, by a tool or a shell command, that was not made recently | the work has moved |
//! | new | most of the result was in no recent result | the agent has learned something |
//! | partly known | half of the result is new | overlapping pages, moved windows |
//! | known | at most a quarter of the result is new | the agent has read this already |
//! | repeated change | a successful write of a text that was made recently | the second time, it adds nothing |
//! | nothing | the class `nothing`, unless the result is long and new | nothing was found |
//! | failed | the class `failed`, or a result that reports an error | the call had no effect |
//! | neutral | polls, waits, plans, questions, acknowledgements, unfinished work that changes no text, calls that did not run, outages; repeated writes of short values; a known result of a call that was last made before a change | says nothing about progress: such a call checks a change, or depends on others |

/// The progress that one finished call makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contribution {
    /// A change that was not made recently.
    Change,
    /// A result of which most is new.
    New,
    /// A result of which about half is new.
    PartlyKnown,
    /// A result that contains nothing new.
    Known,
    /// A change that was made recently.
    RepeatedChange,
    /// Nothing was found.
    Nothing,
    /// The call failed.
    Failed,
    /// Neither progress nor its absence.
    Neutral,
}
