//! `RTCConfiguration`: what the constructor and `setConfiguration` take, refuse and change.

mod common;

use std::time::{Duration, SystemTime};

use common::{Pair, channel, endpoint, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    BundlePolicy, Certificate, Configuration, ConnectionState, Endpoint, Event, IceServer,
    IceTransportPolicy, OfferOptions, PeerConnection, RtcpMuxPolicy, Runtime, RuntimeConfig,
};

fn server(urls: &[&str], username: Option<&str>, credential: Option<&str>) -> IceServer {
    IceServer {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        username: username.map(str::to_owned),
        credential: credential.map(str::to_owned),
    }
}

fn with_servers(ice_servers: Vec<IceServer>) -> Configuration {
    Configuration {
        ice_servers,
        ..Configuration::default()
    }
}

async fn new(endpoint: &Endpoint, config: Configuration) -> PeerConnection {
    PeerConnection::new(endpoint, config)
        .await
        .expect("a connection")
}

/// The name of the error that both the constructor and `setConfiguration` give.
async fn refused(endpoint: &Endpoint, config: Configuration) -> Option<&'static str> {
    let made = PeerConnection::new(endpoint, config.clone()).await;
    let pc = new(endpoint, Configuration::default()).await;
    let set = pc.set_configuration(config).await;
    let names = (made.err().map(|e| e.name()), set.err().map(|e| e.name()));
    assert_eq!(names.0, names.1);
    names.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_defaults_are_those_of_the_specification() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, Configuration::default()).await;
    let config = pc.get_configuration();
    assert_eq!(config.ice_servers, []);
    assert_eq!(config.ice_transport_policy, IceTransportPolicy::All);
    assert_eq!(config.bundle_policy, BundlePolicy::Balanced);
    assert_eq!(config.rtcp_mux_policy, RtcpMuxPolicy::Require);
    assert_eq!(config.certificates, []);
    assert_eq!(config.ice_candidate_pool_size, 0);
    assert_eq!(config.peer_identity, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_is_told_and_compared() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let urls = ["turn:127.0.0.1:9", "stun:127.0.0.1:9"];
    let given = Configuration {
        ice_transport_policy: IceTransportPolicy::Relay,
        bundle_policy: BundlePolicy::MaxBundle,
        certificates: vec![Certificate::generate(SystemTime::now()).expect("a certificate")],
        peer_identity: Some("bob@example.org".into()),
        ..with_servers(vec![server(&urls, Some("user"), Some("secret"))])
    };
    let pc = new(&endpoint, given.clone()).await;
    let told = pc.get_configuration();
    assert_eq!(told.ice_servers, given.ice_servers);
    assert_eq!(told.ice_transport_policy, IceTransportPolicy::Relay);
    assert_eq!(told.bundle_policy, BundlePolicy::MaxBundle);
    assert_eq!(told.certificates, given.certificates);
    assert_eq!(told.peer_identity, given.peer_identity);
    pc.set_configuration(told).await.expect("the same");
    let all = Configuration {
        ice_transport_policy: IceTransportPolicy::All,
        ..given.clone()
    };
    pc.set_configuration(all).await.expect("it may change");
    let told = pc.get_configuration().ice_transport_policy;
    assert_eq!(told, IceTransportPolicy::All);
    for changed in [
        Configuration {
            bundle_policy: BundlePolicy::default(),
            ..given.clone()
        },
        Configuration {
            certificates: Vec::new(),
            ..given.clone()
        },
        Configuration {
            peer_identity: None,
            ..given.clone()
        },
    ] {
        let set = pc.set_configuration(changed).await;
        let name = set.err().map(|e| e.name());
        assert_eq!(name, Some("InvalidModificationError"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ice_servers_are_checked_by_url_and_credentials() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let both = (Some("user"), Some("secret"));
    let long = "u".repeat(510);
    for fine in [
        server(&["turn:turn.example.org"], Some(&long[1..]), both.1),
        server(&["stun:stun.example.net"], Some(&long), both.1),
        server(&["stun:stun.example.net"], None, None),
        server(
            &["stun:a.example.net", "stuns:b.example.net:5349"],
            None,
            None,
        ),
        server(&["turn:turn.example.org?transport=tcp"], both.0, both.1),
        server(&["turns:turn.example.org"], Some(""), Some("")),
    ] {
        assert_eq!(refused(&endpoint, with_servers(vec![fine])).await, None);
    }
    for broken in [
        server(&[], None, None),
        server(&[""], None, None),
        server(&["relative"], None, None),
        server(&["http://example.com"], None, None),
        server(&["turn://example.org/foo?x=y"], both.0, both.1),
        server(
            &["stun:fine.example.net", "stun:example.net:65536"],
            None,
            None,
        ),
    ] {
        let name = refused(&endpoint, with_servers(vec![broken])).await;
        assert_eq!(name, Some("SyntaxError"));
    }
    for without in [
        server(&["turn:turn.example.net"], None, None),
        server(&["turn:turn.example.net"], both.0, None),
        server(&["turns:turn.example.net"], None, both.1),
        server(&["turn:turn.example.org"], Some(&long), both.1),
    ] {
        let name = refused(&endpoint, with_servers(vec![without])).await;
        assert_eq!(name, Some("InvalidAccessError"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_refused_and_a_good_one_is_used() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let expired = Certificate::generate(SystemTime::now() - Duration::from_secs(40 * 24 * 3600));
    let config = |certificate| Configuration {
        certificates: vec![certificate],
        ..Configuration::default()
    };
    let made = PeerConnection::new(&endpoint, config(expired.expect("a certificate"))).await;
    assert_eq!(made.err().map(|e| e.name()), Some("InvalidAccessError"));

    let ours = Certificate::generate(SystemTime::now()).expect("a certificate");
    let pc = new(&endpoint, config(ours.clone())).await;
    assert_eq!(pc.get_configuration().certificates.first(), Some(&ours));
    channel(&pc, "x").await;
    let offer = pc.create_offer(OfferOptions::default()).await;
    let offer = offer.expect("an offer").sdp;
    let line = format!("a=fingerprint:{}\r\n", ours.get_fingerprints()[0]);
    assert!(offer.contains(&line), "{offer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fixed_at_construction_cannot_be_changed() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, Configuration::default()).await;
    let other = Certificate::generate(SystemTime::now()).expect("a certificate");
    let plain = Configuration::default;
    for changed in [
        Configuration {
            certificates: vec![other],
            ..plain()
        },
        Configuration {
            bundle_policy: BundlePolicy::MaxBundle,
            ..plain()
        },
        Configuration {
            peer_identity: Some("bob@example.org".into()),
            ..plain()
        },
        // What cannot change is looked at before the servers.
        Configuration {
            bundle_policy: BundlePolicy::MaxCompat,
            ..with_servers(vec![server(&[], None, None)])
        },
    ] {
        let set = pc.set_configuration(changed).await;
        assert_eq!(
            set.err().map(|e| e.name()),
            Some("InvalidModificationError")
        );
    }
    assert_eq!(
        pc.get_configuration().bundle_policy,
        BundlePolicy::Balanced,
        "a refused call changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_policy_are_taken_over_also_by_the_old_name() {
    let runtime = runtime(1);
    let given = Configuration {
        bundle_policy: BundlePolicy::MaxBundle,
        certificates: vec![Certificate::generate(SystemTime::now()).expect("a certificate")],
        peer_identity: Some("bob@example.org".into()),
        ..Configuration::default()
    };
    let pc = new(&endpoint(&runtime).await, given.clone()).await;
    let mut config = pc.get_configuration();
    assert_eq!(config.bundle_policy, given.bundle_policy);
    assert_eq!(config.certificates, given.certificates);
    assert_eq!(config.peer_identity, given.peer_identity);
    config.ice_servers = vec![server(&["stun:stun.example.net"], None, None)];
    config.ice_transport_policy = IceTransportPolicy::Relay;
    pc.set_configuration(config.clone()).await.expect("allowed");
    assert_eq!(pc.get_configuration().ice_servers, config.ice_servers);
    assert_eq!(
        pc.get_configuration().ice_transport_policy,
        IceTransportPolicy::Relay
    );
    pc.update_ice(given).await.expect("allowed");
    assert_eq!(pc.get_configuration().ice_servers, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_size_is_fixed_by_the_first_local_description() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, Configuration::default()).await;
    let sized = |ice_candidate_pool_size| Configuration {
        ice_candidate_pool_size,
        ..Configuration::default()
    };
    pc.set_configuration(sized(4)).await.expect("early enough");
    assert_eq!(pc.get_configuration().ice_candidate_pool_size, 4);
    channel(&pc, "x").await;
    pc.set_local_description(None).await.expect("an offer");
    let set = pc.set_configuration(sized(5)).await;
    assert_eq!(
        set.err().map(|e| e.name()),
        Some("InvalidModificationError")
    );
    pc.set_configuration(sized(4)).await.expect("the same size");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_takes_no_configuration() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, Configuration::default()).await;
    pc.close().await;
    let set = pc.set_configuration(Configuration::default()).await;
    assert_eq!(set.err().map(|e| e.name()), Some("InvalidStateError"));
    assert_eq!(pc.connection_state(), ConnectionState::Closed);
    assert_eq!(pc.get_configuration().ice_servers, []);
}

/// The candidates of the next gathering.
async fn gathered(pc: &PeerConnection) -> usize {
    let mut events = pc.events();
    pc.set_local_description(None).await.expect("an offer");
    let mut candidates = 0;
    while let Some(event) = soon("gathering", events.next()).await {
        if let Event::IceCandidate(candidate) = event {
            match candidate {
                Some(candidate) => candidates += usize::from(!candidate.is_end_of_candidates()),
                None => return candidates,
            }
        }
    }
    panic!("the connection ended")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_only_gathers_no_host_candidates() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let all = new(&endpoint, Configuration::default()).await;
    channel(&all, "x").await;
    assert_ne!(gathered(&all).await, 0);
    let relay = Configuration {
        ice_transport_policy: IceTransportPolicy::Relay,
        ..Configuration::default()
    };
    let relayed = new(&endpoint, relay).await;
    channel(&relayed, "x").await;
    assert_eq!(gathered(&relayed).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_policy_counts_from_the_next_gathering_on() {
    let runtime = runtime(1);
    let pair = Pair::new(&runtime).await;
    let mut config = pair.a.get_configuration();
    config.ice_transport_policy = IceTransportPolicy::Relay;
    pair.a.set_configuration(config).await.expect("allowed");
    pair.channel_a
        .send("the old path lives on")
        .await
        .expect("open");
    pair.a.restart_ice().await.expect("open");
    assert_eq!(gathered(&pair.a).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_ice_servers_are_those_of_the_runtime() {
    let suggested = vec![server(&["stun:stun.example.net"], None, None)];
    let config = RuntimeConfig::default().with_arbiters(1);
    let config = config.with_default_ice_servers(suggested.clone());
    let told = Runtime::start(config).expect("threads");
    let here = endpoint(&told).await;
    assert_eq!(PeerConnection::default_ice_servers(&here), suggested);
    let pc = new(&here, Configuration::default()).await;
    assert_eq!(pc.get_configuration().ice_servers, [], "a suggestion only");
    let untold = endpoint(&runtime(1)).await;
    assert_eq!(PeerConnection::default_ice_servers(&untold), []);
}
