//! `weft traffic shift` and `weft traffic audit`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tonic::Code;
use weft_api::traffic::shift::State;
use weft_api::traffic::{ListAuditRequest, ListShiftsRequest, Shift, ShiftRequest, StartShiftRequest};

use crate::args::{Global, OfService, Output, ShiftArgs, ShiftCommand};
use crate::client::Client;
use crate::failure::{Failure, Target};
use crate::output;

mod follow;
mod show;

use follow::View;

/// A control plane that restarts is back within this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked for meanwhile.
const RETRY: Duration = Duration::from_millis(500);

/// Runs one `weft traffic shift` command and prints its answer to `out`.
pub(super) async fn run(
    args: ShiftArgs,
    client: &mut Client,
    global: &Global,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let form = global.output;
    match args.command {
        None => start(args, client, form, out).await,
        Some(ShiftCommand::Status { service: None, namespace, .. }) => {
            list(client, namespace, form, out).await?;
            Ok(ExitCode::SUCCESS)
        }
        Some(ShiftCommand::Status { service: Some(service), namespace, follow: follows }) => {
            let request = ShiftRequest { namespace: namespace.unwrap_or_else(|| "default".to_owned()), service };
            if follows {
                return follow(client, request, form, out).await;
            }
            let shift = client.traffic.get_shift(request.clone()).await;
            print(client, shift, &request, form, out)
        }
        Some(ShiftCommand::Pause(of)) => {
            let request = request(of);
            let shift = client.traffic.pause_shift(request.clone()).await;
            print(client, shift, &request, form, out)
        }
        Some(ShiftCommand::Resume(of)) => {
            let request = request(of);
            let shift = client.traffic.resume_shift(request.clone()).await;
            print(client, shift, &request, form, out)
        }
        Some(ShiftCommand::Promote(of)) => {
            let request = request(of);
            let shift = client.traffic.promote_shift(request.clone()).await;
            print(client, shift, &request, form, out)
        }
        Some(ShiftCommand::Abort(of)) => {
            let request = request(of);
            let shift = client.traffic.abort_shift(request.clone()).await;
            print(client, shift, &request, form, out)
        }
    }
}

/// What was done to a Service's traffic.
pub(super) async fn audit(
    target: Target<'_>,
    limit: u32,
    client: &mut Client,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Target { namespace, service } = target;
    let request = ListAuditRequest { namespace: namespace.to_owned(), service: service.to_owned(), limit };
    let answer = client.traffic.list_audit(request).await;
    let audit = answer.map_err(|status| client.failure(&status, Some(target)))?.into_inner();
    match form {
        Output::Json => output::json(out, &audit),
        Output::Table if audit.entries.is_empty() => {
            Ok(writeln!(out, "Nothing was ever done to the traffic of {namespace}/{service}.")?)
        }
        Output::Table => Ok(writeln!(out, "{}", show::audit(&audit.entries))?),
    }
}

async fn start(args: ShiftArgs, client: &mut Client, form: Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (service, to) = args.service.zip(args.to).ok_or_else(|| Failure::new("a Service and --to are needed"))?;
    let namespace = args.place.namespace;
    let request = StartShiftRequest {
        namespace: namespace.clone(),
        service: service.clone(),
        to: to.service,
        port: to.port,
        steps: args.steps,
        interval: args.interval,
        abort_if: args.abort_if,
        min_requests: Some(args.min_requests),
    };
    let answer = client.traffic.start_shift(request).await;
    let target = Target { namespace: &namespace, service: &service };
    let shift = answer.map_err(|status| client.failure(&status, Some(target)))?.into_inner();
    if args.detach {
        match form {
            Output::Json => output::json(out, &shift)?,
            Output::Table => writeln!(out, "{}\n{}", show::begun(&shift), show::how_to_follow(&shift))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if form == Output::Table {
        writeln!(out, "{}\nCtrl-C ends this view alone; the shift goes on.", show::begun(&shift))?;
        out.flush()?;
    }
    follow(client, ShiftRequest { namespace, service }, form, out).await
}

/// Prints a shift as it goes, until its end.
async fn follow(
    client: &mut Client,
    request: ShiftRequest,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let target = || Target { namespace: &request.namespace, service: &request.service };
    let mut view = View::new(form);
    let mut lost_at = None;
    loop {
        let status = match client.traffic.watch_shift(request.clone()).await {
            Ok(answer) => {
                let mut shifts = answer.into_inner();
                loop {
                    match shifts.message().await {
                        Ok(Some(shift)) => {
                            lost_at = None;
                            view.show(&shift, out)?;
                            if let Some(code) = exit_code(&shift) {
                                return Ok(code);
                            }
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                }
            }
            Err(status) => Some(status),
        };
        // The shift survives a restart of the control plane, and so does this view.
        let lost = |code| matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
        let since = *lost_at.get_or_insert_with(std::time::Instant::now);
        if let Some(status) = status.filter(|status| !lost(status.code()) || since.elapsed() > PATIENCE) {
            return Err(client.failure(&status, Some(target())).into());
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// 0 for what was promoted, 1 for what was not; none while it is under way.
fn exit_code(shift: &Shift) -> Option<ExitCode> {
    match shift.state() {
        State::Promoted => Some(ExitCode::SUCCESS),
        State::RolledBack | State::Failed => Some(ExitCode::FAILURE),
        _ => None,
    }
}

async fn list(
    client: &mut Client,
    namespace: Option<String>,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = ListShiftsRequest { namespace: namespace.unwrap_or_default() };
    let answer = client.traffic.list_shifts(request).await;
    let list = answer.map_err(|status| client.failure(&status, None))?.into_inner();
    match form {
        Output::Json => output::json(out, &list),
        Output::Table if list.shifts.is_empty() => {
            Ok(writeln!(out, "No shifts. Begin one with: weft traffic shift SERVICE --to BACKEND")?)
        }
        Output::Table => Ok(writeln!(out, "{}", show::list(&list.shifts))?),
    }
}

fn request(of: OfService) -> ShiftRequest {
    ShiftRequest { namespace: of.place.namespace, service: of.service }
}

fn print(
    client: &Client,
    answer: Result<tonic::Response<Shift>, tonic::Status>,
    request: &ShiftRequest,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let target = Target { namespace: &request.namespace, service: &request.service };
    let shift = answer.map_err(|status| client.failure(&status, Some(target)))?.into_inner();
    match form {
        Output::Json => output::json(out, &shift)?,
        Output::Table => writeln!(out, "{}", show::shift(&shift))?,
    }
    Ok(ExitCode::SUCCESS)
}
