//! The code of `docs/guide/transfers.md`.

use gesta::{
    prelude::*,
    testing::{drain, given, reaction},
};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-deposited")]
struct Deposited {
    cents: u64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-withdrawn")]
struct Withdrawn {
    cents: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum AccountEvent {
    Deposited(Deposited),
    Withdrawn(Withdrawn),
}

#[derive(Default)]
struct Account {
    cents: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = String;
    type Event = AccountEvent;

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Deposited(deposited) => self.cents += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.cents -= withdrawn.cents,
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("the account has {left} cents")]
#[rejection(code = "not-enough-money")]
struct NotEnough {
    left: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "transfer", on = (Account, Account))]
struct Transfer {
    #[command(id)]
    from: String,
    #[command(id)]
    to: String,
    cents: u64,
}

impl Decide for Transfer {
    type Rejection = NotEnough;

    fn decide(&self, (from, _): &(Account, Account)) -> Decision<Self> {
        let cents = self.cents;
        if from.cents < cents {
            return Err(NotEnough { left: from.cents });
        }
        Ok((Withdrawn { cents }.into(), Deposited { cents }.into()))
    }
}

#[test]
fn money_leaves_one_account_and_enters_the_other() {
    let cents = 70;
    let rich = AccountEvent::from(Deposited { cents: 100 });
    given::<(Account, Account)>((vec![rich], vec![]))
        .when(Transfer { from: "ann".into(), to: "bob".into(), cents })
        .then((Withdrawn { cents }.into(), Deposited { cents }.into()));
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "deposit", on = Account, either)]
struct Deposit {
    #[command(id)]
    account: String,
    cents: u64,
}

impl Decide for Deposit {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Deposited { cents: self.cents }.into())
    }
}

async fn balance(gesta: &Gesta, account: &str) -> u64 {
    gesta.load::<Account>(&account.to_owned()).await.unwrap().map_or(0, |it| it.state.cents)
}

#[tokio::test]
async fn a_transfer_is_one_append_over_both_accounts() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    gesta.execute(Deposit { account: "ann".into(), cents: 100 }).await.unwrap();
    let transfer = Transfer { from: "ann".into(), to: "bob".into(), cents: 70 };
    let receipt = gesta.execute(transfer).await.unwrap();
    assert_eq!(receipt.revisions.len(), 2);
    assert_eq!((balance(&gesta, "ann").await, balance(&gesta, "bob").await), (30, 70));
}

#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "trip-requested")]
struct TripRequested {
    trip: String,
    seat: String,
    room: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "seat-reserved")]
struct SeatReserved {
    trip: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "seat-released")]
struct SeatReleased {
    trip: String,
}

#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "room-reserved")]
struct RoomReserved {
    trip: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum SeatEvent {
    Reserved(SeatReserved),
    Released(SeatReleased),
}

#[derive(Default)]
struct Seat {
    reserved: bool,
}

impl Aggregate for Seat {
    const CATEGORY: &'static str = "seat";
    type Id = String;
    type Event = SeatEvent;

    fn evolve(&mut self, event: &SeatEvent) {
        self.reserved = matches!(event, SeatEvent::Reserved(_));
    }
}

#[derive(Default)]
struct Room {
    reserved: bool,
}

impl Aggregate for Room {
    const CATEGORY: &'static str = "room";
    type Id = String;
    type Event = RoomReserved;

    fn evolve(&mut self, _: &RoomReserved) {
        self.reserved = true;
    }
}

#[derive(Default)]
struct Trip;

impl Aggregate for Trip {
    const CATEGORY: &'static str = "trip";
    type Id = String;
    type Event = TripRequested;

    fn evolve(&mut self, _: &TripRequested) {}
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("it is reserved")]
#[rejection(code = "reserved")]
struct IsReserved;

#[derive(Command, Serialize, Deserialize)]
#[command(name = "request-trip", on = Trip, new)]
struct RequestTrip {
    #[command(id)]
    trip: String,
    seat: String,
    room: String,
}

impl Decide for RequestTrip {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Trip) -> Decision<Self> {
        let Self { trip, seat, room } = self;
        Ok(TripRequested { trip: trip.clone(), seat: seat.clone(), room: room.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "reserve-seat", on = Seat, either)]
struct ReserveSeat {
    #[command(id)]
    seat: String,
    trip: String,
}

impl Decide for ReserveSeat {
    type Rejection = IsReserved;

