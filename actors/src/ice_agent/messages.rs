//! What the ICE agent is told and asked.

use actix::Message;
use peerloom_transports::proto::candidate::{Candidate, Credentials};
use peerloom_transports::proto::ice::{Pair, Stats};
use peerloom_transports::proto::id::{IceRole, Path};
use peerloom_transports::proto::jsep::StartIce;
use peerloom_transports::udp::Datagrams;

use super::Sources;
use crate::dtls_transport::PathSelected;

/// From the connection to its ICE agent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum IceCommand {
    /// Announce candidates under these credentials.
    Gather {
        credentials: Credentials,
        restart: bool,
    },
    /// From the next gathering on.
    Configure(Sources),
    /// Both ends' credentials are known.
    Start(StartIce),
    /// The same for a further generation.
    Restart(StartIce),
    /// A candidate of the peer.
    AddRemote(Candidate),
    /// The peer has no more.
    RemoteComplete,
    /// The selected path is to be told there, too.
    AlsoTell(actix::Recipient<PathSelected>),
}

/// STUN packets for this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Checks(pub(crate) Datagrams);

/// What `getStats` asks of the agent.
#[derive(Debug, Message)]
#[rtype(result = "IceStats")]
pub(crate) struct GetIceStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct IceStats {
    pub(crate) path: Option<Path>,
    pub(crate) role: Option<IceRole>,
    pub(crate) engine: Stats,
    /// Every pair of this generation with its timeline, the best first.
    pub(crate) pairs: Vec<Pair>,
    /// Those of the last generation before this one that had any.
    pub(crate) former_pairs: Vec<Pair>,
    /// Our candidates, of all kinds.
    pub(crate) local: Vec<Candidate>,
    /// Those the peer told.
    pub(crate) remote: Vec<Candidate>,
    pub(crate) inlet_overflow: u64,
}
