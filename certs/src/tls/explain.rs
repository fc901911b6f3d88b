//! Why a handshake failed, for people.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::VerifyError;

/// The likely cause of a failed handshake, out of the error by which tokio-rustls reports it. rustls' own text shows
/// a [`VerifyError`] only in its debugging form, and a peer's alert only by its name.
pub fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<VerifyError>() {
                Some(cause) => cause.to_string(),
                None => other.to_string(),
            }
        }
        Some(Error::AlertReceived(alert)) => refused_by_peer(*alert),
        Some(Error::NoCertificatesPresented) => "the peer showed no certificate, but one is required here".into(),
        _ => error.to_string(),
    }
}

fn refused_by_peer(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::CertificateUnknown => {
            "it does not accept our certificate; is it of the same mesh, is its trust bundle current, do the clocks agree?"
        }
        AlertDescription::CertificateRequired => "it wants a certificate and we showed none",
        AlertDescription::NoApplicationProtocol => "it speaks another protocol than ours (ALPN)",
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "it has no TLS version, group or signature in common with us (TLS 1.3, ECDSA P-256)"
        }
        _ => "its own log may say more",
    };
    format!("the peer refused the handshake ({alert:?}): {hint}")
}
