//! What detectors cost, beyond what the engine does without them.

use std::{fmt::Write as _, io};

use watchkeeper_core::{Event, EventKind, NamedDetector, SessionId, Timestamp};

use crate::{
    Plan,
    engine::observe,
    measure,
    table::{Figure, Row},
    traffic::{Engines, Traffic},
};

/// How long the arguments of a call are, in bytes.
const ARGUMENTS: usize = 200;
/// How many events of one session are observed at once: few enough to be in the
/// caches, as those are that a source has just read.
const BLOCK: usize = 2_000;
/// How many bytes of text an agent says at once.
const TEXT: usize = 1 << 20;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut res = vec![
        of_policy("detectors, all of the built-in policy", plan.policy.detectors.clone(), plan)?
            .at_most(60.0),
    ];
    for it in &plan.policy.detectors {
        res.push(of_policy(&format!("detectors, `{}` alone", it.id), vec![it.clone()], plan)?);
    }
    for (name, piece) in [("whole", TEXT), ("in pieces of 1,000 bytes", 1000), ("of 24", 24)] {
        res.push(chant(&format!("chant, a byte of a message {name}"), piece, plan)?);
    }
    Ok(res)
}

/// What each of the events of a session that goes well costs these detectors.
fn of_policy(name: &str, detectors: Vec<NamedDetector>, plan: &Plan) -> io::Result<Row> {
    let engines = Engines::new(&plan.policy);
    let mut bare = (engines.with(Vec::new()), Traffic::new(1, ARGUMENTS));
    let mut full = (engines.with(detectors), Traffic::new(1, ARGUMENTS));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(150) {
        without.push(observe(&mut bare.0, &bare.1.take(BLOCK))?);
        with.push(observe(&mut full.0, &full.1.take(BLOCK))?);
    }
    let (without, with) = (measure::undisturbed(without), measure::undisturbed(with));
    let beside = format!("an event; without detectors it takes {}", Figure::Nanos(without));
    Ok(Row::new(name, Figure::Nanos((with - without).max(0.0))).beside(beside))
}

/// What a byte of text costs that is told in pieces of this many bytes.
fn chant(name: &str, piece: usize, plan: &Plan) -> io::Result<Row> {
    let engines = Engines::new(&plan.policy);
    let chanting = plan
        .policy
        .detectors
        .iter()
        .filter(|it| &*it.id == "repeated_text")
        .cloned()
        .collect::<Vec<_>>();
    let text = prose();
    let session = SessionId::from("s");
    let pieces = text.as_bytes().chunks(piece).map(|it| {
        let text = String::from_utf8_lossy(it).into_owned().into();
        let kind = EventKind::Message { text, delta: piece != TEXT };
        Event::new(Timestamp::UNIX_EPOCH, session.clone(), kind)
    });
    let pieces: Vec<Event> = pieces.collect();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(9) {
        without.push(observe(&mut engines.with(Vec::new()), &pieces)?);
        with.push(observe(&mut engines.with(chanting.clone()), &pieces)?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
    let a_byte = |nanos: Vec<f64>| measure::median(nanos) * pieces.len() as f64 / TEXT as f64;
    let (without, with) = (a_byte(without), a_byte(with));
    let row = Row::new(name, Figure::Nanos((with - without).max(0.0)));
    // In smaller pieces it is the events that cost.
    let row = if 1000 <= piece { row.at_most(6.0) } else { row };
    Ok(row.beside(format!("without detectors it takes {}", Figure::Nanos(without))))
}

/// What agents say, in words that do not repeat.
fn prose() -> String {
    let words = ["the", "harbor", "knows", "keel", "and", "anchor", "while", "a", "crane", "lifts"];
    let mut res = String::with_capacity(TEXT + 32);
    let mut n: u64 = 0;
    while res.len() < TEXT {
        let dice = crate::dice::mixed(n);
        let place = usize::try_from(dice % 10).unwrap_or_default();
        res.push_str(words[place]);
        if dice.is_multiple_of(7) {
            let _ = write!(res, "_{:x}", dice >> 40);
        }
        res.push_str(if dice.is_multiple_of(13) { ".\n" } else { " " });
        n += 1;
    }
    res.truncate(TEXT);
    res
}
