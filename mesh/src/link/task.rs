//! The life of a link, from its peer connection's birth to its close.

use std::time::Duration;

use peerloom_actors::{
    Cause, Configuration, DataChannel, DataChannelInit, Error, IdentityError, PeerConnection,
};
use peerloom_mesh_proto::DownCause;

use super::negotiate::Negotiation;
use super::{CHANNEL, Ends, Plan, Report, pump};

/// How long an orderly close may take; after that the connection is dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Why a link ended.
pub(super) enum End {
    /// The node let go of it.
    Dropped,
    /// It failed or was closed.
    Down(DownCause, String),
}

impl From<Error> for End {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else went wrong, the link failed"
    )]
    fn from(error: Error) -> Self {
        let cause = match &error {
            Error::Identity(error) => identity_cause(error),
            Error::Closed { cause } => down_cause(cause),
            _ => DownCause::Failed,
        };
        End::Down(cause, error.to_string())
    }
}

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        End::Down(down_cause(&cause), cause.to_string())
    }
}

impl From<IdentityError> for End {
    fn from(error: IdentityError) -> Self {
        End::Down(identity_cause(&error), error.to_string())
    }
}

/// A fault of this side's is no refusal of the peer.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else is wrong with an identity is the peer's doing"
)]
fn identity_cause(error: &IdentityError) -> DownCause {
    match error {
        IdentityError::Unchecked(_) => DownCause::Failed,
        _ => DownCause::Identity,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else happened, the link failed"
)]
fn down_cause(cause: &Cause) -> DownCause {
    match cause {
        Cause::Identity(error) => identity_cause(error),
        cause if cause.is_closed_by_peer() => DownCause::Closed,
        Cause::ActorDied { .. } => DownCause::Died,
        _ => DownCause::Failed,
    }
}

/// Body of a link's task.
pub(super) async fn run(plan: Plan, mut ends: Ends) {
    let mut pc = None;
    let end = live(plan, &mut ends, &mut pc).await;
    // First of all: closing a connection whose actors died may take its limit,
    // and a new one need not wait for that.
    if let End::Down(cause, text) = end {
        // `false` means that the node is gone.
        ends.reports.send(Report::Down { cause, text }).await;
    }
    if let Some(pc) = pc
        && tokio::time::timeout(CLOSE_LIMIT, pc.close()).await.is_err()
    {
        tracing::debug!("a peer connection did not close in time");
    }
}

async fn live(plan: Plan, ends: &mut Ends, pc: &mut Option<PeerConnection>) -> End {
    match connect(plan, ends, pc).await {
        Ok((mut negotiation, channel)) => pump::run(&mut negotiation, channel, ends).await,
        Err(end) => end,
    }
}

/// Builds the peer connection and waits until its channel is open and the
/// other side has proven who it is.
async fn connect(
    plan: Plan,
    ends: &mut Ends,
    slot: &mut Option<PeerConnection>,
) -> Result<(Negotiation, DataChannel), End> {
    let mut configuration = Configuration {
        identity_provider: Some(plan.provider),
        peer_identity: Some(plan.peer.to_string()),
        require_identity: true,
        data_transport: plan.transport,
        ..Configuration::default()
    };
    // No node listens for TCP: a candidate line for each address less to seal and send.
    configuration.ice.tcp_active = false;
    let pc = PeerConnection::new(&plan.endpoint, configuration).await?;
    *slot = Some(pc.clone());
    if let Some(connected) = ends.connection.take() {
        // An error means that the node no longer wants the link.
        drop(connected.send(pc.clone()));
    }
    let mut negotiation = Negotiation::new(pc.clone());
    let init = DataChannelInit {
        negotiated: true,
        id: Some(0),
        ..DataChannelInit::default()
    };
    let channel = pc.create_data_channel(CHANNEL, init).await?;
    negotiation.begin(plan.offer, ends).await?;
    negotiation.until_open(&channel, ends).await?;
    let identity = pc.peer_identity().await?;
    if identity.identity != plan.peer.to_string() {
        let text = format!("the peer is {}", identity.identity);
        return Err(End::Down(DownCause::Identity, text));
    }
    let up = Report::Up {
        peer: plan.peer,
        transport: pc.data_transport(),
    };
    if !ends.reports.send(up).await {
        return Err(End::Dropped);
    }
    Ok((negotiation, channel))
}
