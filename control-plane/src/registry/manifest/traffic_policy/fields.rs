//! Single fields with their bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::registry::fault::{FieldPath, Report};
use crate::registry::manifest::duration;

/// The shortest that makes sense to wait.
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
/// An hour.
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// The longest that anything takes: a day.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads fields, and reports what is wrong with them.
pub(super) struct Fields<'a> {
    pub(super) report: &'a mut Report,
}

impl Fields<'_> {
    pub(super) fn error(&mut self, field: FieldPath, message: impl Display) {
        self.report.error(field, message.to_string());
    }

    /// A number within bounds, if one is written.
    pub(super) fn number<T: TryFrom<i64> + PartialOrd + Display>(
        &mut self,
        field: FieldPath,
        written: Option<i64>,
        bounds: RangeInclusive<T>,
    ) -> Option<T> {
        let written = written?;
        let number = T::try_from(written).ok().filter(|number| bounds.contains(number));
        let problem = || format!("{written} is out of range: {} to {}", bounds.start(), bounds.end());
        let number = number.ok_or_else(problem);
        self.report.check(field, number)
    }

    /// A number that may have a fraction, within bounds, if one is written.
    pub(super) fn fraction(
        &mut self,
        field: FieldPath,
        written: Option<f64>,
        bounds: RangeInclusive<f64>,
    ) -> Option<f64> {
        let written = written?;
        if bounds.contains(&written) {
            return Some(written);
        }
        self.error(field, format!("{written} is out of range: {} to {}", bounds.start(), bounds.end()));
        None
    }

    /// A duration within bounds, if one is written.
    pub(super) fn duration(
        &mut self,
        field: FieldPath,
        written: Option<&str>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.report.check(field, duration::within(written?, *bounds.start(), *bounds.end()))
    }

    /// One of several words, if one is written.
    pub(super) fn word<T: Copy>(&mut self, field: FieldPath, written: Option<&str>, words: &[(&str, T)]) -> Option<T> {
        let written = written?;
        let found = words.iter().find(|(word, _)| *word == written).map(|&(_, value)| value);
        let problem = || {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("{written:?} is not one of {}", known.join(", "))
        };
        let found = found.ok_or_else(problem);
        self.report.check(field, found)
    }

    /// What must be written.
    pub(super) fn required<T>(&mut self, field: FieldPath, written: Option<T>) -> Option<T> {
        if written.is_none() {
            self.error(field, "is missing");
        }
        written
    }
}
