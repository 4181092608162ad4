//! Firefox as the judge: it fetches the proxy that we ship from the provider's host, as W3C
//! webrtc-identity has it, asserts its own identity with it and validates ours.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt as _;
use peerloom::oidc::{OidcConfig, OidcProvider, Possession};
use peerloom::webrtc::identity::contents;
use peerloom::webrtc::{
    AssertionRequest, Certificate, Configuration, Endpoint, EndpointConfig, IceGatheringState,
    IdentityError, IdentityProvider as _, PeerConnection, Runtime, RuntimeConfig,
    SessionDescription,
};
use serde_json::{Value, json};

use super::program::{Program, modules, skip};
use super::provider::Provider;

/// Makes an offer with a channel and our identity, gathered whole.
const OFFER: &str = r#"
    window.pc = new RTCPeerConnection();
    pc.setIdentityProvider("localhost", { protocol: "default" });
    window.channel = pc.createDataChannel("channel");
    await pc.setLocalDescription(await pc.createOffer());
    while (pc.iceGatheringState !== "complete") {
        await new Promise((done) => { pc.onicegatheringstatechange = done; });
    }
    return pc.localDescription.sdp;
"#;

/// Sets the answer and says who it is from.
const ANSWER: &str = r#"
    await pc.setRemoteDescription({ type: "answer", sdp });
    const { idp, name } = await pc.peerIdentity;
    while (channel.readyState !== "open") {
        await new Promise((done) => { channel.onopen = done; });
    }
    return { idp, name };
"#;

/// Changes who the token in a description is about; its signature stays.
const FORGE: &str = r#"
    const [whole, value] = sdp.match(/a=identity:(\S+)/);
    const identity = JSON.parse(atob(value));
    const assertion = JSON.parse(identity.assertion);
    const [head, body, signature] = assertion.token.split(".");
    const claims = JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/")));
    const forged = btoa(JSON.stringify({ ...claims, sub: "mallory" }));
    const encoded = forged.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    assertion.token = [head, encoded, signature].join(".");
    identity.assertion = JSON.stringify(assertion);
    return sdp.replace(whole, `a=identity:${btoa(JSON.stringify(identity))}`);
"#;

struct Stage {
    idp: Provider,
    firefox: Program,
    provider: Arc<OidcProvider>,
    certificate: Certificate,
    endpoint: Endpoint,
    _runtime: Runtime,
    _files: tempfile::TempDir,
}

/// What is missing here.
fn missing() -> Result<PathBuf, String> {
    if !Path::new("/usr/bin/firefox-esr").exists() {
        return Err("Firefox is not installed; run: bash .ci/foreign".into());
    }
    let https = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
    if let Err(error) = TcpListener::bind(https) {
        return Err(format!("port 443 cannot be had ({error}); it takes root"));
    }
    modules("target/identity/node", "puppeteer-core")
}

/// A certificate for localhost in files, and as DER.
fn tls(folder: &Path) -> (Vec<PathBuf>, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.expect("a certificate");
    let files = [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ];
    let write = |(name, text): (&str, String)| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    (files.map(write).to_vec(), made.cert.der().to_vec())
}

