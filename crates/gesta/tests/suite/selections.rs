//! Boundaries that select events by tags and types: courses and their students.

use std::{fmt, sync::Arc};

use gesta::{ExecuteError, Gesta, Ref, SnapshotPolicy, prelude::*, stream_of, testing::given};
use gesta_store::{
    DeleteStream, EventStore, ExpectedRevision, MemoryReadModels, SetStreamMetadata, Snapshot,
    SnapshotStore, StreamMetadata,
};

use crate::{bank::new_store, scripted::Scripted};

const COURSE: TagKey<str> = TagKey::new("course");
const STUDENT: TagKey<str> = TagKey::new("student");

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "course-planned")]
struct Planned {
    #[event(tag = COURSE)]
    course: String,
    seats: u32,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "student-enrolled")]
struct Enrolled {
    #[event(tag = COURSE)]
    course: String,
    #[event(tag = STUDENT)]
    student: String,
    number: u32,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum CourseEvent {
    Planned(Planned),
    Enrolled(Enrolled),
}

/// The seats of a course, from the streams of all students.
#[derive(Default, Serialize, Deserialize)]
struct Course {
    seats: u32,
    enrolled: u32,
}

impl Aggregate for Course {
    const CATEGORY: &'static str = "course";
    type Id = String;
    type Event = CourseEvent;

    fn evolve(&mut self, event: &CourseEvent) {
        match event {
            CourseEvent::Planned(planned) => self.seats += planned.seats,
            CourseEvent::Enrolled(_) => self.enrolled += 1,
        }
    }

    fn reads(course: &String) -> Reads<CourseEvent> {
        Selection::tagged(COURSE, course).into()
    }
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum EnrolmentEvent {
    Enrolled(Enrolled),
}

#[derive(Clone)]
struct Seat {
    course: String,
    student: String,
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.course, self.student)
    }
}

/// `true` if a student is in a course.
#[derive(Default)]
struct Enrolment {
    taken: bool,
}

impl Aggregate for Enrolment {
    const CATEGORY: &'static str = "enrolment";
    type Id = Seat;
    type Event = EnrolmentEvent;

    fn evolve(&mut self, _: &EnrolmentEvent) {
        self.taken = true;
    }

    fn reads(seat: &Seat) -> Reads<EnrolmentEvent> {
        Selection::tagged(COURSE, &seat.course).and(STUDENT, &seat.student).into()
    }
}

/// The number of the next enrolment, over all courses.
#[derive(Default)]
struct Numbers(u32);

impl Aggregate for Numbers {
    const CATEGORY: &'static str = "numbers";
    type Id = &'static str;
    type Event = CourseEvent;

    fn evolve(&mut self, _: &CourseEvent) {
        self.0 += 1;
    }

    fn reads(_: &&'static str) -> Reads<CourseEvent> {
        Selection::of::<Enrolled>().into()
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
enum NotEnrolled {
    #[error("the course is full")]
    #[rejection(code = "full")]
    Full,
    #[error("the student is in the course")]
    #[rejection(code = "enrolled")]
    Already,
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "plan-course", on = Course, either)]
struct Plan {
    #[command(id)]
    course: String,
    seats: u32,
}

impl Decide for Plan {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Course) -> Decision<Self> {
        Ok(Planned { course: self.course.clone(), seats: self.seats }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "enrol", on = Enrolling, either, id = Enrol::ids)]
struct Enrol {
    course: String,
    student: String,
}

type Enrolling = (Enrolment, Ref<(Course, Numbers)>);

impl Enrol {
    fn ids(&self) -> (Seat, (String, &'static str)) {
        let seat = Seat { course: self.course.clone(), student: self.student.clone() };
        (seat, (self.course.clone(), "enrolments"))
    }
}

impl Decide for Enrol {
    type Rejection = NotEnrolled;

