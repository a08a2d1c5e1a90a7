//! The code of `docs/guide/consistency-boundaries.md`.

use gesta::{ExecuteError, Ref, prelude::*, testing::given};

const STUDENT: TagKey<str> = TagKey::new("student");

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "course-planned")]
struct CoursePlanned {
    seats: usize,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "student-enrolled")]
struct StudentEnrolled {
    #[event(tag = STUDENT)]
    student: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum CourseEvent {
    Planned(CoursePlanned),
    Enrolled(StudentEnrolled),
}

#[derive(Default)]
struct Course {
    seats: usize,
    students: usize,
}

impl Aggregate for Course {
    const CATEGORY: &'static str = "course";
    type Id = String;
    type Event = CourseEvent;

    fn evolve(&mut self, event: &CourseEvent) {
        match event {
            CourseEvent::Planned(planned) => self.seats = planned.seats,
            CourseEvent::Enrolled(_) => self.students += 1,
        }
    }
}

/// The courses of a student. Their events are in the streams of the courses.
#[derive(Default)]
struct Enrolments {
    courses: usize,
}

impl Aggregate for Enrolments {
    const CATEGORY: &'static str = "enrolments";
    type Id = String;
    type Event = CourseEvent;

    fn evolve(&mut self, event: &CourseEvent) {
        if let CourseEvent::Enrolled(_) = event {
            self.courses += 1;
        }
    }

    fn reads(student: &String) -> Reads<CourseEvent> {
        Selection::of::<StudentEnrolled>().and(STUDENT, student.as_str()).into()
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
enum EnrolRejection {
    #[error("the course is full")]
    #[rejection(code = "course-full")]
    Full,
    #[error("the student has {COURSES_MAX} courses")]
    #[rejection(code = "too-many-courses")]
    TooManyCourses,
}

const COURSES_MAX: usize = 3;

#[derive(Command, Serialize, Deserialize)]
#[command(name = "enrol", on = (Course, Ref<Enrolments>))]
struct Enrol {
    #[command(id)]
    course: String,
    #[command(id)]
    student: String,
}

impl Decide for Enrol {
    type Rejection = EnrolRejection;

    fn decide(&self, (course, enrolments): &(Course, Enrolments)) -> Decision<Self> {
        if course.students >= course.seats {
            return Err(EnrolRejection::Full);
        }
        if enrolments.courses >= COURSES_MAX {
            return Err(EnrolRejection::TooManyCourses);
        }
        Ok((StudentEnrolled { student: self.student.clone() }.into(), ()))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "plan-course", on = Course, new)]
struct PlanCourse {
    #[command(id)]
    course: String,
    seats: usize,
}

impl Decide for PlanCourse {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Course) -> Decision<Self> {
        Ok(CoursePlanned { seats: self.seats }.into())
    }
}

#[test]
fn a_student_has_three_courses_at_most() {
    let planned = CourseEvent::from(CoursePlanned { seats: 20 });
    let enrolled = CourseEvent::from(StudentEnrolled { student: "ann".into() });
    given::<(Course, Ref<Enrolments>)>((vec![planned], vec![enrolled; COURSES_MAX]))
        .when(Enrol { course: "algebra".into(), student: "ann".into() })
        .then_rejected(EnrolRejection::TooManyCourses);
}

async fn plan(gesta: &Gesta, courses: &[&str], seats: usize) {
    for course in courses {
        let course = (*course).to_owned();
        gesta.execute(PlanCourse { course, seats }).await.unwrap();
    }
}

#[tokio::test]
async fn two_requests_at_once_do_not_exceed_the_limit() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    let courses = ["algebra", "biology", "chemistry", "drawing", "english"];
    plan(&gesta, &courses, 20).await;
    let mut requests = tokio::task::JoinSet::new();
    for course in courses {
        let gesta = gesta.clone();
        let enrol = Enrol { course: course.into(), student: "ann".into() };
        requests.spawn(async move { gesta.execute(enrol).await });
    }
    let outcomes = requests.join_all().await;
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(accepted, COURSES_MAX);
}

#[tokio::test]
async fn a_full_course_takes_no_student() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    plan(&gesta, &["algebra"], 1).await;
    let enrol = |student: &str| Enrol { course: "algebra".into(), student: student.into() };
    gesta.execute(enrol("ann")).await.unwrap();
    let refused = gesta.execute(enrol("bob")).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Rejected(EnrolRejection::Full)));
}

#[tokio::test]
async fn a_caller_decides_on_what_it_has_seen() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    plan(&gesta, &["algebra"], 20).await;
    let seen = gesta.load::<Course>(&"algebra".into()).await.unwrap().unwrap();
    let enrol = |student: &str| Enrol { course: "algebra".into(), student: student.into() };
    gesta.execute(enrol("ann")).await.unwrap();
    let late = gesta.execute(enrol("bob")).expect_revision(seen.revision).await.unwrap_err();
    assert!(matches!(late, ExecuteError::RevisionMismatch { .. }));
}
