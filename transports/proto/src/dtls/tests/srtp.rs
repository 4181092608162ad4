//! Keys for media.

use bytes::Bytes;

use super::*;
use crate::config::DtlsRecords;
use crate::media::srtp::{Error as SrtpError, Packet, Session};

const RTP: [u8; 16] = [
    0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, b'v', b'i', b'd', b'e',
];
const RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 5];

#[test]
fn sessions_of_both_ends_talk_in_every_version() {
    use DtlsVersions::{Only12, Only13};
    for (versions, records) in [
        (Only12, DtlsRecords::Packaged),
        (Only13, DtlsRecords::Packaged),
        (Only13, DtlsRecords::Native),
    ] {
        let config = DtlsConfig {
            records,
            ..only(versions)
        };
        let mut pair = pair_with(&config, &config, Wrong::default());
        assert_eq!(pair.client.take_srtp_keys(), None, "before the handshake");
        pair.exchange(|packets| packets);
        let client = pair.client.take_srtp_keys().expect("keys");
        let server = pair.server.take_srtp_keys().expect("keys");
        assert_eq!(pair.client.take_srtp_keys(), None, "once");
        assert_eq!(client.profile, SrtpProfile::AeadAes256Gcm);
        assert_eq!(
            (&client.local, &client.remote),
            (&server.remote, &server.local)
        );
        assert_ne!(client.local, client.remote);
        let mut ends = [&client, &server].map(|keys| Session::new(keys).expect("session"));
        for from in [0, 1] {
            let sealed = ends[from].protect_rtp(&RTP).expect("protected");
            let opened = ends[1 - from].unprotect(&sealed);
            assert_eq!(opened, Ok(Packet::Rtp(Bytes::from_static(&RTP))));
            let sealed = ends[from].protect_rtcp(&RTCP).expect("protected");
            let opened = ends[1 - from].unprotect(&sealed);
            assert_eq!(opened, Ok(Packet::Rtcp(Bytes::from_static(&RTCP))));
            assert_eq!(ends[1 - from].unprotect(&sealed), Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn a_peer_that_was_not_expected_yields_no_keys() {
    for versions in [DtlsVersions::Only12, DtlsVersions::Only13] {
        for wrong in [
            Wrong {
                at_client: true,
                at_server: false,
            },
            Wrong {
                at_client: false,
                at_server: true,
            },
        ] {
            let config = only(versions);
            let mut pair = pair_with(&config, &config, wrong);
            pair.exchange(|packets| packets);
            let refused = if wrong.at_client {
                &mut pair.client
            } else {
                &mut pair.server
            };
            assert_eq!(refused.state(), State::Failed);
            assert_eq!(refused.take_srtp_keys(), None, "{versions:?} {wrong:?}");
        }
    }
}

#[test]
fn who_has_closed_has_no_keys() {
    let config = only(DtlsVersions::Auto);
    let mut pair = pair_with(&config, &config, Wrong::default());
    pair.exchange(|packets| packets);
    pair.client.close(pair.now);
    pair.exchange(|packets| packets);
    assert_eq!(pair.client.take_srtp_keys(), None);
    assert_eq!(pair.server.take_srtp_keys(), None, "nor has its peer");
}
