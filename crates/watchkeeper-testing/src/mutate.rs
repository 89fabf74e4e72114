use crate::Dice;

/// Changes a few bytes, inserts one of the `tokens`, moves a part, or cuts the rest off.
///
/// `tokens` are bytes that often change the meaning of the input.
pub fn mutate(bytes: &mut Vec<u8>, tokens: &[&[u8]], dice: &mut Dice) {
    let at = dice.below(bytes.len());
    let end = bytes.len().min(at + 1 + dice.below(12));
    match dice.below(8) {
        0 => {
            bytes.splice(at..at, dice.pick(tokens).iter().copied());
        }
        1 => {
            bytes.splice(at..end, dice.pick(tokens).iter().copied());
        }
        2 => {
            bytes.drain(at..end);
        }
        3 => {
            let part = bytes[at..end].to_vec();
            let to = dice.below(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
        4 => bytes.truncate(at),
        5 => match bytes.get_mut(at) {
            Some(byte) => *byte ^= 1 << dice.below(8),
            None => bytes.push(b'{'),
        },
        6 => {
            let byte = dice.roll().to_le_bytes()[0];
            bytes.insert(at, byte);
        }
        // A second copy of a member of JSON, if the part is one.
        _ => {
            let is_comma = |byte: &u8| *byte == b',';
            let Some(first) = bytes[at..].iter().position(is_comma).map(|len| at + len) else {
                return;
            };
            let rest = &bytes[first + 1..];
            let len = rest.iter().position(is_comma).unwrap_or(rest.len().min(8)) + 1;
            let part = bytes[first..first + len].to_vec();
            bytes.splice(first..first, part);
        }
    }
}

/// Removes parts of an input as long as `fails` returns `true`, and returns the rest.
pub fn shortest(mut input: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut len = input.len() / 2;
    while 0 < len {
        let mut at = 0;
        let mut is_shorter = false;
        while at + len <= input.len() {
            let shorter = [&input[..at], &input[at + len..]].concat();
            if fails(&shorter) {
                input = shorter;
                is_shorter = true;
            } else {
                at += len;
            }
        }
        if !is_shorter {
            len /= 2;
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::shortest;

    #[test]
    fn removes_all_parts_that_do_not_matter() {
        let contains = |input: &[u8], part: &[u8]| input.windows(part.len()).any(|it| it == part);
        let fails = |input: &[u8]| contains(input, b"[[") && contains(input, b"\0");
        let input = [&b"x".repeat(100)[..], b"[[", &b"y".repeat(33), b"\0z"].concat();
        assert_eq!(shortest(input, fails), b"[[\0");
        assert_eq!(shortest(b"unchanged".to_vec(), |_| false), b"unchanged");
    }
}
