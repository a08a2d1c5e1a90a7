//! The service of the guide: rooms are booked, confirmed and released.
//!
//! `docs/guide/first-service.md` has the same code, block by block; a test compares the two.

use std::{error::Error, io::Write as _, time::Duration};

use gesta::{Gesta, prelude::*, sqlite};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "room-booked")]
struct RoomBooked {
    booking: String,
    room: String,
    by: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "booking-confirmed")]
struct BookingConfirmed {
    booking: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "booking-released")]
struct BookingReleased {
    booking: String,
    reason: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum BookingEvent {
    Booked(RoomBooked),
    Confirmed(BookingConfirmed),
    Released(BookingReleased),
}

#[derive(Default)]
struct Booking {
    confirmed: bool,
    released: bool,
}

impl Aggregate for Booking {
    const CATEGORY: &'static str = "booking";
    type Id = String;
    type Event = BookingEvent;

    fn evolve(&mut self, event: &BookingEvent) {
        match event {
            BookingEvent::Booked(_) => {}
            BookingEvent::Confirmed(_) => self.confirmed = true,
            BookingEvent::Released(_) => self.released = true,
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
enum BookingRejection {
    #[error("the booking was released")]
    #[rejection(code = "booking-released")]
    Released,
    #[error("the booking is confirmed")]
    #[rejection(code = "booking-confirmed")]
    Confirmed,
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "book-room", on = Booking, new)]
struct BookRoom {
    #[command(id)]
    booking: String,
    room: String,
    by: String,
}

impl Decide for BookRoom {
    type Rejection = BookingRejection;

    fn decide(&self, _: &Booking) -> Decision<Self> {
        let BookRoom { booking, room, by } = self.clone();
        Ok(RoomBooked { booking, room, by }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "confirm-booking", on = Booking)]
struct ConfirmBooking {
    #[command(id)]
    booking: String,
}

impl Decide for ConfirmBooking {
    type Rejection = BookingRejection;

    fn decide(&self, booking: &Booking) -> Decision<Self> {
        if booking.released {
            return Err(BookingRejection::Released);
        }
        Ok(BookingConfirmed { booking: self.booking.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "release-booking", on = Booking)]
struct ReleaseBooking {
    #[command(id)]
    booking: String,
    reason: String,
}

impl Decide for ReleaseBooking {
    type Rejection = BookingRejection;

    fn decide(&self, booking: &Booking) -> Decision<Self> {
        if booking.confirmed {
            return Err(BookingRejection::Confirmed);
        }
        let ReleaseBooking { booking, reason } = self.clone();
        Ok(BookingReleased { booking, reason }.into())
    }
}

#[cfg(test)]
mod rules {
    use gesta::testing::given;

    use super::*;

    fn booked() -> RoomBooked {
        RoomBooked { booking: "b1".into(), room: "blue".into(), by: "ann".into() }
    }

    fn confirm() -> ConfirmBooking {
        ConfirmBooking { booking: "b1".into() }
    }

    #[test]
    fn a_booking_is_confirmed() {
        let confirmed = BookingConfirmed { booking: "b1".into() };
        given::<Booking>([booked()]).when(confirm()).then(confirmed);
    }

    #[test]
    fn a_booking_that_was_released_is_not_confirmed_any_more() {
        let released = BookingReleased { booking: "b1".into(), reason: "too late".into() };
        given::<Booking>((booked(), released))
            .when(confirm())
            .then_rejected(BookingRejection::Released);
    }
}

struct Bookings;

impl Projection for Bookings {
    const NAME: &'static str = "bookings";
    type Event = BookingEvent;
}

impl Apply<sqlite::Tx> for Bookings {
    async fn apply(
        &self,
        tx: &mut sqlite::Tx,
        events: &[Recorded<BookingEvent>],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            let (booking, status) = match &recorded.event {
                BookingEvent::Booked(booked) => (&booked.booking, "held"),
                BookingEvent::Confirmed(confirmed) => (&confirmed.booking, "confirmed"),
                BookingEvent::Released(released) => (&released.booking, "released"),
            };
            tx.put("bookings", booking, &status).await?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Bookings, answer = Option<String>)]
struct FindStatus {
    booking: String,
}

impl Answer<sqlite::Reader> for FindStatus {
    async fn answer(&self, rows: &mut sqlite::Reader) -> Result<Option<String>, QueryError> {
        Ok(rows.get("bookings", &self.booking).await?)
    }
}

/// Time after which an unconfirmed booking is released.
const HELD_FOR: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Default)]
struct Hold {
    booking: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct HeldForLong;

impl ProcessManager for Hold {
    const NAME: &'static str = "hold";
    type Event = BookingEvent;
    type Timer = HeldForLong;
    type Commands = (ReleaseBooking,);

    fn route(event: &Recorded<BookingEvent>) -> Routing {
        match &event.event {
            BookingEvent::Booked(booked) => Routing::start(&booked.booking),
            BookingEvent::Confirmed(confirmed) => Routing::continue_with(&confirmed.booking),
            BookingEvent::Released(released) => Routing::continue_with(&released.booking),
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(BookingEvent::Booked(booked)) = input {
            self.booking = booked.booking.clone();
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match input {
            Input::Event(BookingEvent::Booked(_)) => Effects::none().after(HELD_FOR, HeldForLong),
            Input::Timer(HeldForLong) => {
                let (booking, reason) = (self.booking.clone(), "not confirmed".to_owned());
                Effects::none().send(ReleaseBooking { booking, reason }).end()
            }
            Input::Event(BookingEvent::Confirmed(_) | BookingEvent::Released(_))
            | Input::Rejected(_) => Effects::none().end(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let read_models = sqlite::Sqlite::open("data/read-models").await?;
    let gesta =
        Gesta::at("gesta:data").project(Bookings, &read_models).process::<Hold>().open().await?;

    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (booking, receipt) = match words.as_slice() {
        [booking, "book", room, by] => {
            let (booking, room, by) = (booking.to_string(), room.to_string(), by.to_string());
            let book = BookRoom { booking: booking.clone(), room, by };
            (booking, gesta.execute(book).await?)
        }
        [booking, "confirm"] => {
            let confirm = ConfirmBooking { booking: booking.to_string() };
            (booking.to_string(), gesta.execute(confirm).await?)
        }
        _ => return Err("usage: BOOKING book ROOM NAME, or BOOKING confirm".into()),
    };

    let status = gesta.ask(FindStatus { booking }).at_least(&receipt).await?;
    writeln!(std::io::stdout(), "{}", status.unwrap_or_default())?;
    gesta.close().await;
    Ok(())
}

#[cfg(test)]
mod service {
    use gesta::testing::{VirtualClock, drain};

    use super::*;

    async fn open(clock: &VirtualClock) -> Gesta {
        let read_models = sqlite::Sqlite::temporary().await.expect("a temporary directory");
        Gesta::at("memory:")
            .clock(clock.clone())
            .project(Bookings, &read_models)
            .process::<Hold>()
            .open()
            .await
            .expect("a memory store opens")
    }

    async fn status(gesta: &Gesta) -> Option<String> {
        drain(gesta).await;
        gesta.ask(FindStatus { booking: "b1".into() }).await.expect("rows are read")
    }

    fn book() -> BookRoom {
        BookRoom { booking: "b1".into(), room: "blue".into(), by: "ann".into() }
    }

    #[tokio::test]
    async fn a_room_is_held_for_a_quarter_of_an_hour() -> Result<(), Box<dyn Error>> {
        let clock = VirtualClock::new();
        let gesta = open(&clock).await;
        gesta.execute(book()).await?;
        assert_eq!(status(&gesta).await.as_deref(), Some("held"));
        clock.advance(HELD_FOR);
        assert_eq!(status(&gesta).await.as_deref(), Some("released"));
        Ok(())
    }

    #[tokio::test]
    async fn a_booking_that_is_confirmed_in_time_stays() -> Result<(), Box<dyn Error>> {
        let clock = VirtualClock::new();
        let gesta = open(&clock).await;
        gesta.execute(book()).await?;
        gesta.execute(ConfirmBooking { booking: "b1".into() }).await?;
        drain(&gesta).await;
        clock.advance(HELD_FOR);
        assert_eq!(status(&gesta).await.as_deref(), Some("confirmed"));
        Ok(())
    }
}
