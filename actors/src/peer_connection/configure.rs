//! The configuration of a connection and its certificate: getters and setters.

use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler};
use peerloom_transports::proto::certificate::Certificate;

use super::PeerConnection;
use super::actor::PeerConnectionActor;
use super::messages::SetConfiguration;
use crate::config::{Configuration, IceServer};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::ice_agent::{IceCommand, Sources};
use crate::keygen::{self, KeygenAlgorithm};

impl PeerConnection {
    /// `generateCertificate` (webrtc-pc section 4.9): a certificate to pass in
    /// [`Configuration::certificates`], valid for `expires` from now on (30 days when `None`,
    /// 365 days at most). `NotSupportedError` for anything but ECDSA on P-256.
    pub fn generate_certificate(
        algorithm: KeygenAlgorithm,
        expires: Option<Duration>,
    ) -> Result<Certificate, Error> {
        keygen::generate(algorithm, expires)
    }

    /// `getDefaultIceServers`, of the first drafts of webrtc-pc: the servers that
    /// [`RuntimeConfig::default_ice_servers`](crate::RuntimeConfig::default_ice_servers) names.
    /// They are used only when they are put into a [`Configuration`].
    pub fn default_ice_servers(endpoint: &Endpoint) -> Vec<IceServer> {
        endpoint.runtime().default_ice_servers().to_vec()
    }

    /// `getConfiguration` (webrtc-pc section 4.4.2): what is in force.
    pub fn get_configuration(&self) -> Configuration {
        self.read(|snapshot| Configuration::clone(&snapshot.config))
    }

    /// `setConfiguration` (webrtc-pc sections 4.4.1.6 and 4.4.2). Takes over the ICE servers,
    /// the ICE transport policy and the size of the candidate pool; the first two count from
    /// the next gathering on, for which an ICE restart asks. Before the first local description what
    /// was gathered ahead follows at once: what came from servers that are not asked any more is
    /// given up, others are asked.
    ///
    /// `InvalidStateError` when closed; `InvalidModificationError` when certificates, peer
    /// identity, bundle or mux policy differ, or the pool's size after a local description was
    /// set; `SyntaxError` and `InvalidAccessError` for servers, as in the constructor. Settings
    /// of Peerloom's own (identity provider, engines) stay what they were.
    pub async fn set_configuration(&self, configuration: Configuration) -> Result<(), Error> {
        self.ask(SetConfiguration(Box::new(configuration))).await
    }

    /// `updateIce`, the name that `setConfiguration` had in the first drafts of webrtc-pc.
    pub async fn update_ice(&self, configuration: Configuration) -> Result<(), Error> {
        self.set_configuration(configuration).await
    }
}

impl Handler<SetConfiguration> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, set: SetConfiguration, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        let config = self.config.changed_to(*set.0, self.local_was_set)?;
        self.config = Arc::new(config);
        let config = self.config.clone();
        self.snapshot
            .send_modify(|snapshot| snapshot.config = config);
        let sources = self.sources();
        self.command_ice(IceCommand::Configure(sources));
        Ok(())
    }
}

impl PeerConnectionActor {
    /// Where candidates come from.
    pub(super) fn sources(&self) -> Sources {
        let first = self.session.current_local_description().is_none();
        Sources::of(&self.config, first)
    }

    /// A negotiation has ended: what was gathered ahead and not used is given back.
    pub(super) fn end_pool(&mut self) {
        if self.config.ice_candidate_pool_size > 0 {
            let sources = self.sources();
            self.command_ice(IceCommand::Configure(sources));
        }
    }
}