impl Stage {
    /// Alice at our end, Bob at Firefox, both logged in.
    async fn set() -> Option<Self> {
        let modules = match missing() {
            Ok(modules) => modules,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let files = tempfile::tempdir().expect("a folder");
        let (pems, authority) = tls(files.path());
        let idp = Provider::start_with(&pems).await?;
        let mut config = OidcConfig::new(&idp.issuer, "us");
        config.audiences = vec!["page".into()];
        config.possession = Possession::WhereGiven;
        config.authorities = vec![authority];
        let provider = Arc::new(OidcProvider::new(config).expect("an issuer"));
        let (mut firefox, _) = Program::start("firefox.mjs", &[modules]).await;
        let at = ran(&mut firefox, json!({ "login": "bob" })).await;
        let at = at.expect("a login");
        assert!(at.as_str().is_some_and(|at| at.contains("code=")), "{at}");
        let runtime = Runtime::start(RuntimeConfig::default().with_arbiters(1)).expect("threads");
        let bind = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let endpoint = Endpoint::bind(&runtime, EndpointConfig { bind }).await;
        let mut stage = Self {
            idp,
            firefox,
            provider,
            certificate: Certificate::generate(SystemTime::now()).expect("a certificate"),
            endpoint: endpoint.expect("a socket"),
            _runtime: runtime,
            _files: files,
        };
        stage.login().await;
        Some(stage)
    }

    async fn login(&mut self) {
        let request = AssertionRequest {
            contents: contents(&[self.certificate.fingerprint().clone()]),
            session_id: 1,
            certificate: self.certificate.clone(),
            options: Default::default(),
        };
        let asked = self.provider.generate_assertion(request).await;
        let Err(IdentityError::LoginRequired { url }) = asked else {
            panic!("no login was asked for: {asked:?}");
        };
        self.idp.visit(&url, "alice").await;
        self.provider.logged_in().await.expect("a login");
    }

    async fn run(&mut self, body: &str, sdp: &str) -> Result<Value, String> {
        let body = format!("const sdp = {}; {body}", json!(sdp));
        ran(&mut self.firefox, json!({ "run": body })).await
    }

    async fn connection(&self) -> PeerConnection {
        let configuration = Configuration {
            identity_provider: Some(self.provider.clone()),
            require_identity: true,
            certificates: vec![self.certificate.clone()],
            ..Configuration::default()
        };
        let connection = PeerConnection::new(&self.endpoint, configuration).await;
        connection.expect("a connection")
    }

    async fn offer(&mut self) -> String {
        let offer = self.run(OFFER, "").await.expect("an offer");
        let offer = offer.as_str().expect("text").to_owned();
        assert!(offer.contains("a=identity:"), "{offer}");
        offer
    }

    async fn forged(&mut self, sdp: &str) -> String {
        let forged = self.run(FORGE, sdp).await.expect("a description");
        forged.as_str().expect("text").to_owned()
    }
}

async fn ran(firefox: &mut Program, line: Value) -> Result<Value, String> {
    firefox.tell(&line);
    let mut ran = firefox.next("ran").await;
    match ran["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(ran["value"].take()),
    }
}

/// Our answer, with all candidates.
async fn answer(pc: &PeerConnection, offer: String) -> String {
    let mut events = pc.events();
    let set = pc
        .set_remote_description(SessionDescription::offer(offer))
        .await;
    set.expect("a good offer");
    pc.set_local_description(None).await.expect("an answer");
    while pc.ice_gathering_state() != IceGatheringState::Complete {
        events.next().await.expect("the connection lives");
    }
    pc.local_description().expect("set").sdp
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_and_we_know_each_other_and_refuse_what_is_forged() {
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    let offer = stage.offer().await;
    let ours = stage.connection().await;
    let text = answer(&ours, offer).await;
    let who = stage.run(ANSWER, &text).await.expect("validated");
    assert_eq!(
        who,
        json!({ "idp": "localhost", "name": "alice@localhost" })
    );
    let who = ours.peer_identity().await.expect("validated");
    assert_eq!(who.identity, "bob@localhost");

    // Ours, forged on its way.
    let offer = stage.offer().await;
    let ours = stage.connection().await;
    let text = answer(&ours, offer).await;
    let forged = stage.forged(&text).await;
    let refused = stage.run(ANSWER, &forged).await;
    let refused = refused.expect_err("Firefox refuses");
    assert!(
        refused.contains("signature is wrong") || refused.contains("Identity"),
        "{refused}"
    );

    // Firefox's, forged on its way.
    let offer = stage.offer().await;
    let forged = stage.forged(&offer).await;
    let ours = stage.connection().await;
    // The answer may come or not: what matters is the verdict.
    drop(
        ours.set_remote_description(SessionDescription::offer(forged))
            .await,
    );
    let refused = ours.peer_identity().await;
    assert!(
        matches!(
            refused,
            Err(IdentityError::Refused(_) | IdentityError::TokenInvalid(_))
        ),
        "{refused:?}"
    );
}
