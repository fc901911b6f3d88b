//! The proxy's own log, on standard error. Its filter can be changed while it runs.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::{LogFormat, Telemetry};

/// Reads and changes the filter. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Why a filter cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// It is malformed.
    #[error("{filter:?} is no filter such as info,weft_proxy=debug: {source}")]
    Malformed {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// There is no log any more.
    #[error("the filter cannot be changed: {0}")]
    Unchangeable(#[from] reload::Error),
}

/// Starts the log as `WEFT_LOG` and `WEFT_LOG_FORMAT` say. To be called once, before anything is logged.
///
/// # Errors
/// Where there is a log already.
pub(crate) fn init_logging(config: &Telemetry) -> Result<LogHandle, TryInitError> {
    // The configuration has checked the filter.
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&config.log_filter));
    let lines = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(LogHandle { filter: handle })
}

impl LogHandle {
    /// The filter in force.
    ///
    /// # Errors
    /// Where there is no log any more.
    pub(crate) fn filter(&self) -> Result<String, FilterError> {
        Ok(self.filter.with_current(ToString::to_string)?)
    }

    /// Puts another filter in force.
    ///
    /// # Errors
    /// Where it is malformed: the one before stays.
    pub(crate) fn set_filter(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = EnvFilter::try_new(filter)
            .map_err(|source| FilterError::Malformed { filter: filter.to_owned(), source })?;
        Ok(self.filter.reload(parsed)?)
    }
}
