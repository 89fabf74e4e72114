/// Returns a part of a path without its percent-encoding. `None` if it is not UTF-8.
pub(crate) fn decoded(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = digit(digits[0])? << 4 | digit(digits[1])?;
        bytes.push(u8::try_from(byte).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn encoded_bytes_are_decoded_once() {
        assert_eq!(decoded("a%2Fb%C3%A9%2525").as_deref(), Some("a/bé%25"));
        for invalid in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decoded(invalid), None, "{invalid}");
        }
    }
}
