//! Times of a calendar: dates in a time zone, months, working days, and their repetitions.
//!
//! Owns: [`Calendar`], a time zone with its holidays, and [`CalendarRule`], from which due times of
//! timers are computed. Invariant: a rule gives the same time on every machine, because zones come
//! from the database that is compiled in, never from the system's.
//!
//! Not here: clocks. A rule counts from a time that it is given.

use std::{collections::BTreeSet, sync::Arc};

use gesta_store::RecordedAt;
pub use jiff::civil::{Date, DateTime, Time, Weekday, date, time};
use jiff::{
    Span, Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

/// A time that never comes.
const NEVER: RecordedAt = RecordedAt::from_micros(u64::MAX);

/// Days that are searched for the next one of a rule. A rule has a day every year, unless ten years
/// are holidays.
const SEARCH_DAYS_MAX: usize = 3_660;

/// A time zone, with the holidays of the application.
///
/// Local times that a change of summer time leaves out or repeats follow RFC 5545:
/// - A time that does not exist, because the clocks go forward, is later by the length of the gap:
///   02:30 becomes 03:30.
/// - A time that exists twice, because the clocks go back, is the first of both.
///
/// Clones share the holidays.
///
/// ```
/// use gesta::calendar::{Calendar, date};
///
/// let berlin = Calendar::in_zone("Europe/Berlin")?.with_holidays([date(2026, 12, 25)]);
/// let at = berlin.time_of(date(2026, 3, 29).at(2, 30, 0, 0));
/// assert_eq!(berlin.local(at), date(2026, 3, 29).at(3, 30, 0, 0), "02:30 does not exist");
/// assert!(!berlin.is_working_day(date(2026, 12, 25)), "a holiday");
/// assert!(!berlin.is_working_day(date(2026, 12, 26)), "a Saturday");
/// # Ok::<(), gesta::calendar::UnknownZone>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    zone: TimeZone,
    holidays: Arc<BTreeSet<Date>>,
}

/// No time zone has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone `{name}`; expected a name of the IANA database, such as Europe/Berlin")]
#[non_exhaustive]
pub struct UnknownZone {
    /// The rejected name.
    pub name: String,
}

impl Calendar {
    /// The calendar of UTC, which has no summer time.
    #[must_use]
    pub fn utc() -> Self {
        Self { zone: TimeZone::UTC, holidays: Arc::default() }
    }

    /// The calendar of a zone, without holidays.
    ///
    /// # Errors
    /// [`UnknownZone`] if the database that is compiled in does not have the name.
    pub fn in_zone(name: &str) -> Result<Self, UnknownZone> {
        // Not the system's database: the same rule would give other times on another machine.
        let zone = TimeZoneDatabase::bundled().get(name);
        let zone = zone.map_err(|_| UnknownZone { name: name.to_owned() })?;
        Ok(Self { zone, holidays: Arc::default() })
    }

    /// Replaces the holidays.
    #[must_use]
    pub fn with_holidays(self, dates: impl IntoIterator<Item = Date>) -> Self {
        Self { holidays: Arc::new(dates.into_iter().collect()), ..self }
    }

    /// Returns whether a date is a Monday to Friday and no holiday.
    #[must_use]
    pub fn is_working_day(&self, date: Date) -> bool {
        let is_weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        !is_weekend && !self.holidays.contains(&date)
    }

    /// Returns the local date and time.
    #[must_use]
    pub fn local(&self, at: RecordedAt) -> DateTime {
        // Times beyond the range of the calendar are at its end.
        let micros = i64::try_from(at.micros()).unwrap_or(i64::MAX);
        let at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        self.zone.to_datetime(at)
    }

    /// Returns the time of a local date and time. A time before 1970 is at the start of 1970.
    #[must_use]
    pub fn time_of(&self, local: DateTime) -> RecordedAt {
        match self.zone.to_timestamp(local) {
            Ok(at) => RecordedAt::from_micros(u64::try_from(at.as_microsecond()).unwrap_or(0)),
            // The offset leads out of the range at the end of the year 9999.
            Err(_) => NEVER,
        }
    }

