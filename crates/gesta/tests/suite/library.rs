//! A library that reminds its readers: the process under test.

use std::time::Duration;

use gesta::{
    prelude::*,
    store::{EventStore, ReadAll},
};

/// The period of a loan.
pub(crate) const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "book-lent")]
pub(crate) struct BookLent {
    pub(crate) book: String,
    pub(crate) reader: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "book-returned")]
pub(crate) struct BookReturned {
    pub(crate) book: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "book-lost")]
pub(crate) struct BookLost {
    pub(crate) book: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum BookEvent {
    Lent(BookLent),
    Returned(BookReturned),
    Lost(BookLost),
}

#[derive(Default)]
pub(crate) struct Book;

impl Aggregate for Book {
    const CATEGORY: &'static str = "book";
    type Id = String;
    type Event = BookEvent;

    fn evolve(&mut self, _: &BookEvent) {}
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "reader-reminded")]
pub(crate) struct ReaderReminded {
    reader: String,
    book: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "reader-moved-away")]
pub(crate) struct ReaderMovedAway {
    reader: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum ReaderEvent {
    Reminded(ReaderReminded),
    MovedAway(ReaderMovedAway),
}

#[derive(Default)]
pub(crate) struct Reader {
    moved_away: bool,
}

impl Aggregate for Reader {
    const CATEGORY: &'static str = "reader";
    type Id = String;
    type Event = ReaderEvent;

    fn evolve(&mut self, event: &ReaderEvent) {
        self.moved_away |= matches!(event, ReaderEvent::MovedAway(_));
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "lend-book", on = Book, either)]
pub(crate) struct LendBook {
    #[command(id)]
    book: String,
    reader: String,
}

impl LendBook {
    pub(crate) fn new(book: &str, reader: &str) -> Self {
        Self { book: book.to_owned(), reader: reader.to_owned() }
    }
}

impl Decide for LendBook {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Book) -> Decision<Self> {
        Ok(BookLent { book: self.book.clone(), reader: self.reader.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "return-book", on = Book)]
pub(crate) struct ReturnBook {
    #[command(id)]
    book: String,
}

impl ReturnBook {
    pub(crate) fn new(book: &str) -> Self {
        Self { book: book.to_owned() }
    }
}

impl Decide for ReturnBook {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Book) -> Decision<Self> {
        Ok(BookReturned { book: self.book.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "write-off-book", on = Book)]
pub(crate) struct WriteOffBook {
    #[command(id)]
    pub(crate) book: String,
}

impl Decide for WriteOffBook {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Book) -> Decision<Self> {
        Ok(BookLost { book: self.book.clone() }.into())
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("the reader moved away")]
#[rejection(code = "reader-moved-away")]
pub(crate) struct Gone;

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "remind-reader", on = Reader, either)]
pub(crate) struct RemindReader {
    #[command(id)]
    pub(crate) reader: String,
    pub(crate) book: String,
}

impl Decide for RemindReader {
    type Rejection = Gone;

    fn decide(&self, reader: &Reader) -> Decision<Self> {
        if reader.moved_away {
            return Err(Gone);
        }
        Ok(ReaderReminded { reader: self.reader.clone(), book: self.book.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "move-away", on = Reader, either)]
pub(crate) struct MoveAway {
    #[command(id)]
    reader: String,
}

impl MoveAway {
    pub(crate) fn new(reader: &str) -> Self {
        Self { reader: reader.to_owned() }
    }
}

impl Decide for MoveAway {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Reader) -> Decision<Self> {
        Ok(ReaderMovedAway { reader: self.reader.clone() }.into())
    }
}

/// Reminds readers of overdue books, and writes a book off if that does not help.
#[derive(Clone, Debug)]
pub(crate) struct Reminder {
    after: Duration,
    loan: Option<BookLent>,
}

impl Reminder {
    pub(crate) fn after(after: Duration) -> Self {
        Self { after, loan: None }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) enum Waiting {
    ForTheBook,
    AfterReminding,
}

impl ProcessManager for Reminder {
    const NAME: &'static str = "reminder";
    type Event = BookEvent;
    type Timer = Waiting;
    type Commands = (RemindReader, WriteOffBook);

