//! The reaction of opening to a store that is not there.

/// The reaction to a store that does not exist.
///
/// ```
/// use gesta_dynamodb::OpenMode;
///
/// assert_eq!(OpenMode::default(), OpenMode::Create);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// Creates the table, and completes what a process that ended during an append has left.
    #[default]
    Create,
    /// Refuses it, and changes nothing: for tools that only look at a store. The right to read the
    /// table suffices.
    Existing,
}
