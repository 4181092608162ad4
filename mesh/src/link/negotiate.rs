//! Offer, answer and candidates of one peer connection (RFC 8829, RFC 8838).

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use peerloom_actors::{
    ConnectionState, DataChannel, Event, IceCandidateInit, OfferOptions, PeerConnection, SdpType,
    SessionDescription,
};
use peerloom_mesh_proto::{DownCause, PcSignal};

use super::task::End;
use super::{Ends, Report};

/// Candidates found within this time travel inside the description: host
/// candidates take no time at all, and one envelope fewer is one round of
/// sealing and flooding fewer. Later ones trickle.
const GATHER: Duration = Duration::from_millis(20);
/// Candidates kept while the remote description has not come; further ones
/// are dropped (ICE finds them as peer-reflexive ones).
const EARLY: usize = 32;

/// A peer connection and what it still has to say.
pub(super) struct Negotiation {
    pub(super) pc: PeerConnection,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    /// Whether the remote description is applied.
    described: bool,
    early: VecDeque<PcSignal>,
}

impl Negotiation {
    pub(super) fn new(pc: PeerConnection) -> Self {
        let events = Box::pin(pc.events());
        Self {
            pc,
            events,
            described: false,
            early: VecDeque::new(),
        }
    }

    /// Offers, or answers `offer`, and hands our description to the node.
    pub(super) async fn begin(&mut self, offer: Option<String>, ends: &Ends) -> Result<(), End> {
        let offering = offer.is_none();
        let description = match offer {
            None => self.pc.create_offer(OfferOptions::default()).await?,
            Some(sdp) => {
                let offer = SessionDescription {
                    kind: SdpType::Offer,
                    sdp,
                };
                self.pc.set_remote_description(offer).await?;
                self.described = true;
                self.pc.create_answer().await?
            }
        };
        self.pc.set_local_description(Some(description)).await?;
        let complete = self.gather(ends).await?;
        let sdp = self
            .pc
            .local_description()
            .map(|local| local.sdp)
            .unwrap_or_default();
        let signal = if offering {
            PcSignal::Offer { sdp }
        } else {
            PcSignal::Answer { sdp }
        };
        self.report(ends, Report::Signal(signal)).await?;
        if complete {
            let end = PcSignal::Candidates {
                candidates: Vec::new(),
                end: true,
            };
            self.report(ends, Report::Signal(end)).await?;
        }
        Ok(())
    }

    /// Waits a moment for candidates; says whether gathering is complete.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other events are handled elsewhere"
    )]
    async fn gather(&mut self, ends: &Ends) -> Result<bool, End> {
        let complete = async {
            loop {
                match self.next_event().await? {
                    Event::IceCandidate(None) => return Ok(true),
                    // In the description, or in time to be trickled by ICE.
                    Event::IceCandidate(Some(_)) => {}
                    event => self.event(event, ends).await?,
                }
            }
        };
        match tokio::time::timeout(GATHER, complete).await {
            Ok(outcome) => outcome,
            Err(_) => Ok(false),
        }
    }

    /// Serves signals and events until the channel is open.
    pub(super) async fn until_open(
        &mut self,
        channel: &DataChannel,
        ends: &mut Ends,
    ) -> Result<(), End> {
        let opened = channel.opened();
        let mut opened = std::pin::pin!(opened);
        loop {
            tokio::select! {
                outcome = &mut opened => return outcome.map_err(End::from),
                signal = ends.signals.recv() => match signal {
                    Some(signal) => self.signal(signal).await?,
                    None => return Err(End::Dropped),
                },
                event = self.next_event() => {
                    let event = event?;
                    self.event(event, ends).await?;
                }
            }
        }
    }

    pub(super) async fn next_event(&mut self) -> Result<Event, End> {
        let over = || End::Down(DownCause::Failed, "the peer connection is gone".to_owned());
        self.events.next().await.ok_or_else(over)
    }

    /// Acts on an event of the peer connection.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other events are of no use to a link"
    )]
    pub(super) async fn event(&mut self, event: Event, ends: &Ends) -> Result<(), End> {
        match event {
            Event::IceCandidate(candidate) => {
                let end = candidate.is_none();
                // The end of a generation says nothing that the end of all does not.
                let found = candidate.filter(|found| !found.is_end_of_candidates());
                let candidates: Vec<_> = found
                    .into_iter()
                    .map(|found| found.candidate().to_owned())
                    .collect();
                if candidates.is_empty() && !end {
                    return Ok(());
                }
                let signal = PcSignal::Candidates { candidates, end };
                self.report(ends, Report::Signal(signal)).await
            }
            Event::ActorDied { kind, cause } => {
                self.report(ends, Report::ActorDied(format!("{kind}: {cause}")))
                    .await
            }
            Event::ConnectionStateChange {
                state: ConnectionState::Failed | ConnectionState::Closed,
                cause,
            } => Err(match cause {
                Some(cause) => End::from(cause),
                None => End::Down(DownCause::Closed, "the peer connection closed".to_owned()),
            }),
            _ => Ok(()),
        }
    }

    /// Applies what the other side sent.
    pub(super) async fn signal(&mut self, signal: PcSignal) -> Result<(), End> {
        match signal {
            PcSignal::Answer { sdp } => {
                let answer = SessionDescription {
                    kind: SdpType::Answer,
                    sdp,
                };
                self.pc.set_remote_description(answer).await?;
                self.described = true;
                while let Some(early) = self.early.pop_front() {
                    self.candidates(early).await;
                }
                Ok(())
            }
            PcSignal::Candidates { .. } if !self.described => {
                if self.early.len() < EARLY {
                    self.early.push_back(signal);
                }
                Ok(())
            }
            PcSignal::Candidates { .. } => {
                self.candidates(signal).await;
                Ok(())
            }
            // Glare is settled by the core before a signal comes here.
            PcSignal::Offer { .. } => Err(End::Down(
                DownCause::Failed,
                "a second offer for one session".to_owned(),
            )),
        }
    }

    /// A candidate that does not parse is skipped: others may do.
    async fn candidates(&self, signal: PcSignal) {
        let PcSignal::Candidates { candidates, end } = signal else {
            return;
        };
        let candidates = candidates.into_iter().map(|candidate| {
            Some(IceCandidateInit {
                candidate,
                ..IceCandidateInit::default()
            })
        });
        for candidate in candidates.chain(end.then_some(None)) {
            if let Err(error) = self.pc.add_ice_candidate(candidate).await {
                tracing::debug!(%error, "candidate not used");
            }
        }
    }

    async fn report(&self, ends: &Ends, report: Report) -> Result<(), End> {
        if ends.reports.send(report).await {
            Ok(())
        } else {
            Err(End::Dropped)
        }
    }
}