    fn route(event: &Recorded<BookEvent>) -> Routing {
        match &event.event {
            BookEvent::Lent(lent) => Routing::start(&lent.book),
            BookEvent::Returned(returned) => Routing::continue_with(&returned.book),
            BookEvent::Lost(_) => Routing::Ignore,
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(BookEvent::Lent(lent)) = input {
            self.loan = Some(lent.clone());
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let Some(BookLent { book, reader }) = self.loan.clone() else { return Effects::none() };
        assert!(book != "cursed", "nobody lends this");
        let none = Effects::none();
        match input {
            Input::Event(BookEvent::Lent(_)) => none.after(self.after, Waiting::ForTheBook),
            Input::Event(BookEvent::Returned(_) | BookEvent::Lost(_)) => {
                none.cancel(Waiting::ForTheBook).cancel(Waiting::AfterReminding)
            }
            Input::Timer(Waiting::ForTheBook) => {
                none.send(RemindReader { reader, book }).after(self.after, Waiting::AfterReminding)
            }
            Input::Timer(Waiting::AfterReminding) | Input::Rejected(_) => {
                none.send(WriteOffBook { book }).end().after(self.after, Waiting::ForTheBook)
            }
        }
    }
}

/// All events in order, as text.
pub(crate) struct Library;

#[derive(EventSet, Clone, Debug)]
enum Anything {
    Lent(BookLent),
    Returned(BookReturned),
    Lost(BookLost),
    Reminded(ReaderReminded),
    MovedAway(ReaderMovedAway),
}

impl Library {
    pub(crate) async fn happened(store: &dyn EventStore) -> Vec<String> {
        let events = store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
        let words = events.iter().filter_map(|event| Recorded::<Anything>::read(event).ok());
        words
            .map(|recorded| match recorded.event {
                Anything::Lent(lent) => format!("{} lent to {}", lent.book, lent.reader),
                Anything::Returned(returned) => format!("{} returned", returned.book),
                Anything::Lost(lost) => format!("{} lost", lost.book),
                Anything::Reminded(reminded) => {
                    format!("{} reminded of {}", reminded.reader, reminded.book)
                }
                Anything::MovedAway(moved) => format!("{} moved away", moved.reader),
            })
            .collect()
    }
}

mod reactions {
    use gesta::testing::reaction_of;

    use super::*;

    fn reminder() -> gesta::testing::Reaction<Reminder> {
        reaction_of(Reminder::after(MONTH))
    }

    fn lent() -> Input<Reminder> {
        Input::event(BookLent { book: "emma".to_owned(), reader: "ann".to_owned() })
    }

    fn remind() -> RemindReader {
        RemindReader { reader: "ann".to_owned(), book: "emma".to_owned() }
    }

    #[test]
    fn a_loan_sets_a_timer() {
        reminder().when(lent()).then(Effects::none().after(MONTH, Waiting::ForTheBook));
    }

    #[test]
    fn an_overdue_book_is_asked_for() {
        let effects = Effects::none().send(remind()).after(MONTH, Waiting::AfterReminding);
        reminder().given([lent()]).when(Input::Timer(Waiting::ForTheBook)).then(effects);
    }

    #[test]
    fn a_book_whose_reader_cannot_be_reminded_is_written_off() {
        let rejected = Input::rejected(&remind(), &Gone);
        let write_off = WriteOffBook { book: "emma".to_owned() };
        let history = [lent(), Input::Timer(Waiting::ForTheBook)];
        reminder()
            .given(history)
            .when(rejected)
            .then(Effects::none().send(write_off).end().after(MONTH, Waiting::ForTheBook));
    }
}
