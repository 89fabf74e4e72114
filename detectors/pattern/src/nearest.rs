/// Returns the known name that is most similar to an unknown one, if any.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const MAX_DISTANCE: usize = 3;
    // A name of one letter is equally similar to all others.
    let len = name.chars().count();
    let limit = MAX_DISTANCE.min(len.div_ceil(3)).min(len.saturating_sub(1));
    let distance = |other: &str| {
        if other.eq_ignore_ascii_case(name) { 0 } else { strsim::damerau_levenshtein(name, other) }
    };
    let near = known.map(|other| (distance(other), other)).filter(|(far, _)| *far <= limit);
    near.min_by_key(|(far, _)| *far).map(|(_, other)| other)
}
