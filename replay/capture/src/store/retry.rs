//! How often and after which waits something is tried again. The waits are computed here and waited elsewhere.

use std::time::Duration;

/// Tries, waits between them, and the limit of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Further tries after the first.
    pub(crate) again: u32,
    /// The first wait; each later one is twice as long.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) longest: Duration,
    /// How long one try may take.
    pub(crate) limit: Duration,
}

impl Retry {
    /// For reading, on top of the HTTP client's own.
    pub(crate) const READ: Retry = Retry {
        again: 3,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(2),
        limit: Duration::from_secs(60),
    };

    /// The wait after so many failures in a row. `salt` spreads many gateways that lost one store at the same time:
    /// by up to a quarter less.
    pub(crate) fn wait(&self, failures: u32, salt: u64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(doubled).min(self.longest);
        wait - wait / 4 * u32::try_from(salt % 256).unwrap_or(0) / 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let retry = Retry {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            ..Retry::READ
        };
        let waits: Vec<u64> = (1..=8).map(|failures| retry.wait(failures, 0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry.wait(u32::MAX, 0), Duration::from_secs(60));
        assert!(
            retry.wait(7, 255) > Duration::from_secs(45)
                && retry.wait(7, 255) < Duration::from_secs(46)
        );
    }
}
