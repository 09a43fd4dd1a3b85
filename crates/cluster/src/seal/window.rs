/// How many numbers back a datagram may come: a sender numbers what it sends to all others in one row, and at a join
/// several hundreds leave at once.
const WIDTH: u64 = 1024;
const WORD: u64 = u64::BITS as u64;
const WORDS: usize = (WIDTH / WORD) as usize;

/// Which of a sender's last numbers have been seen (RFC 6479): a ring of bits.
#[derive(Clone, Debug)]
pub(super) struct Window {
    highest: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Creates a window in which nothing has been seen.
    pub(super) const fn new() -> Self {
        Self { highest: 0, seen: [0; WORDS] }
    }

    /// Marks a number as seen. Returns false if it was seen before, or is too old to tell; numbers begin at 1.
    pub(super) fn take(&mut self, number: u64) -> bool {
        // The word of the highest number is only partly in use: one word less is certain.
        if number == 0 || number + (WIDTH - WORD) <= self.highest {
            return false;
        }
        if number > self.highest {
            let (from, to) = (self.highest / WORD, number / WORD);
            for word in from + 1..=to.min(from + WORDS as u64) {
                if let Some(word) = self.seen.get_mut((word % WORDS as u64) as usize) {
                    *word = 0;
                }
            }
            self.highest = number;
        }
        let Some(word) = self.seen.get_mut((number / WORD % WORDS as u64) as usize) else { return false };
        let bit = 1 << (number % WORD);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_number_is_taken_once_in_any_order() {
        let mut window = Window::new();
        for number in [1, 3, 2, 900, 4, 899] {
            assert!(window.take(number), "{number}");
            assert!(!window.take(number), "{number} again");
        }
        assert!(!window.take(0));
    }

    #[test]
    fn what_is_too_old_to_tell_is_refused() {
        let mut window = Window::new();
        assert!(window.take(10_000));
        assert!(!window.take(10_000 - WIDTH));
        assert!(window.take(10_000 - WIDTH + WORD + 1));
        assert!(window.take(u64::MAX / 2) && !window.take(10_001));
    }

    #[test]
    fn it_agrees_with_a_set_of_all_numbers() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let (mut window, mut seen, mut at) = (Window::new(), BTreeSet::new(), 1_u64);
            for _ in 0..3_000 {
                at += [0, 1, 1, 2, 70, 2_000][random.usize(..6)] * u64::from(random.u8(..8) == 0) + 1;
                let number = at.saturating_sub(random.u64(..800)).max(1);
                let newest = seen.last().copied().unwrap_or(0);
                let taken = window.take(number);
                if number + (WIDTH - WORD) > newest {
                    assert_eq!(taken, !seen.contains(&number), "{number} after {newest}");
                } else {
                    assert!(!taken, "{number} after {newest}");
                }
                seen.insert(number);
            }
        }
    }
}
