//! Weights of the ways in which a word is found, the same for every engine.

/// The word itself, times its score by BM25.
pub(crate) const EXACT: f32 = 4.0;

/// A word that begins with it.
pub(crate) const PREFIX: f32 = 1.0;

/// A word with few typos.
pub(crate) const TYPO: f32 = 0.5;
