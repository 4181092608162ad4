//! `identity`: the certificate seen is the one whose fingerprint was signaled.

use serde_json::{Value, json};

use super::super::stats::seen_fingerprint;
use super::Check;

/// Compares the fingerprint of the certificate seen with those in the SDP.
pub(super) async fn identity(check: &Check<'_>) -> Result<Value, String> {
    let connection = check.driver.channels.connection();
    check.begin("connected");
    check.ask("ping", Value::Null).await?;
    check.begin("fingerprint in the SDP");
    let sdp = connection
        .remote_description()
        .ok_or("no remote description")?
        .sdp;
    let signaled = fingerprints(&sdp);
    if signaled.is_empty() {
        return Err("the SDP has no fingerprint".into());
    }
    check.begin("certificate seen");
    let seen = seen_fingerprint(connection).await?;
    if !signaled.iter().any(|one| one.eq_ignore_ascii_case(&seen)) {
        return Err(format!("seen {seen}, signaled {}", signaled.join(" and ")));
    }
    Ok(json!({"fingerprint": seen}))
}

/// The fingerprints of a description (RFC 8122, section 5), as
/// `sha-256 AB:CD:…`.
fn fingerprints(sdp: &str) -> Vec<String> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=fingerprint:"))
        .map(|value| value.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_found_at_both_levels() {
        let sdp =
            "v=0\r\na=fingerprint:sha-256 AA:BB\r\nm=application 9 x\r\na=fingerprint:sha-1 CC\r\n";
        assert_eq!(fingerprints(sdp), ["sha-256 AA:BB", "sha-1 CC"]);
        assert!(fingerprints("v=0\r\n").is_empty());
    }
}