    /// A date. In the past it is due at once.
    pub fn on(&self, date: Date) -> CalendarRule {
        self.rule(DayRule::On(date))
    }

    /// A number of days later, by the local date.
    pub fn days_later(&self, days: u32) -> CalendarRule {
        self.rule(DayRule::DaysLater(days))
    }

    /// A number of months later, on the same day of the month; on the last day of a shorter month.
    pub fn months_later(&self, months: u32) -> CalendarRule {
        self.rule(DayRule::MonthsLater(months))
    }

    /// A number of working days later. The date that it counts from is not counted; with 0, that
    /// date if it is a working day, or the next one.
    pub fn working_days_later(&self, days: u32) -> CalendarRule {
        self.rule(DayRule::WorkingDaysLater(days))
    }

    /// Every day: the next one.
    pub fn daily(&self) -> CalendarRule {
        self.rule(DayRule::Daily)
    }

    /// Every working day: the next one.
    pub fn every_working_day(&self) -> CalendarRule {
        self.rule(DayRule::WorkingDays)
    }

    /// Every week on a weekday: the next one.
    pub fn weekly(&self, weekday: Weekday) -> CalendarRule {
        self.rule(DayRule::Weekly(weekday))
    }

    /// Every month on a day: the next one. In a shorter month, on its last day; the months after it
    /// have the day again.
    ///
    /// # Panics
    /// Unless the day is between 1 and 31.
    pub fn monthly(&self, day: u8) -> CalendarRule {
        assert!((1..=31).contains(&day), "a day of the month must be between 1 and 31; got {day}");
        self.rule(DayRule::Monthly(day))
    }

    /// Every year on a date: the next one. 29 February is the 28th in other years.
    ///
    /// # Panics
    /// Unless the month is between 1 and 12, and the day between 1 and 31.
    pub fn yearly(&self, month: u8, day: u8) -> CalendarRule {
        assert!((1..=12).contains(&month), "a month must be between 1 and 12; got {month}");
        assert!((1..=31).contains(&day), "a day of the month must be between 1 and 31; got {day}");
        self.rule(DayRule::Yearly { month, day })
    }

    fn rule(&self, day: DayRule) -> CalendarRule {
        CalendarRule { calendar: self.clone(), day, time: None, only_working_days: false }
    }

    /// Returns the date, or the next working day after it.
    fn working_day_from(&self, date: Date) -> Option<Date> {
        let mut from = Some(date);
        for _ in 0..SEARCH_DAYS_MAX {
            let date = from?;
            if self.is_working_day(date) {
                return Some(date);
            }
            from = date.tomorrow().ok();
        }
        None
    }
}

/// A rule for a due time, such as *every month on the 31st at 09:00*.
///
/// [`Effects::on`](crate::Effects::on) sets a timer by it. A repeated timer is set again by each
/// reaction to it, with the same rule.
///
/// ```
/// use gesta::calendar::{Calendar, date, time};
///
/// let berlin = Calendar::in_zone("Europe/Berlin")?;
/// let salaries = berlin.monthly(31).at(time(9, 0, 0, 0));
/// let mut due = berlin.time_of(date(2026, 1, 1).at(0, 0, 0, 0));
/// let mut days = Vec::new();
/// for _ in 0..3 {
///     due = salaries.due_after(due);
///     days.push(berlin.local(due));
/// }
/// let nine = |month, day| date(2026, month, day).at(9, 0, 0, 0);
/// assert_eq!(days, [nine(1, 31), nine(2, 28), nine(3, 31)]);
/// # Ok::<(), gesta::calendar::UnknownZone>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a rule does nothing until a timer is set by it"]
pub struct CalendarRule {
    calendar: Calendar,
    day: DayRule,
    /// `None`: the local time that the rule counts from.
    time: Option<Time>,
    /// A date that is no working day is replaced by the next one that is.
    only_working_days: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DayRule {
    On(Date),
    DaysLater(u32),
    MonthsLater(u32),
    WorkingDaysLater(u32),
    Daily,
    WorkingDays,
    Weekly(Weekday),
    Monthly(u8),
    Yearly { month: u8, day: u8 },
}

impl CalendarRule {
    /// Sets the local time of day. Default: that of the time which the rule counts from.
    pub fn at(self, time: Time) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Replaces a date that is no working day by the next working day.
    pub fn or_next_working_day(self) -> Self {
        Self { only_working_days: true, ..self }
    }

