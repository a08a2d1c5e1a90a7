//! Choices of the fuzzer: two bytes of input each, and zeros after its end.

pub(crate) struct Draws<'a>(pub(crate) &'a [u8]);

impl Draws<'_> {
    pub(crate) fn next(&mut self) -> u64 {
        let (front, rest) = self.0.split_at(self.0.len().min(2));
        self.0 = rest;
        front.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Draws a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end > 1 << 16 { (self.next() << 16 | self.next()) % end } else { self.next() % end }
    }
}
