//! Dates for templates that begin with today's.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// A time in UTC, written by Python's `strftime` codes. Codes that are not known stay as they are.
pub(super) fn format(time: SystemTime, pattern: &str) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let date = Date::of(days);
    let (month, weekday) = (date.month_name(), DAYS[(days % 7) as usize]);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };

    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        // A dash after the sign leaves leading zeros out.
        let is_short = rest.next_if_eq(&'-').is_some();
        let mut number = |value: u64, width: usize| {
            let width = if is_short { 1 } else { width };
            // Writing to a string does not fail.
            let _ = write!(text, "{value:0width$}");
        };
        match rest.next() {
            Some('Y') => number(date.year, 4),
            Some('y') => number(date.year % 100, 2),
            Some('m') => number(date.month, 2),
            Some('d') => number(date.day, 2),
            Some('j') => number(date.day_of_year, 3),
            Some('H') => number(hour, 2),
            Some('I') => number(twelve, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('e') => {
                let _ = write!(text, "{:>2}", date.day);
            }
            Some('B') => text.push_str(month),
            Some('b' | 'h') => text.push_str(&month[..3]),
            Some('A') => text.push_str(weekday),
            Some('a') => text.push_str(&weekday[..3]),
            Some('p') => text.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('F') => {
                let _ = write!(text, "{:04}-{:02}-{:02}", date.year, date.month, date.day);
            }
            Some('T') => {
                let _ = write!(text, "{hour:02}:{minute:02}:{second:02}");
            }
            Some('%') => text.push('%'),
            other => {
                text.push('%');
                text.extend(is_short.then_some('-'));
                text.extend(other);
            }
        }
    }
    text
}

struct Date {
    year: u64,
    month: u64,
    day: u64,
    day_of_year: u64,
}

impl Date {
    /// The date so many days after the first of January 1970.
    fn of(days: u64) -> Self {
        let mut year = 1970 + days / 146_097 * 400;
        let mut left = days % 146_097;
        while left >= days_in(year) {
            left -= days_in(year);
            year += 1;
        }
        let day_of_year = left + 1;
        let mut month = 1;
        for length in month_lengths(year) {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            year,
            month,
            day: left + 1,
            day_of_year,
        }
    }

    fn month_name(&self) -> &'static str {
        MONTHS[(self.month as usize - 1) % 12]
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_lengths(year: u64) -> [u64; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}
