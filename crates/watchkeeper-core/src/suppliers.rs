use std::collections::HashMap;

use rapidhash::fast::RandomState;

use crate::{EventKind, Fingerprint, SessionId};

/// Selects the supplier of each part of a session, so that a session with two suppliers counts
/// once.
///
/// A client may write a session file and send telemetry about the same session. The two have no
/// ids in common by which every event could be compared, and each lacks something. So the first
/// supplier of a part of a session supplies all of this part: the texts, the usage, the calls, the
/// errors, or the rest, such as the ends of turns. Events of this part from any other supplier are
/// not admitted.
///
/// Memory is bounded: the parts of the sessions that have had no event for the longest time are
/// forgotten.
#[derive(Debug, Default)]
pub struct Suppliers {
    latest: Option<Latest>,
    newer: HashMap<Fingerprint, &'static str, RandomState>,
    older: HashMap<Fingerprint, &'static str, RandomState>,
}

/// The session of the latest event that counted, cached: most events follow another one of
/// their session.
#[derive(Debug)]
struct Latest {
    session: SessionId,
    supplier: &'static str,
    /// The parts that the supplier supplies, as bits.
    parts: u8,
}

/// A part of a session that has one supplier.
#[derive(Clone, Copy)]
enum Part {
    Texts,
    Usage,
    Calls,
    Errors,
    Rest,
}

impl Part {
    const fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::Prompt { .. } | EventKind::Message { .. } | EventKind::Thinking { .. } => {
                Self::Texts
            }
            EventKind::ModelCall(_) => Self::Usage,
            EventKind::ToolCall(_) | EventKind::ToolResult(_) => Self::Calls,
            EventKind::Error { .. } => Self::Errors,
            _ => Self::Rest,
        }
    }
}

impl Suppliers {
    /// The smallest number of parts of recent sessions that are kept.
    const CAPACITY: usize = 1 << 16;

    /// Returns whether an event of a session counts if `supplier` supplies it.
    #[must_use]
    pub fn admits(
        &mut self,
        session: &SessionId,
        kind: &EventKind,
        supplier: &'static str,
    ) -> bool {
        let part = Part::of(kind);
        let bit = 1 << part as u8;
        let is_cached = |latest: &Latest| latest.is_of(session, supplier);
        if self.latest.as_ref().is_some_and(|latest| is_cached(latest) && latest.parts & bit != 0) {
            return true;
        }
        let key = Fingerprint::of(session.as_str()).and(Fingerprint::from(part as u64));
        if self.supplier_of(key, supplier) != supplier {
            return false;
        }
        match self.latest.as_mut().filter(|latest| is_cached(latest)) {
            Some(latest) => latest.parts |= bit,
            None => {
                self.latest = Some(Latest { session: session.clone(), supplier, parts: bit });
            }
        }
        true
    }

    /// Returns the supplier of a part, which is `supplier` if there is none yet.
    fn supplier_of(&mut self, key: Fingerprint, supplier: &'static str) -> &'static str {
        if let Some(known) = self.newer.get(&key) {
            return known;
        }
        let known = self.older.remove(&key).unwrap_or(supplier);
        if self.newer.len() == Self::CAPACITY {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, known);
        known
    }
}

impl Latest {
    fn is_of(&self, session: &SessionId, supplier: &'static str) -> bool {
        // The events of a session share its id. Other ids with the same text take longer.
        std::ptr::eq(self.session.as_str(), session.as_str()) && self.supplier == supplier
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Suppliers;
    use crate::{EventKind, ModelCall, SessionId, Tokens};

    fn usage(input: u64) -> EventKind {
        let tokens = Tokens { input, ..Tokens::default() };
        EventKind::ModelCall(ModelCall { tokens, ..ModelCall::default() })
    }

    #[test]
    fn each_part_of_a_session_has_its_first_supplier() {
        let mut suppliers = Suppliers::default();
        let [session, other] = ["s1", "s2"].map(SessionId::from);
        let error = || EventKind::Error { message: "overloaded".into(), retry: Some(1) };
        for (supplier, kind, expected) in [
            ("file", usage(1), true),
            ("telemetry", usage(1), false),
            // The file does not contain retries.
            ("telemetry", error(), true),
            ("file", error(), false),
            ("file", usage(2), true),
        ] {
            assert_eq!(suppliers.admits(&session, &kind, supplier), expected, "{supplier}");
        }
        assert!(suppliers.admits(&other, &usage(1), "telemetry"));
        assert!(!suppliers.admits(&SessionId::from("s1"), &usage(1), "telemetry"));
    }

    #[test]
    fn memory_is_bounded_and_keeps_recent_sessions() {
        let mut suppliers = Suppliers::default();
        let first = SessionId::from("first");
        for n in 0..3 * Suppliers::CAPACITY {
            let session = SessionId::from(n.to_string());
            assert!(suppliers.admits(&session, &usage(1), "telemetry"));
            if n % 1000 == 0 {
                assert!(suppliers.admits(&first, &usage(1), "file"));
                assert!(!suppliers.admits(&first, &usage(1), "telemetry"));
            }
        }
        assert!(suppliers.newer.len() + suppliers.older.len() <= 2 * Suppliers::CAPACITY);
    }

    proptest! {
        /// Whatever the order of two suppliers is, one of them supplies the usage of a session.
        #[test]
        fn the_usage_of_a_session_is_that_of_one_supplier(
            events in prop::collection::vec((0..3_usize, any::<bool>(), 1..100_u64), 0..60),
        ) {
            let sessions = ["s0", "s1", "s2"].map(SessionId::from);
            let mut suppliers = Suppliers::default();
            let mut admitted = BTreeMap::<usize, u64>::new();
            let mut supplied = BTreeMap::<(usize, &str), u64>::new();
            for (session, is_file, tokens) in events {
                let supplier = if is_file { "file" } else { "telemetry" };
                *supplied.entry((session, supplier)).or_default() += tokens;
                if suppliers.admits(&sessions[session], &usage(tokens), supplier) {
                    *admitted.entry(session).or_default() += tokens;
                }
            }
            for (session, tokens) in admitted {
                let of = |supplier| supplied.get(&(session, supplier)).copied();
                prop_assert!([of("file"), of("telemetry")].contains(&Some(tokens)));
            }
        }
    }
}
