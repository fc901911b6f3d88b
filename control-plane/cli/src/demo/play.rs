//! The demo's plot: what is done to the mesh while traffic flows, and what is shown of it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::load::Load;
use super::mesh::Mesh;
use super::report::{Report, SplitResult};
use super::view::{Frame, View, weights};

/// The shifts, each with the part of the whole duration at whose end it ends, in percent.
const SHIFTS: [([(&str, i64); 2], u32); 3] =
    [([("v1", 90), ("v2", 10)], 30), ([("v1", 50), ("v2", 50)], 60), ([("v1", 0), ("v2", 100)], 75)];
/// When the pod that was taken away comes back, in percent of the whole duration.
const BACK: u32 = 87;
const REDRAW: Duration = Duration::from_secs(1);

/// The mesh, its visitors, and the view of both.
#[derive(Debug)]
pub(super) struct Play {
    mesh: Mesh,
    load: Load,
    view: View,
    begun: Instant,
}

impl Play {
    /// Lets the visitors in.
    pub(super) fn begin(mesh: Mesh, view: View) -> Result<Self> {
        let load = Load::start(mesh.bridge(), mesh.web_address())?;
        Ok(Self { mesh, load, view, begun: Instant::now() })
    }

    /// Performs the whole plot in `duration`.
    pub(super) async fn perform(&self, duration: Duration) -> Result<Vec<SplitResult>> {
        let moment = |percent: u32| self.begun + duration * percent / 100;
        let mut splits = Vec::new();
        for (shift, end) in &SHIFTS {
            splits.push(self.shift(shift, moment(*end)).await?);
        }
        let pod = self.mesh.take_away().await?;
        self.view.step(&format!("took {pod} away: its endpoint, then SIGTERM to its processes, which have ended"));
        sleep_until(moment(BACK)).await;
        let pod = self.mesh.bring_back().await?;
        self.view.step(&format!("brought {pod} back"));
        sleep_until(moment(100)).await;
        Ok(splits)
    }

    /// Sets weights, waits for the proxies, then counts who answers until `end`.
    async fn shift(&self, shift: &[(&str, i64)], end: Instant) -> Result<SplitResult> {
        let asked = Instant::now();
        let split = self.mesh.shift(shift).await?;
        self.load.start_counting();
        let took = asked.elapsed().as_secs_f64() * 1e3;
        self.view.step(&format!("set {}: every proxy concerned has it after {took:.0} ms", weights(&split)));
        sleep_until(end).await;
        Ok(SplitResult::new(shift, self.load.stop_counting().await))
    }

    /// Shows the state each second, until it is dropped.
    pub(super) async fn show(&self) -> Infallible {
        let mut ticks = interval_at(Instant::now() + REDRAW, REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            ticks.tick().await;
            let counted = self.mesh.scrape().await;
            let split = self.mesh.split().await.ok();
            let window_length = last.elapsed();
            last = Instant::now();
            self.view.frame(&Frame {
                elapsed: self.begun.elapsed(),
                split: split.as_ref(),
                window: &self.load.window(),
                window_length,
                totals: &self.load.totals(),
                counted: &counted,
                spans: self.mesh.spans(&counted),
            });
        }
    }

    /// Prints a line that stays.
    pub(super) fn say(&self, line: &str) {
        self.view.step(line);
    }

    /// Sends the visitors home and adds everything up.
    pub(super) async fn finish(self, splits: Vec<SplitResult>) -> Report {
        self.load.stop().await;
        let counted = self.mesh.scrape().await;
        let spans = self.mesh.spans(&counted);
        let expected: BTreeSet<String> = self.mesh.callers();
        let report = Report::judge(self.load.totals(), splits, counted, spans, &expected);
        for complaint in &report.complaints {
            self.view.step(&format!("not as it should be: {complaint}"));
        }
        if !report.ok {
            self.view.step(&self.mesh.log_tails());
        }
        report
    }
}