    fn decide(&self, seat: &Seat) -> Decision<Self> {
        if seat.reserved {
            return Err(IsReserved);
        }
        Ok(SeatReserved { trip: self.trip.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "release-seat", on = Seat)]
struct ReleaseSeat {
    #[command(id)]
    seat: String,
    trip: String,
}

impl Decide for ReleaseSeat {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Seat) -> Decision<Self> {
        Ok(SeatReleased { trip: self.trip.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "reserve-room", on = Room, either)]
struct ReserveRoom {
    #[command(id)]
    room: String,
    trip: String,
}

impl Decide for ReserveRoom {
    type Rejection = IsReserved;

    fn decide(&self, room: &Room) -> Decision<Self> {
        if room.reserved {
            return Err(IsReserved);
        }
        Ok(RoomReserved { trip: self.trip.clone() }.into())
    }
}

#[derive(EventSet, Clone, Debug, PartialEq)]
#[events(read_only)]
enum BookingEvent {
    Requested(TripRequested),
    SeatReserved(SeatReserved),
    RoomReserved(RoomReserved),
}

/// Reserves a seat, then a room, and releases the seat if there is no room.
#[derive(Clone, Default)]
struct Booking {
    trip: String,
    seat: String,
    room: String,
    has_seat: bool,
}

impl ProcessManager for Booking {
    const NAME: &'static str = "booking";
    type Event = BookingEvent;
    type Timer = ();
    type Commands = (ReserveSeat, ReserveRoom, ReleaseSeat);

    fn route(event: &Recorded<BookingEvent>) -> Routing {
        match &event.event {
            BookingEvent::Requested(requested) => Routing::start(&requested.trip),
            BookingEvent::SeatReserved(reserved) => Routing::continue_with(&reserved.trip),
            BookingEvent::RoomReserved(reserved) => Routing::continue_with(&reserved.trip),
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        match input {
            Input::Event(BookingEvent::Requested(requested)) => {
                let TripRequested { trip, seat, room } = requested.clone();
                *self = Self { trip, seat, room, has_seat: false };
            }
            Input::Event(BookingEvent::SeatReserved(_)) => self.has_seat = true,
            Input::Event(BookingEvent::RoomReserved(_)) | Input::Timer(()) | Input::Rejected(_) => {
            }
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let Self { trip, seat, room, has_seat } = self.clone();
        match input {
            Input::Event(BookingEvent::Requested(_)) => {
                Effects::none().send(ReserveSeat { seat, trip })
            }
            Input::Event(BookingEvent::SeatReserved(_)) => {
                Effects::none().send(ReserveRoom { room, trip })
            }
            // The room is taken, and the seat is not needed any more.
            Input::Rejected(_) if has_seat => {
                Effects::none().send(ReleaseSeat { seat, trip }).end()
            }
            Input::Event(BookingEvent::RoomReserved(_)) | Input::Rejected(_) | Input::Timer(()) => {
                Effects::none().end()
            }
        }
    }
}

#[test]
fn the_room_is_asked_for_once_there_is_a_seat() {
    let (trip, seat, room) = ("t1".to_owned(), "4a".to_owned(), "12".to_owned());
    let requested = TripRequested { trip: trip.clone(), seat, room: room.clone() };
    reaction::<Booking>()
        .given([Input::event(requested)])
        .when(Input::event(SeatReserved { trip: trip.clone() }))
        .then(Effects::none().send(ReserveRoom { room, trip }));
}

#[tokio::test]
async fn a_seat_is_released_if_there_is_no_room() {
    let gesta = Gesta::at("memory:").process::<Booking>().open().await.unwrap();
    let trip = |trip: &str, seat: &str| RequestTrip {
        trip: trip.into(),
        seat: seat.into(),
        room: "12".into(),
    };
    gesta.execute(trip("t1", "4a")).await.unwrap();
    drain(&gesta).await;
    gesta.execute(trip("t2", "4b")).await.unwrap();
    drain(&gesta).await;
    let seat = gesta.load::<Seat>(&"4b".to_owned()).await.unwrap().unwrap();
    assert!(!seat.state.reserved);
    assert_eq!(seat.revision, Revision::new(1), "reserved, then released");
}