    /// Returns the due time, counted from a time.
    ///
    /// A repeated rule gives the first time that is later. Any other rule gives one time, which may
    /// be earlier: *0 days later at 09:00*, counted from noon, is due at once. The end of the year
    /// 9999 stands for times after it; they never come.
    #[must_use]
    pub fn due_after(&self, start: RecordedAt) -> RecordedAt {
        let local = self.calendar.local(start);
        let time = self.time.unwrap_or_else(|| local.time());
        let due = match self.date_after(local.date()) {
            Once::Date(date) => date.map(|date| self.calendar.time_of(date.to_datetime(time))),
            Once::Repeats => self.next_after(start, time),
        };
        due.unwrap_or(NEVER)
    }

    fn date_after(&self, start: Date) -> Once {
        let date = match self.day {
            DayRule::On(date) => Some(date),
            DayRule::DaysLater(days) => later(start, Span::new().try_days(days)),
            // Ends at the last day of a shorter month.
            DayRule::MonthsLater(months) => later(start, Span::new().try_months(months)),
            DayRule::WorkingDaysLater(days) => self.working_days_after(start, days),
            DayRule::Daily
            | DayRule::WorkingDays
            | DayRule::Weekly(_)
            | DayRule::Monthly(_)
            | DayRule::Yearly { .. } => return Once::Repeats,
        };
        Once::Date(match self.only_working_days {
            true => date.and_then(|date| self.calendar.working_day_from(date)),
            false => date,
        })
    }

    fn working_days_after(&self, start: Date, days: u32) -> Option<Date> {
        if days == 0 {
            return self.calendar.working_day_from(start);
        }
        let mut date = start;
        for _ in 0..days {
            date = self.calendar.working_day_from(date.tomorrow().ok()?)?;
        }
        Some(date)
    }

