//! Peer ids and addresses between our types and libp2p's.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use peerloom_mesh_proto::PeerId;

/// Addresses tried per dial; what a peer claims beyond that is ignored.
const DIAL_ADDRESSES: usize = 8;

/// libp2p's form of a peer id; `None` when the bytes are no valid point.
pub(super) fn to_libp2p(peer: &PeerId) -> Option<libp2p::PeerId> {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(peer.as_bytes()).ok()?;
    Some(libp2p::identity::PublicKey::from(key).to_peer_id())
}

/// Our form; `None` for peers whose key is not Ed25519.
pub(super) fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    PeerId::from_libp2p_bytes(&peer.to_bytes()).ok()
}

/// The addresses that parse, without a trailing peer id (the dial names it).
pub(super) fn addresses(texts: &[String]) -> Vec<Multiaddr> {
    texts
        .iter()
        .take(DIAL_ADDRESSES)
        .filter_map(|text| text.parse::<Multiaddr>().ok())
        .map(without_peer)
        .collect()
}

fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Text of an address, without a trailing peer id.
pub(super) fn text(address: &Multiaddr) -> String {
    without_peer(address.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerloom_mesh_proto::Identity;

    #[test]
    fn peer_ids_are_the_same_on_both_sides() {
        let identity = Identity::from_seed([5; 32]);
        let ours = identity.peer_id();
        let keys = libp2p::identity::Keypair::ed25519_from_bytes(*identity.to_seed()).unwrap();
        assert_eq!(keys.public().to_peer_id(), to_libp2p(&ours).unwrap());
        assert_eq!(from_libp2p(&keys.public().to_peer_id()), Some(ours));
        assert_eq!(ours.to_string(), keys.public().to_peer_id().to_string());
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        let peer = Identity::from_seed([5; 32]).peer_id();
        let texts = [
            "nonsense".to_owned(),
            format!("/ip4/127.0.0.1/udp/7/quic-v1/p2p/{peer}"),
        ];
        let parsed = addresses(&texts);
        assert_eq!(parsed.len(), 1);
        assert_eq!(text(&parsed[0]), "/ip4/127.0.0.1/udp/7/quic-v1");
    }
}
