//! A seed: everything a fault run draws, so that one number tells all of it.

/// Draws numbers. Source: SplitMix64, Steele, Lea and Flood 2014.
#[derive(Debug, Clone)]
pub(crate) struct Seed(u64);

impl Seed {
    /// Begins at a number.
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// A seed of its own for a part that draws beside this one.
    pub(crate) fn part(&self, name: &str) -> Self {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let mut part = Self(name.bytes().fold(self.0 ^ 0xcbf2_9ce4_8422_2325, fold));
        part.next();
        part
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below another.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Whether something happens that happens in so many cases of a hundred.
    pub(crate) fn percent(&mut self, cases: u64) -> bool {
        self.below(100) < cases
    }

    /// One of several.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let place = self.below(of.len() as u64);
        &of[usize::try_from(place).unwrap()]
    }
}
