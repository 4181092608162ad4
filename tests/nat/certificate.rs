//! A certificate authority for one run, and a certificate of it for the server.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, Error, IsCa, KeyPair};

use crate::internet::SERVER;

pub(crate) const AUTHORITY: &str = "authority.pem";
pub(crate) const CHAIN: &str = "server.pem";
pub(crate) const KEY: &str = "server.key";

/// Writes all three into `folder`.
pub(crate) fn write(folder: &Path) -> Result<(), String> {
    let [authority, chain, key] = make().map_err(|error| error.to_string())?;
    for (name, contents) in [(AUTHORITY, authority), (CHAIN, chain), (KEY, key)] {
        std::fs::write(folder.join(name), contents).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn make() -> Result<[String; 3], Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(vec![SERVER.to_owned()])?.signed_by(&key, &authority)?;
    Ok([authority.pem(), server.pem(), key.serialize_pem()])
}
