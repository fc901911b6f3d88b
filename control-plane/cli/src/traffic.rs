//! `weft traffic`: the traffic API from the command line.

use std::io::Write;
use std::process::ExitCode;

use tonic::{Code, Status};
use weft_api::traffic::{
    Backend, DeleteSplitRequest, GetSplitRequest, ListSplitsRequest, SetWeightsRequest, WatchSplitsRequest,
};

use crate::args::{BackendWeight, Global, Output, TrafficCommand};
use crate::client::Client;
use crate::failure::{Failure, Target};
use crate::output;

mod shift;
mod show;

/// Runs one `weft traffic` command and prints its answer to `out`.
pub(crate) async fn run(command: TrafficCommand, global: &Global, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(global).await?;
    let form = global.output;
    match command {
        TrafficCommand::Set { service, backends, place, expect_version, take_over } => {
            let request = SetWeightsRequest {
                namespace: place.namespace,
                service,
                backends: backends.into_iter().map(backend).collect(),
                expected_version: expect_version,
                take_over,
            };
            set(&mut client, request, form, out).await?;
        }
        TrafficCommand::Get { service, place } => {
            let target = Target { namespace: &place.namespace, service: &service };
            get(&mut client, target, form, out).await?;
        }
        TrafficCommand::List { namespace } => list(&mut client, namespace, form, out).await?,
        TrafficCommand::Delete { service, place, expect_version } => {
            let target = Target { namespace: &place.namespace, service: &service };
            delete(&mut client, target, expect_version, form, out).await?;
        }
        TrafficCommand::Shift(args) => return shift::run(args, &mut client, global, out).await,
        TrafficCommand::Audit { service, place, limit } => {
            let target = Target { namespace: &place.namespace, service: &service };
            shift::audit(target, limit, &mut client, form, out).await?;
        }
        TrafficCommand::Watch { namespace } => watch(&mut client, namespace, form, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn backend(BackendWeight { service, port, weight }: BackendWeight) -> Backend {
    Backend { service, port, weight }
}

async fn set(
    client: &mut Client,
    request: SetWeightsRequest,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let answer = client.traffic.set_weights(request.clone()).await;
    let target = Target { namespace: &request.namespace, service: &request.service };
    let split = answer.map_err(|status| client.failure(&status, Some(target)))?.into_inner();
    match form {
        Output::Json => output::json(out, &split),
        Output::Table => Ok(writeln!(out, "{}", show::written(&split))?),
    }
}

async fn get(client: &mut Client, target: Target<'_>, form: Output, out: &mut impl Write) -> anyhow::Result<()> {
    let request = GetSplitRequest { namespace: target.namespace.to_owned(), service: target.service.to_owned() };
    let split = match client.traffic.get_split(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Err(with_known(client, &status, target).await.into()),
    };
    match form {
        Output::Json => output::json(out, &split),
        Output::Table => Ok(writeln!(out, "{}", show::split(&split))?),
    }
}

async fn list(
    client: &mut Client,
    namespace: Option<String>,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = ListSplitsRequest { namespace: namespace.unwrap_or_default() };
    let answer = client.traffic.list_splits(request).await;
    let list = answer.map_err(|status| client.failure(&status, None))?.into_inner();
    match form {
        Output::Json => output::json(out, &list),
        Output::Table if list.splits.is_empty() => {
            Ok(writeln!(out, "No splits. Make one with: weft traffic set SERVICE BACKEND=WEIGHT...")?)
        }
        Output::Table => Ok(writeln!(out, "{}", show::list(&list.splits))?),
    }
}

async fn delete(
    client: &mut Client,
    target: Target<'_>,
    expected_version: Option<u64>,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Target { namespace, service } = target;
    let request = DeleteSplitRequest { namespace: namespace.to_owned(), service: service.to_owned(), expected_version };
    let answer = match client.traffic.delete_split(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Err(with_known(client, &status, target).await.into()),
    };
    match form {
        Output::Json => output::json(out, &answer),
        Output::Table => Ok(writeln!(out, "{namespace}/{service} has no split any more: its own endpoints answer")?),
    }
}

async fn watch(
    client: &mut Client,
    namespace: Option<String>,
    form: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = WatchSplitsRequest { namespace: namespace.unwrap_or_default() };
    let answer = client.traffic.watch_splits(request).await;
    let mut events = answer.map_err(|status| client.failure(&status, None))?.into_inner();
    while let Some(event) = events.message().await.map_err(|status| client.failure(&status, None))? {
        match form {
            Output::Json => output::json_line(out, &show::EventJson::from(&event))?,
            Output::Table => {
                if let Some(line) = show::event(&event) {
                    writeln!(out, "{line}")?;
                    out.flush()?;
                }
            }
        }
    }
    Err(Failure::new("the control plane ended the watch").next("run the command again to go on watching").into())
}

/// The failure of a call about one split; where there is none, with those that there are.
async fn with_known(client: &mut Client, status: &Status, target: Target<'_>) -> Failure {
    let failure = client.failure(status, Some(target));
    if status.code() != Code::NotFound {
        return failure;
    }
    let request = ListSplitsRequest { namespace: target.namespace.to_owned() };
    let Ok(list) = client.traffic.list_splits(request).await else { return failure };
    let known: Vec<_> = list.get_ref().splits.iter().map(|split| split.service.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    failure.detail(format!("splits in {}: {known}", target.namespace))
}

#[cfg(test)]
mod tests;
