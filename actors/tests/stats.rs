//! `getStats`: the entries of webrtc-stats, their links and their numbers.

mod common;

use common::{Pair, channel, endpoint, runtime, soon};
use peerloom_actors::stats::{Entry, StatsReport};
use peerloom_actors::{Configuration, DataChannelInit, PeerConnection};
use serde_json::{Value, json};

/// The report as a program that reads JSON has it.
fn json(report: &StatsReport) -> Value {
    serde_json::to_value(report).expect("JSON")
}

async fn report(pc: &PeerConnection) -> StatsReport {
    let stats = soon("the statistics", pc.get_stats()).await;
    stats.expect("open").report
}

/// The only entry of a type.
fn only(report: &Value, kind: &str) -> Value {
    let all = report.as_object().expect("an object").values();
    let mut found = all.filter(|entry| entry["type"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}")).clone();
    assert!(found.next().is_none(), "two {kind}");
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_connection_has_itself_and_its_certificate() {
    let runtime = runtime(1);
    let pc = PeerConnection::new(&endpoint(&runtime).await, Configuration::default()).await;
    let pc = pc.expect("a connection");
    let report = json(&report(&pc).await);
    let connection = only(&report, "peer-connection");
    assert_eq!(connection["dataChannelsOpened"], 0);
    assert_eq!(connection["dataChannelsClosed"], 0);
    assert!(connection["timestamp"].as_f64().expect("a number") > 1.6e12);
    let certificate = only(&report, "certificate");
    assert_eq!(
        certificate["fingerprint"],
        pc.certificate().fingerprint().hex()
    );
    assert_eq!(certificate["fingerprintAlgorithm"], "sha-256");
    let der = data_encoding::BASE64.encode(pc.certificate().der());
    assert_eq!(certificate["base64Certificate"], json!(der));
    assert_eq!(report.as_object().expect("an object").len(), 2, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_lead_to_each_other() {
    let pair = Pair::new(&runtime(2)).await;
    let report = report(&pair.a).await;
    for (id, entry) in report.iter() {
        assert_eq!(entry.id(), id);
        assert_eq!(report.get(id), Some(entry));
    }
    let all = json(&report);
    let taken = only(&all, "peer-connection")["timestamp"].clone();
    for (id, entry) in all.as_object().expect("an object") {
        assert_eq!(entry["id"], json!(id));
        assert_eq!(entry["timestamp"], taken, "all of one moment: {entry}");
    }
    let transport = only(&all, "transport");
    let follow = |id: &Value| all[id.as_str().expect("an id")].clone();
    let selected = follow(&transport["selectedCandidatePairId"]);
    assert_eq!(selected["type"], "candidate-pair");
    assert_eq!(selected["state"], "succeeded");
    assert_eq!(selected["nominated"], true);
    assert_eq!(selected["transportId"], transport["id"]);
    let sent = ["requestsSent", "consentRequestsSent"].map(|it| selected[it].as_u64());
    let sent = sent[0]
        .zip(sent[1])
        .map(|(checks, consent)| checks + consent);
    assert!(sent >= selected["responsesReceived"].as_u64());
    assert_ne!(selected["responsesReceived"], 0);
    assert!(selected["responsesSent"].as_u64() <= selected["requestsReceived"].as_u64());
    assert_ne!(selected["responsesSent"], 0);
    assert!(selected["currentRoundTripTime"].as_f64().expect("measured") > 0.0);
    assert!(selected["totalRoundTripTime"].as_f64() >= selected["currentRoundTripTime"].as_f64());
    let local = follow(&selected["localCandidateId"]);
    assert_eq!(local["type"], "local-candidate");
    assert_eq!(local["candidateType"], "host");
    assert_eq!(local["address"], "127.0.0.1");
    assert_eq!(local["protocol"], "udp");
    let sctp = pair.a.sctp().expect("connected");
    let ours = sctp.transport().ice_transport().get_local_candidates();
    assert_eq!(local["port"], json!(ours[0].port()));
    assert_eq!(local["priority"], json!(ours[0].priority()));
    assert_eq!(local["foundation"], json!(ours[0].foundation()));
    let generation = ours[0].username_fragment();
    assert_eq!(local["usernameFragment"], json!(generation));
    let remote = follow(&selected["remoteCandidateId"]);
    assert_eq!(remote["type"], "remote-candidate");
    let theirs = json(&self::report(&pair.b).await);
    let their_pair = theirs.as_object().expect("an object").values();
    let their_local = their_pair
        .filter(|it| it["type"] == "local-candidate")
        .map(|it| it["port"].clone());
    assert!(their_local.collect::<Vec<_>>().contains(&remote["port"]));
    let ours = follow(&transport["localCertificateId"]);
    assert_eq!(
        ours["fingerprint"],
        pair.a.certificate().fingerprint().hex()
    );
    let peers = follow(&transport["remoteCertificateId"]);
    assert_eq!(
        peers["fingerprint"],
        pair.b.certificate().fingerprint().hex()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_described_from_the_beginning() {
    let pc = PeerConnection::new(&endpoint(&runtime(1)).await, Configuration::default()).await;
    let pc = pc.expect("a connection");
    let described = async || only(&json(&report(&pc).await), "data-channel");
    let init = DataChannelInit {
        protocol: "proto".into(),
        ..DataChannelInit::default()
    };
    let made = pc.create_data_channel("label", init).await;
    let entry = described().await;
    assert_eq!(
        (&entry["label"], &entry["protocol"]),
        (&json!("label"), &json!("proto"))
    );
    assert_eq!(entry["state"], "connecting");
    assert_eq!(entry.get("dataChannelIdentifier"), None, "not given yet");
    made.expect("a channel").close().await;
    let report = json(&report(&pc).await);
    assert_eq!(
        only(&report, "peer-connection")["dataChannelsClosed"],
        0,
        "it never opened"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_and_certificates_are_described_in_full() {
    let pair = Pair::new(&runtime(2)).await;
    let all = json(&report(&pair.a).await);
    let transport = only(&all, "transport");
    let entries: Vec<&Value> = all.as_object().expect("an object").values().collect();
    let ice = pair.a.sctp().expect("connected").transport();
    let ice = ice.ice_transport();
    let mut theirs = ice.get_remote_candidates();
    // Active ones of the peer's form no pairs: nobody has to know them.
    theirs.retain(|it| it.tcp_type().is_none());
    let sides = [
        ("local-candidate", ice.get_local_candidates()),
        ("remote-candidate", theirs),
    ];
    for (side, candidates) in sides {
        assert!(!candidates.is_empty(), "{side}");
        for it in candidates {
            let tcp_type = it.tcp_type().map(|_| "active");
            let is = |entry: &&&Value| {
                entry["type"] == side
                    && entry["port"] == json!(it.port())
                    && entry["tcpType"] == json!(tcp_type)
            };
            let entry = entries.iter().find(is);
            let entry = entry.unwrap_or_else(|| panic!("no {side} {}", it.candidate()));
            assert_eq!(entry["address"], json!(it.address()));
            assert_eq!(entry["foundation"], json!(it.foundation()));
            assert_eq!(entry["priority"], json!(it.priority()));
            assert_eq!(entry["usernameFragment"], json!(it.username_fragment()));
            assert_eq!(entry["protocol"], tcp_type.map_or("udp", |_| "tcp"));
            assert_eq!(entry["transportId"], transport["id"]);
            assert_eq!(entry["candidateType"], "host");
        }
    }
    for pc in [&pair.a, &pair.b] {
        let fingerprint = pc.certificate().fingerprint().hex();
        let is = |entry: &&&Value| entry["fingerprint"] == json!(fingerprint);
        let entry = entries.iter().find(is).expect("its certificate");
        assert_eq!(entry.get("issuerCertificateId"), None, "its own issuer");
        let der = data_encoding::BASE64.encode(pc.certificate().der());
        assert_eq!(entry["base64Certificate"], json!(der));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_tells_roles_states_and_traffic() {
    let pair = Pair::new(&runtime(2)).await;
    let of = |report: StatsReport| only(&json(&report), "transport");
    let (a, b) = (of(report(&pair.a).await), of(report(&pair.b).await));
    assert_eq!(a["iceRole"], "controlling");
    assert_eq!(b["iceRole"], "controlled");
    let roles = [&a["dtlsRole"], &b["dtlsRole"]];
    assert_eq!(roles, ["server", "client"], "the answerer is active");
    assert_eq!(a["dtlsState"], "connected");
    assert_eq!(a["iceState"], pair.a.ice_connection_state().name());
    assert_eq!(a["tlsVersion"], "FEFC");
    assert_eq!(a["dtlsCipher"], "TLS_AES_128_GCM_SHA256");
    assert_eq!(a["dtlsCipher"], b["dtlsCipher"]);
    assert_eq!(a["selectedCandidatePairChanges"], 1);
    let sdp = pair.a.local_description().expect("set").sdp;
    let ufrag = a["iceLocalUsernameFragment"].as_str().expect("set");
    assert!(sdp.contains(&format!("a=ice-ufrag:{ufrag}\r\n")));

    let message = vec![7; 100_000];
    pair.channel_a.send(message).await.expect("open");
    soon("the message", pair.channel_b.recv())
        .await
        .expect("it");
    let after = of(report(&pair.a).await);
    let grown = |member: &str, by: u64| {
        let read = |of: &Value| of[member].as_u64().expect("a number");
        assert!(read(&after) > read(&a) + by, "{member}");
    };
    grown("bytesSent", 100_000);
    grown("packetsSent", 50);
    grown("bytesReceived", 0);
    grown("packetsReceived", 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pair_in_use_has_carried_what_the_transport_has() {
    let pair = Pair::new(&runtime(2)).await;
    let all = json(&report(&pair.a).await);
    let transport = only(&all, "transport");
    let pairs = all.as_object().expect("an object").values();
    for entry in pairs.filter(|entry| entry["type"] == "candidate-pair") {
        let selected = entry["id"] == transport["selectedCandidatePairId"];
        for member in [
            "packetsSent",
            "bytesSent",
            "packetsReceived",
            "bytesReceived",
        ] {
            if selected {
                assert_ne!(entry[member], 0, "{member}");
                assert_eq!(entry[member], transport[member], "{member}");
            } else {
                assert_eq!(entry[member], 0, "{member}");
            }
        }
        for member in ["lastPacketSentTimestamp", "lastPacketReceivedTimestamp"] {
            let at = entry[member].as_f64();
            assert_eq!(at.is_some(), selected, "{member}");
            let taken = entry["timestamp"].as_f64().expect("a number");
            assert!(
                at.is_none_or(|at| at <= taken && at > taken - 60_000.0),
                "{member}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_counted_and_so_are_their_messages() {
    let pair = Pair::new(&runtime(2)).await;
    let second = channel(&pair.a, "second").await;
    soon("it to open", second.opened()).await.expect("open");
    pair.channel_a.send("12345").await.expect("open");
    pair.channel_a.send(vec![1, 2, 3]).await.expect("open");
    for _ in 0..2 {
        soon("a message", pair.channel_b.recv()).await.expect("it");
    }
    let ours = report(&pair.a).await;
    let first = |report: &StatsReport| {
        let all = json(report);
        let mut entries = all.as_object().expect("an object").values();
        let first = entries.find(|it| it["type"] == "data-channel" && it["label"] == "first");
        first.expect("the first channel").clone()
    };
    let (sent, received) = (first(&ours), first(&report(&pair.b).await));
    for (entry, here, there) in [(&sent, "Sent", "Received"), (&received, "Received", "Sent")] {
        assert_eq!(entry[format!("messages{here}")], 2);
        assert_eq!(entry[format!("bytes{here}")], 8);
        assert_eq!(entry[format!("messages{there}")], 0);
        assert_eq!(entry[format!("bytes{there}")], 0);
    }
    assert_eq!(sent["state"], "open");
    let id = pair.channel_a.id().expect("open");
    assert_eq!(sent["dataChannelIdentifier"], id);
    assert_eq!(
        only(&json(&ours), "peer-connection")["dataChannelsOpened"],
        2
    );

    second.close().await;
    soon("it to close", second.closed()).await;
    let after = only(&json(&report(&pair.a).await), "peer-connection");
    assert_eq!(after["dataChannelsOpened"], 2);
    assert_eq!(after["dataChannelsClosed"], 1);
    let after = report(&pair.a).await;
    assert_eq!(first(&after)["id"], sent["id"], "ids stay");
    let closed = after.of_type("data-channel").filter_map(|entry| {
        if let Entry::DataChannel(channel) = entry {
            (channel.state == "closed").then_some(channel.label.as_str())
        } else {
            None
        }
    });
    assert_eq!(
        closed.collect::<Vec<_>>(),
        ["second"],
        "no end of its time is named"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_for_consent_are_counted_by_themselves() {
    let runtime = runtime(2);
    let mut often = Configuration::default();
    often.ice.consent_interval = std::time::Duration::from_millis(20);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let pair = Pair::with(&ea, &eb, often, Configuration::default()).await;
    let selected = async || {
        let all = json(&report(&pair.a).await);
        let id = only(&all, "transport")["selectedCandidatePairId"].clone();
        let pair = &all[id.as_str().expect("connected")];
        ["requestsSent", "consentRequestsSent"].map(|it| pair[it].as_u64().expect("a number"))
    };
    let [checks, before] = selected().await;
    assert_ne!(checks, 0);
    let grows = async {
        while selected().await[1] < before + 3 {
            tokio::task::yield_now().await;
        }
    };
    soon("consent to be asked for", grows).await;
    assert_eq!(selected().await[0], checks, "not a check any more");
}

/// What the report says of the traffic, the selected pair and the first channel.
fn traffic(report: &StatsReport) -> [Value; 4] {
    let all = json(report);
    let transport = only(&all, "transport");
    let id = transport["selectedCandidatePairId"].clone();
    let pair = &all[id.as_str().expect("there was one")];
    let channel = only(&all, "data-channel");
    [
        transport["bytesSent"].clone(),
        pair["bytesReceived"].clone(),
        channel["messagesSent"].clone(),
        channel["messagesReceived"].clone(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_report_outlives_the_connection_at_both_ends() {
    let pair = Pair::new(&runtime(2)).await;
    pair.channel_a.send(vec![7; 50_000]).await.expect("open");
    soon("it", pair.channel_b.recv()).await.expect("a message");
    let before = [&pair.a, &pair.b].map(|pc| pc.get_stats());
    let [ours, theirs] = before;
    let (ours, theirs) = (ours.await.expect("open"), theirs.await.expect("open"));
    pair.a.close().await;
    soon("the end at the other side", async {
        while pair.b.cause().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let failed = traffic(&report(&pair.b).await);
    pair.b.close().await;
    for (pc, before) in [(&pair.a, ours), (&pair.b, theirs)] {
        let last = report(pc).await;
        let (last_traffic, traffic) = (traffic(&last), traffic(&before.report));
        for (after, before) in last_traffic.iter().zip(&traffic) {
            assert!(
                after.as_u64() >= before.as_u64(),
                "{last_traffic:?} {traffic:?}"
            );
        }
        let all = json(&last);
        let transport = only(&all, "transport");
        assert_eq!(
            (&transport["dtlsState"], &transport["iceState"]),
            (&"closed".into(), &"closed".into())
        );
        assert_eq!(transport["tlsVersion"], "FEFC");
        assert_eq!(only(&all, "data-channel")["state"], "closed");
        assert_eq!(only(&all, "peer-connection")["dataChannelsClosed"], 1);
        assert_eq!(report(pc).await, last, "nothing changes any more");
    }
    assert_eq!(traffic(&report(&pair.b).await), failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_closed_unused_has_a_last_report() {
    let runtime = runtime(1);
    let pc = PeerConnection::new(&endpoint(&runtime).await, Configuration::default()).await;
    let pc = pc.expect("a connection");
    pc.close().await;
    let all = json(&report(&pc).await);
    assert_eq!(only(&all, "peer-connection")["dataChannelsOpened"], 0);
    assert_eq!(only(&all, "certificate")["fingerprintAlgorithm"], "sha-256");
}
