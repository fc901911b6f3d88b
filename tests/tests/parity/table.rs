//! The table: a line for each case, and the sum at its end.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::ExitCode;

use crate::case::Case;

/// Prints itself as it grows.
#[derive(Debug)]
pub(crate) struct Table {
    left: VecDeque<Case>,
    name_width: usize,
    passed: usize,
    failed: usize,
}

impl Table {
    /// Of these cases, in order.
    pub(crate) fn new(cases: Vec<Case>) -> Self {
        let name_width = cases.iter().map(|case| case.name.len()).max().unwrap_or_default();
        Self { left: cases.into(), name_width, passed: 0, failed: 0 }
    }

    /// Prints the columns' names.
    pub(crate) fn head(&self) {
        print(&format!("{:width$} | Envoy | Weft | verdict", "case", width = self.name_width));
    }

    /// The next case.
    pub(crate) fn next(&mut self) -> Option<Case> {
        self.left.pop_front()
    }

    /// Judges a case and prints its line.
    pub(crate) fn enter(&mut self, case: &Case, envoy: String, weft: String) {
        let wanted = case.weft.map_or(case.envoy, |(weft, _)| weft);
        let verdict = if envoy == case.envoy && weft == wanted {
            self.passed += 1;
            case.weft.map_or_else(|| "same".to_owned(), |(_, reason)| format!("documented: {reason}"))
        } else {
            self.failed += 1;
            format!("DIFFERENT: expected `{}` of Envoy and `{wanted}` of Weft", case.envoy)
        };
        print(&format!("{:width$} | {envoy} | {weft} | {verdict}", case.name, width = self.name_width));
    }

    /// Prints the sum, and gives the exit code.
    pub(crate) fn conclude(self) -> ExitCode {
        print(&format!("{} passed, {} failed", self.passed, self.failed));
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Prints a line. Nobody who does not listen is to stop the comparison.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
