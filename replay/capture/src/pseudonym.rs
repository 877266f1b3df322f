//! [`Pseudonyms`]: names that stay apart from each other and tell nothing about who they stand for.

use ring::hmac;
use ring::rand::SystemRandom;

use crate::CaptureError;
use crate::record::Str;
use crate::seal::hex;

/// A key made for one run and never stored: the same name gets the same pseudonym within it, and nobody can try names
/// out afterwards.
#[derive(Debug)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// With a new key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Pseudonyms, CaptureError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let none = |_| CaptureError::Encode { detail: "the system has no randomness".to_owned() };
        key.map(Pseudonyms).map_err(none)
    }

    /// The pseudonym of a value of this column: 16 hex digits.
    pub fn of(&self, column: &str, value: &str) -> Str {
        let text = [column.as_bytes(), b"\0", value.as_bytes()].concat();
        hex(&hmac::sign(&self.0, &text).as_ref()[..8]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart_and_only_within_a_run() {
        let (one, other) = (Pseudonyms::new().unwrap(), Pseudonyms::new().unwrap());
        assert_eq!(one.of("principal", "ann"), one.of("principal", "ann"));
        assert_ne!(one.of("principal", "ann"), one.of("principal", "bob"));
        assert_ne!(one.of("principal", "ann"), one.of("tenant", "ann"));
        assert_ne!(one.of("principal", "ann"), other.of("principal", "ann"));
        assert_eq!(one.of("principal", "ann").len(), 16);
    }
}
