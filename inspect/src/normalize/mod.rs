//! What a text says under its disguise: invisible and look-alike characters, encodings, JSON in strings, and, for the
//! wary, letter games. Every result leads back to the bytes it was made from, so that what is found in it can be redacted.

mod confusable;
mod decode;
mod derived;
mod letters;
mod nested;
mod unicode;

pub(crate) use decode::{decode, suspects};
pub(crate) use derived::Derived;
pub(crate) use letters::{LetterGame, next_spaced, spaced};
pub(crate) use nested::nested;
pub(crate) use unicode::{Invisible, fold, wide_gaps};
