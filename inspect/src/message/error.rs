//! What a message may cost, and why one is refused.

/// Limits on one message. Everything that could grow is bounded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseLimits {
    /// Bytes of the raw message.
    pub max_bytes: usize,
    /// Nested arrays and objects.
    pub max_depth: usize,
    /// Values and keys together.
    pub max_values: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { max_bytes: 4 * 1024 * 1024, max_depth: 64, max_values: 200_000 }
    }
}

/// Why bytes are no acceptable message. The sender causes every one of these; none carries content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Longer than [`ParseLimits::max_bytes`].
    #[error("message of {len} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested deeper than [`ParseLimits::max_depth`].
    #[error("message is nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More values and keys than [`ParseLimits::max_values`], or more batch items than allowed.
    #[error("message has more than {limit} values")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("invalid UTF-8 at byte {offset}")]
    Utf8 {
        /// The first bad byte.
        offset: usize,
    },
    /// Not JSON as this gateway accepts it (`1e400` and lone surrogates are refused too).
    #[error("invalid JSON: {detail}")]
    Syntax {
        /// What the parser says, without content.
        detail: String,
    },
    /// A member that routing depends on occurs twice: two readers could understand two messages.
    #[error("duplicate member \"{key}\"")]
    DuplicateKey {
        /// The member.
        key: &'static str,
    },
    /// A member is written like one that routing depends on, but for its case: a reader that does
    /// not tell cases apart would understand another message.
    #[error("a member is \"{key}\" in another case")]
    AlteredKey {
        /// The member as it should be written.
        key: &'static str,
    },
    /// JSON, yet no JSON-RPC 2.0 message.
    #[error("not a JSON-RPC 2.0 message: {reason}")]
    NotAMessage {
        /// What is wrong.
        reason: &'static str,
    },
    /// The id is neither a string nor an integer.
    #[error("the id must be a string or an integer")]
    BadId,
}

impl ParseError {
    /// The JSON-RPC error code to answer with.
    #[must_use]
    pub fn rpc_code(&self) -> i32 {
        match self {
            Self::Utf8 { .. } | Self::Syntax { .. } => -32700,
            _ => -32600,
        }
    }
}
