//! A shift as it goes: a line for each step and turn; on a terminal, figures that change in place.

use std::io::{IsTerminal as _, Write};

use weft_api::traffic::Shift;

use super::show;
use crate::args::Output;
use crate::output;

/// What was printed last.
pub(super) struct View {
    form: Output,
    /// Whether a line can be written over.
    live: bool,
    /// The step and state that the last line is of, and for how many seconds its step had run.
    last: Option<(u32, i32, f64)>,
    open: bool,
}

/// Where lines can't be written over, the figures of a step are told this often, in seconds.
const PAUSE: f64 = 10.0;

impl View {
    pub(super) fn new(form: Output) -> Self {
        Self { form, live: std::io::stdout().is_terminal(), last: None, open: false }
    }

    /// Prints a shift, if it differs enough.
    pub(super) fn show(&mut self, shift: &Shift, out: &mut impl Write) -> anyhow::Result<()> {
        if self.form == Output::Json {
            return output::json_line(out, shift);
        }
        let turns = self.last.is_none_or(|(step, state, _)| (step, state) != (shift.step, shift.state));
        let ran = self.last.map_or(0.0, |(_, _, ran)| shift.step_seconds - ran);
        if !turns && !self.live && (0.0..PAUSE).contains(&ran) {
            return Ok(());
        }
        if self.open {
            // What is written over was of the same step and state; another begins below it.
            out.write_all(if turns { b"\n" } else { b"\r\x1b[K" })?;
        }
        write!(out, "{}", show::progress(shift))?;
        self.open = self.live && show::end(shift).is_none();
        if !self.open {
            writeln!(out)?;
        }
        if let Some(end) = show::end(shift) {
            writeln!(out, "{end}")?;
        }
        self.last = Some((shift.step, shift.state, shift.step_seconds));
        Ok(out.flush()?)
    }
}
