use jiff::SignedDuration;

/// The least time from the end of a turn to a prompt of the harness that is
/// scheduled: a harness that corrects an agent sends its prompt at once.
const SCHEDULED_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// The same if the end of the turn was not recorded.
const SCHEDULED_WITHOUT_END: SignedDuration = SignedDuration::from_secs(2 * 60);
/// The longest time from the end of a turn to a prompt that continues the work.
const NUDGE_WITHIN: SignedDuration = SignedDuration::from_secs(2);

/// The effect of a prompt on a stretch of work.
///
/// Repetitions count within one stretch.
///
/// | prompt | start |
/// | --- | --- |
/// | of a person | `Person`: a new stretch |
/// | of the harness, 10 s or more after the turn ended | `Scheduled`: a new stretch |
/// | of the harness, 2 min or more after the latest event of an open turn | `Scheduled` |
/// | of the harness, more than 2 s after the turn ended | `Restarted`: the same stretch, weighs less |
/// | any other of the harness | `Continued`: the same stretch |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// The event continues the work, or is no prompt.
    #[default]
    Continued,
    /// The harness restarted the agent seconds after its turn ended.
    Restarted,
    /// The harness began a turn of its own, such as a heartbeat.
    Scheduled,
    /// A person sent a prompt.
    Person,
}

impl Start {
    /// Classifies a prompt of the harness by the time since the latest event.
    pub(super) fn of_synthetic(has_turn: bool, idle: SignedDuration) -> Self {
        let scheduled_after = if has_turn { SCHEDULED_WITHOUT_END } else { SCHEDULED_AFTER };
        if scheduled_after <= idle {
            Self::Scheduled
        } else if !has_turn && NUDGE_WITHIN < idle {
            Self::Restarted
        } else {
            Self::Continued
        }
    }

    /// Returns the reason why earlier repetitions no longer count, if the event
    /// begins a new stretch of work.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Person => Some("a person sent a prompt"),
            Self::Scheduled => Some("a scheduled turn began"),
            Self::Continued | Self::Restarted => None,
        }
    }
}
