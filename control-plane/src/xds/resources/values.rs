//! Single values as protobuf has them.

use std::time::Duration;

use weft_api::xds::pb::envoy::r#type::v3::{FractionalPercent, Percent, fractional_percent::DenominatorType};
use weft_api::xds::pb::google::protobuf::{Duration as XdsDuration, UInt32Value};

pub(super) fn duration(duration: Duration) -> XdsDuration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    XdsDuration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

pub(super) fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

pub(super) fn percent(value: impl Into<f64>) -> Percent {
    Percent { value: value.into() }
}

/// A share of a million, in the coarsest denominator that has it.
pub(super) fn share(per_million: u32) -> FractionalPercent {
    let (numerator, denominator) = match per_million {
        whole if whole % 10_000 == 0 => (whole / 10_000, DenominatorType::Hundred),
        part if part % 100 == 0 => (part / 100, DenominatorType::TenThousand),
        part => (part, DenominatorType::Million),
    };
    FractionalPercent { numerator, denominator: denominator.into() }
}