    fn decide(&self, (enrolment, (course, numbers)): &gesta::State<Self>) -> Decision<Self> {
        if enrolment.taken {
            return Err(NotEnrolled::Already);
        }
        if course.enrolled >= course.seats {
            return Err(NotEnrolled::Full);
        }
        let (course, student) = (self.course.clone(), self.student.clone());
        Ok((Enrolled { course, student, number: numbers.0 + 1 }.into(), ()))
    }
}

async fn school(store: Arc<dyn EventStore>) -> Gesta {
    let gesta = Gesta::on(store).open().await.unwrap();
    for course in ["algebra", "logic"] {
        gesta.execute(Plan { course: course.to_owned(), seats: 2 }).await.unwrap();
    }
    gesta
}

fn enrol(student: &str, course: &str) -> Enrol {
    Enrol { course: course.to_owned(), student: student.to_owned() }
}

fn rejection<T: fmt::Debug>(outcome: Result<T, ExecuteError<NotEnrolled>>) -> NotEnrolled {
    match outcome {
        Err(ExecuteError::Rejected(rejection)) => rejection,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_decision_depends_on_events_with_all_of_several_tags() {
    let gesta = school(new_store()).await;
    gesta.execute(enrol("ann", "algebra")).await.unwrap();
    assert_eq!(rejection(gesta.execute(enrol("ann", "algebra")).await), NotEnrolled::Already);
    // Neither her other course nor another student of this one is in the boundary.
    gesta.execute(enrol("ann", "logic")).await.unwrap();
    gesta.execute(enrol("bob", "algebra")).await.unwrap();
    assert_eq!(rejection(gesta.execute(enrol("cleo", "algebra")).await), NotEnrolled::Full);
}

#[tokio::test]
async fn a_decision_depends_on_all_events_of_a_type() {
    let gesta = school(new_store()).await;
    gesta.execute(Plan { course: "algebra".to_owned(), seats: 20 }).await.unwrap();
    let students: Vec<String> = (0..16).map(|number| format!("student {number}")).collect();
    let tasks = students.iter().map(|student| {
        let (gesta, enrol) = (gesta.clone(), enrol(student, "algebra"));
        tokio::spawn(async move { gesta.execute(enrol).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    let mut numbers: Vec<u32> = crate::accounts::recorded(&gesta)
        .await
        .iter()
        .filter_map(|event| match Recorded::<CourseEvent>::read(event).unwrap().event {
            CourseEvent::Planned(_) => None,
            CourseEvent::Enrolled(enrolled) => Some(enrolled.number),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_part_that_is_only_read_is_a_condition_of_the_append() {
    let store = Scripted::new();
    let gesta = school(Arc::new(store.clone())).await;
    gesta.execute(enrol("ann", "algebra")).await.unwrap();
    let twin = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    store.next_first(async move {
        twin.execute(enrol("bob", "algebra")).await.unwrap();
    });
    assert_eq!(rejection(gesta.execute(enrol("cleo", "algebra")).await), NotEnrolled::Full);
}

#[test]
fn a_part_that_is_only_read_is_tested_with_a_history() {
    let planned = Planned { course: "algebra".to_owned(), seats: 1 };
    let enrolled = Enrolled { course: "algebra".to_owned(), student: "ann".to_owned(), number: 1 };
    given::<Enrolling>((vec![], (vec![planned.into()], vec![])))
        .when(enrol("ann", "algebra"))
        .then((enrolled.into(), ()));
}

// ---- Snapshots

const EVERY_THIRD: SnapshotPolicy = SnapshotPolicy::every(3).fold_version(1);

struct Office {
    store: Arc<dyn EventStore>,
    snapshots: MemoryReadModels,
    gesta: Gesta,
}

impl Office {
    async fn new() -> Self {
        let (store, snapshots) = (new_store(), MemoryReadModels::new());
        let builder = Gesta::on(Arc::clone(&store)).snapshots::<Course>(&snapshots, EVERY_THIRD);
        let gesta = builder.open().await.unwrap();
        Self { store, snapshots, gesta }
    }

    async fn plan(&self, seats: u32) {
        self.gesta.execute(Plan { course: "algebra".to_owned(), seats }).await.unwrap();
    }

    async fn enrol(&self, student: &str) {
        self.gesta.execute(enrol(student, "algebra")).await.unwrap();
    }

    async fn course(&self) -> (u32, u32) {
        let course = self.gesta.load::<Course>(&"algebra".to_owned()).await.unwrap().unwrap();
        (course.state.seats, course.state.enrolled)
    }

    async fn snapshot(&self) -> Option<Snapshot> {
        let stream = stream_of::<Course>(&"algebra".to_owned()).unwrap();
        self.snapshots.load_snapshot(&stream).await.unwrap()
    }

    /// Changes the stored snapshot, so that a load that uses it differs.
    async fn doctor(&self) {
        let mut snapshot = self.snapshot().await.unwrap();
        let mut stored: serde_json::Value = serde_json::from_slice(&snapshot.state).unwrap();
        stored["state"]["seats"] = 1_000.into();
        snapshot.state = stored.to_string().into();
        self.snapshots.save_snapshot(snapshot).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_of_a_selection_is_taken_every_so_often_and_loads_begin_there() {
    let office = Office::new().await;
    office.plan(9).await;
    office.enrol("ann").await;
    assert_eq!(office.course().await, (9, 1));
    assert!(office.snapshot().await.is_none());
    office.enrol("bob").await;
    assert_eq!(office.course().await, (9, 2));
    office.doctor().await;
    assert_eq!(office.course().await, (1_000, 2));
    office.enrol("cleo").await;
    assert_eq!(office.course().await, (1_000, 3));
    let loaded = office.gesta.load::<Course>(&"algebra".to_owned()).await.unwrap().unwrap();
    assert_eq!(loaded.position, office.store.head().await.unwrap().position);
}

/// The last event of the first snapshot is the fourth of its stream, and that of the second one the
/// first of another stream.
#[tokio::test]
async fn a_later_snapshot_of_a_selection_replaces_an_earlier_one_whatever_stream_it_ends_in() {
    let office = Office::new().await;
    for _ in 0..4 {
        office.plan(9).await;
    }
    assert_eq!(office.course().await, (36, 0));
    let earlier = office.snapshot().await.unwrap();
    for student in ["ann", "bob", "cleo"] {
        office.enrol(student).await;
    }
    assert_eq!(office.course().await, (36, 3));
    let later = office.snapshot().await.unwrap();
    assert_ne!(later, earlier);
    office.snapshots.save_snapshot(earlier).await.unwrap();
    assert_eq!(office.snapshot().await, Some(later), "a late writer of the earlier one");
}

#[tokio::test]
async fn a_deletion_ends_the_use_of_a_snapshot_of_a_selection() {
    let office = Office::new().await;
    office.plan(9).await;
    office.enrol("ann").await;
    office.enrol("bob").await;
    assert_eq!(office.course().await, (9, 2));
    office.doctor().await;
    let stream = StreamName::new("enrolment-algebra/ann").unwrap();
    let expected = ExpectedRevision::StreamExists;
    office.store.delete_stream(DeleteStream::new(stream, expected)).await.unwrap();
    assert_eq!(office.course().await, (9, 1));
}

#[tokio::test]
async fn no_snapshot_of_a_selection_is_taken_of_events_that_may_expire() {
    let office = Office::new().await;
    let stream = StreamName::new("enrolment-algebra/ann").unwrap();
    let metadata = StreamMetadata::default().max_age(std::time::Duration::from_secs(3_600));
    let expected_metadata = ExpectedRevision::Any;
    let limits = SetStreamMetadata::new(stream, expected_metadata, metadata);
    office.store.set_stream_metadata(limits).await.unwrap();
    office.plan(9).await;
    office.enrol("ann").await;
    office.enrol("bob").await;
    assert_eq!(office.course().await, (9, 2));
    assert!(office.snapshot().await.is_none());
}
