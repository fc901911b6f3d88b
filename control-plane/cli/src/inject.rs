//! `weft inject`: manifests in, the same with sidecars out. It needs no cluster.

use std::io::{Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use weft_control::inject::manifests::{self, Edit, Inject, Uninject};
use weft_control::inject::{Cluster, Settings, check_options, new_probe_token};

use crate::args::{Global, InjectArgs};

/// More than any real set of manifests has.
const MOST_BYTES: u64 = 64 << 20;

/// Prints the manifests; what was done to each, and why nothing was, goes to standard error.
pub(crate) fn run(args: &InjectArgs, global: &Global, out: &mut impl Write) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let settings = settings(args, &global.system_namespace)?;
    let inject = Inject { settings: &settings, probe_token: &new_probe_token };
    let edit: &dyn Edit = if args.uninject { &Uninject } else { &inject };
    let edited = manifests::edit(&text, &args.place.namespace, edit)?;
    let mut notes = std::io::stderr().lock();
    for note in &edited.notes {
        writeln!(notes, "{note}")?;
    }
    if edited.notes.is_empty() {
        writeln!(notes, "nothing in it makes pods; it stays as it is")?;
    }
    out.write_all(edited.text.as_bytes())?;
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MOST_BYTES + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text))
    };
    let read = read.with_context(|| format!("can't read {}", path.display()))?;
    anyhow::ensure!(read as u64 <= MOST_BYTES, "{} has more than {} MiB", path.display(), MOST_BYTES >> 20);
    Ok(text)
}

fn settings(args: &InjectArgs, namespace: &str) -> anyhow::Result<Settings> {
    let trust_domain = args.trust_domain.parse().with_context(|| format!("--trust-domain {:?}", args.trust_domain))?;
    let defaults = args.options.iter().map(|setting| (setting.0.clone(), setting.1.clone())).collect();
    check_options(&defaults).context("--set")?;
    Ok(Settings {
        pull_policy: args.pull_policy,
        control_plane: args.control_plane.clone().unwrap_or_else(|| Settings::control_plane_in(namespace)),
        system_namespace: namespace.to_owned(),
        unless_opted_out: true,
        defaults,
        otlp_endpoint: args.otlp_endpoint.clone(),
        cluster: match &args.kubernetes_version {
            Some(version) => Cluster::of_version(&version.major, &version.minor),
            None => Cluster::CURRENT,
        },
        ..Settings::new(args.image.clone(), trust_domain)
    })
}

#[cfg(test)]
mod tests;
