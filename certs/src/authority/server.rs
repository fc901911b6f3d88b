//! Certificates for clients that go by DNS names and not by SPIFFE ids: Kubernetes' API server, when it calls webhooks.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use super::{Authority, BACKDATED_BY, IssuedCertificate, SignError, csr, random_serial, whole_seconds};

impl Authority {
    /// Signs a request (PKCS #10, PEM) for a server of these DNS names. It proves no identity in the mesh: there is no
    /// SPIFFE id in it. It ends at the latest when the issuer does.
    ///
    /// # Errors
    /// See [`SignError`]; also when a name is none that DNS has.
    pub fn sign_server(
        &self,
        csr_pem: &str,
        names: &[String],
        lifetime: Duration,
    ) -> Result<IssuedCertificate, SignError> {
        let now = SystemTime::now();
        if self.issuer_not_after <= now {
            return Err(SignError::IssuerExpired);
        }
        let public_key = csr::verified_public_key(csr_pem)?;
        let not_after = whole_seconds(now.checked_add(lifetime).unwrap_or(self.issuer_not_after));
        let not_after = not_after.min(self.issuer_not_after);
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED_BY).into();
        params.not_after = not_after.into();
        params.serial_number = Some(random_serial());
        params.distinguished_name = DistinguishedName::new();
        let names = names.iter().map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)));
        params.subject_alt_names = names.collect::<Result<_, rcgen::Error>>().map_err(SignError::Crypto)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&public_key, &self.issuer).map_err(SignError::Crypto)?;
        Ok(IssuedCertificate { chain_pem: vec![leaf.pem(), self.issuer_pem.clone()], not_after })
    }
}
