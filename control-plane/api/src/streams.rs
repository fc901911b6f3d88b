//! The two streams that thousands of proxies hold open for as long as they live: discovery and load reports.
//!
//! The services are Envoy's own, generated once more with [`LeanCodec`] in place of tonic's usual codec.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod discovery {
    include!(concat!(env!("OUT_DIR"), "/envoy.service.discovery.v3.AggregatedDiscoveryService.rs"));
}

/// `envoy.service.load_stats.v3.LoadReportingService`
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
pub mod load_reporting {
    include!(concat!(env!("OUT_DIR"), "/envoy.service.load_stats.v3.LoadReportingService.rs"));
}

/// What a buffer of a stream begins with, in bytes.
const BUFFER_BYTES: usize = 256;
/// One message is handed on at a time. tonic would gather 32 KiB, in a buffer that it keeps as long as the stream lives.
const YIELD_BYTES: usize = 1;

/// protobuf as tonic's own codec has it, for streams that are idle most of the time: their buffers are a small multiple of
/// their largest message, and not 8 KiB from the start or 32 KiB of many messages.
#[derive(Debug)]
pub struct LeanCodec<T, U>(PhantomData<(T, U)>);

/// The encoder of [`LeanCodec`].
#[derive(Debug)]
pub struct LeanEncoder<T>(PhantomData<T>);

impl<T, U> Default for LeanCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for LeanCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = LeanEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        LeanEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}

impl<T: Message> Encoder for LeanEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

#[cfg(test)]
mod tests;