    /// Returns the first time of a repeated rule after a time.
    fn next_after(&self, start: RecordedAt, time: Time) -> Option<RecordedAt> {
        // From the day before: a time that does not exist may move to the next day.
        let mut date = self.calendar.local(start).date();
        date = date.yesterday().unwrap_or(date);
        for _ in 0..SEARCH_DAYS_MAX {
            if self.lands_on(date) {
                let due = self.calendar.time_of(date.to_datetime(time));
                if due > start {
                    return Some(due);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// Returns whether a repeated rule is due on a date.
    fn lands_on(&self, date: Date) -> bool {
        if !self.only_working_days {
            return self.falls_on(date);
        }
        if !self.calendar.is_working_day(date) {
            return false;
        }
        // Its own date, or one of the free days right before it.
        let mut from = Some(date);
        while let Some(date) = from {
            if self.falls_on(date) {
                return true;
            }
            let before = date.yesterday().ok();
            from = before.filter(|before| !self.calendar.is_working_day(*before));
        }
        false
    }

    fn falls_on(&self, date: Date) -> bool {
        // The last day of the month stands for the days that it does not have.
        let is_day =
            |day: u8| date.day() == i8::try_from(day).unwrap_or(i8::MAX).min(date.days_in_month());
        match self.day {
            DayRule::Daily => true,
            DayRule::WorkingDays => self.calendar.is_working_day(date),
            DayRule::Weekly(weekday) => date.weekday() == weekday,
            DayRule::Monthly(day) => is_day(day),
            DayRule::Yearly { month, day } => {
                u8::try_from(date.month()).is_ok_and(|of| of == month) && is_day(day)
            }
            DayRule::On(_)
            | DayRule::DaysLater(_)
            | DayRule::MonthsLater(_)
            | DayRule::WorkingDaysLater(_) => false,
        }
    }
}

/// Returns the date later by a span; `None` if it is beyond the range of the calendar.
fn later(date: Date, span: Result<Span, jiff::Error>) -> Option<Date> {
    date.checked_add(span.ok()?).ok()
}

/// The date of a rule.
enum Once {
    /// `None`: beyond the range of the calendar.
    Date(Option<Date>),
    /// The rule has a date again and again.
    Repeats,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Calendar {
        Calendar::in_zone("Europe/Berlin").unwrap()
    }

    /// The first due times of a rule, in UTC.
    fn dues(rule: &CalendarRule, start: DateTime, count: usize) -> Vec<String> {
        let mut due = rule.calendar.time_of(start);
        let each = std::iter::repeat_with(|| {
            due = rule.due_after(due);
            Calendar::utc().local(due).to_string()
        });
        each.take(count).collect()
    }

    #[test]
    fn a_daily_time_that_the_spring_leaves_out_is_an_hour_later_on_that_day() {
        let half_past_two = berlin().daily().at(time(2, 30, 0, 0));
        let start = date(2026, 3, 27).at(12, 0, 0, 0);
        let expected = ["2026-03-28T01:30:00", "2026-03-29T01:30:00", "2026-03-30T00:30:00"];
        assert_eq!(dues(&half_past_two, start, 3), expected);
    }

    #[test]
    fn a_daily_time_that_the_autumn_repeats_is_due_once_at_its_first_occurrence() {
        let half_past_two = berlin().daily().at(time(2, 30, 0, 0));
        let start = date(2026, 10, 23).at(12, 0, 0, 0);
        let expected = ["2026-10-24T00:30:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"];
        assert_eq!(dues(&half_past_two, start, 3), expected);
    }

    #[test]
    fn a_day_later_has_the_same_local_time_across_summer_time() {
        let later = berlin().days_later(1);
        let spring = dues(&later, date(2026, 3, 28).at(9, 0, 0, 0), 1);
        assert_eq!(spring, ["2026-03-29T07:00:00"], "23 hours");
        let autumn = dues(&later, date(2026, 10, 24).at(9, 0, 0, 0), 1);
        assert_eq!(autumn, ["2026-10-25T08:00:00"], "25 hours");
    }

    #[test]
    fn a_day_that_a_zone_leaves_out_is_due_on_the_next_one_and_only_once() {
        let apia = Calendar::in_zone("Pacific/Apia").unwrap();
        let noon = apia.daily().at(time(12, 0, 0, 0));
        let mut due = apia.time_of(date(2011, 12, 28).at(13, 0, 0, 0));
        let mut days = Vec::new();
        for _ in 0..3 {
            due = noon.due_after(due);
            days.push(apia.local(due).date());
        }
        assert_eq!(days, [date(2011, 12, 29), date(2011, 12, 31), date(2012, 1, 1)]);
    }

    #[test]
    fn the_31st_is_the_last_day_of_shorter_months_and_comes_back() {
        let monthly = Calendar::utc().monthly(31).at(time(9, 0, 0, 0));
        let expected = [
            "2028-01-31T09:00:00",
            "2028-02-29T09:00:00",
            "2028-03-31T09:00:00",
            "2028-04-30T09:00:00",
        ];
        assert_eq!(dues(&monthly, date(2028, 1, 1).at(0, 0, 0, 0), 4), expected);
    }

    #[test]
    fn a_month_after_the_end_of_january_is_the_end_of_february() {
        let later = Calendar::utc().months_later(1);
        let nine = |date: Date| date.at(9, 0, 0, 0);
        assert_eq!(dues(&later, nine(date(2026, 1, 31)), 1), ["2026-02-28T09:00:00"]);
        assert_eq!(dues(&later, nine(date(2028, 1, 31)), 1), ["2028-02-29T09:00:00"]);
        let year = Calendar::utc().months_later(12);
        assert_eq!(dues(&year, nine(date(2028, 2, 29)), 1), ["2029-02-28T09:00:00"]);
    }

    #[test]
    fn the_29th_of_february_is_the_28th_in_other_years() {
        let yearly = Calendar::utc().yearly(2, 29).at(time(0, 0, 0, 0));
        let expected = ["2026-02-28T00:00:00", "2027-02-28T00:00:00", "2028-02-29T00:00:00"];
        assert_eq!(dues(&yearly, date(2026, 1, 1).at(0, 0, 0, 0), 3), expected);
    }

    #[test]
    fn working_days_leave_out_weekends_and_holidays() {
        let holidays = [date(2026, 4, 3), date(2026, 4, 6)];
        let calendar = Calendar::utc().with_holidays(holidays);
        let thursday = date(2026, 4, 2).at(16, 0, 0, 0);
        let later = |days| dues(&calendar.working_days_later(days), thursday, 1);
        assert_eq!(later(0), ["2026-04-02T16:00:00"]);
        assert_eq!(later(1), ["2026-04-07T16:00:00"], "after Good Friday, Easter and its Monday");
        assert_eq!(later(5), ["2026-04-13T16:00:00"]);
        let friday = date(2026, 4, 3).at(16, 0, 0, 0);
        let from_a_holiday = dues(&calendar.working_days_later(0), friday, 1);
        assert_eq!(from_a_holiday, ["2026-04-07T16:00:00"]);
        let each = calendar.every_working_day().at(time(8, 0, 0, 0));
        assert_eq!(dues(&each, thursday, 2), ["2026-04-07T08:00:00", "2026-04-08T08:00:00"]);
    }

    #[test]
    fn a_date_that_is_no_working_day_is_replaced_by_the_next_one() {
        let salaries = Calendar::utc().monthly(31).at(time(9, 0, 0, 0)).or_next_working_day();
        // 31 January is a Saturday, 28 February too, 31 March a Tuesday.
        let expected = ["2026-02-02T09:00:00", "2026-03-02T09:00:00", "2026-03-31T09:00:00"];
        assert_eq!(dues(&salaries, date(2026, 1, 1).at(0, 0, 0, 0), 3), expected);
        let from_between = dues(&salaries, date(2026, 2, 1).at(0, 0, 0, 0), 1);
        assert_eq!(from_between, ["2026-02-02T09:00:00"], "its own date has passed");
        let once = Calendar::utc().on(date(2026, 1, 31)).or_next_working_day();
        assert_eq!(dues(&once, date(2026, 1, 1).at(9, 0, 0, 0), 1), ["2026-02-02T09:00:00"]);
    }

    #[test]
    fn a_weekday_is_due_later_the_same_day_or_in_a_week() {
        let mondays = Calendar::utc().weekly(Weekday::Monday).at(time(9, 0, 0, 0));
        let monday = |hour| dues(&mondays, date(2026, 6, 1).at(hour, 0, 0, 0), 1);
        assert_eq!(monday(8), ["2026-06-01T09:00:00"]);
        assert_eq!(monday(9), ["2026-06-08T09:00:00"], "later, never the same time");
    }

    #[test]
    fn a_rule_without_a_day_never_comes() {
        let all: Vec<Date> = date(2026, 1, 1).series(Span::new().days(1)).take(4_000).collect();
        let closed = Calendar::utc().with_holidays(all);
        let start = closed.time_of(date(2026, 1, 1).at(0, 0, 0, 0));
        assert_eq!(closed.every_working_day().due_after(start), NEVER);
        assert_eq!(closed.working_days_later(1).due_after(start), NEVER);
        assert_eq!(Calendar::utc().months_later(u32::MAX).due_after(start), NEVER);
        assert_eq!(Calendar::utc().daily().due_after(NEVER), NEVER);
    }

    #[test]
    fn an_unknown_zone_is_refused_with_an_example() {
        let error = Calendar::in_zone("Europe/Atlantis").unwrap_err();
        assert!(error.to_string().contains("unknown time zone `Europe/Atlantis`"), "{error}");
    }
}
