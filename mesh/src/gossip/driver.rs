//! The swarm thread's loop: control first, then commands, then the network.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use libp2p::gossipsub::{IdentTopic, MessageAcceptance, PublishError};
use libp2p::request_response::{self, OutboundRequestId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Swarm, gossipsub, mdns};
use peerloom_mesh_proto::{HopId, PeerId, Verdict};
use tokio::sync::{mpsc, oneshot};

use super::swarm::{self, Behaviour, BehaviourEvent};
use super::waiting::Waiting;
use super::{
    CLOSE_LIMIT, Command, Config, Control, Counters, Event, FLUSH_LIMIT, GossipError, MESSAGE_MAX,
    Token,
};
use super::{listen, names};

/// Our ends of the channels to the node.
pub(super) struct Ends {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) counters: Arc<Counters>,
}

/// Body of the swarm thread.
pub(super) fn run(config: Config, ends: Ends, started: oneshot::Sender<Result<(), GossipError>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let cause = error.to_string();
            // Nobody waits any more: nothing to report to.
            return drop(started.send(Err(GossipError::Setup {
                part: "a runtime",
                cause,
            })));
        }
    };
    runtime.block_on(async {
        match Driver::start(&config, ends) {
            Ok(driver) => {
                drop(started.send(Ok(())));
                driver.run().await;
            }
            Err(error) => drop(started.send(Err(error))),
        }
    });
}

struct Driver {
    swarm: Swarm<Behaviour>,
    ends: Ends,
    waiting: Waiting,
    /// Hop frames under way. Bounded by the request timeout and by how fast
    /// the node may command.
    hops: HashMap<OutboundRequestId, HopId>,
}

/// What the loop does next.
enum Next {
    Command(Command),
    Swarm(Box<SwarmEvent<BehaviourEvent>>),
    Control(Control),
    End,
}

impl Driver {
    fn start(config: &Config, ends: Ends) -> Result<Self, GossipError> {
        let mut swarm = swarm::build(config)?;
        listen::open(&mut swarm, &config.listen)?;
        Ok(Self {
            swarm,
            ends,
            waiting: Waiting::default(),
            hops: HashMap::new(),
        })
    }

    async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Command(command) => self.command(command),
                Next::Swarm(event) => self.swarm_event(*event),
                Next::Control(Control::Close(done)) => {
                    self.flush().await;
                    self.close().await;
                    // Whoever asked may have gone.
                    done.send(()).ok();
                    return;
                }
                #[cfg(feature = "chaos")]
                Next::Control(Control::Freeze { frozen, release }) => {
                    frozen.send(()).ok();
                    if release.recv().is_err() {
                        return;
                    }
                }
                Next::End => return,
            }
        }
    }

    /// Control goes first; the network is read only when the node has room
    /// for what it brings.
    async fn next(&mut self) -> Next {
        let Self { swarm, ends, .. } = self;
        tokio::select! {
            biased;
            control = ends.control.recv() => control.map_or(Next::End, Next::Control),
            command = ends.commands.recv() => command.map_or(Next::End, Next::Command),
            event = async {
                drop(ends.events.reserve().await);
                swarm.select_next_some().await
            } => Next::Swarm(Box::new(event)),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe(topic) => {
                if let Err(error) = self
                    .swarm
                    .behaviour_mut()
                    .gossipsub
                    .subscribe(&IdentTopic::new(&topic))
                {
                    tracing::debug!(%topic, ?error, "subscription failed");
                }
            }
            Command::Unsubscribe(topic) => {
                self.swarm
                    .behaviour_mut()
                    .gossipsub
                    .unsubscribe(&IdentTopic::new(topic));
            }
            Command::Publish { topic, data } => self.publish(topic, data),
            Command::Hop {
                id,
                to,
                addresses,
                data,
            } => self.hop(id, &to, &addresses, data),
            Command::Dial { peer, addresses } => self.dial(&peer, &addresses),
            Command::Hangup(peer) => {
                if let Some(peer) = names::to_libp2p(&peer) {
                    // An error means that there is no connection.
                    self.swarm.disconnect_peer_id(peer).ok();
                }
            }
            Command::Judge { token, verdict } => self.judge(&token, verdict),
        }
    }

    fn publish(&mut self, topic: String, data: Bytes) {
        if data.len() > MESSAGE_MAX {
            return;
        }
        let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
        match gossipsub.publish(IdentTopic::new(&topic), data.clone()) {
            Ok(_) => self.ends.counters.sent(data.len()),
            Err(PublishError::NoPeersSubscribedToTopic) => self.waiting.keep(topic, data),
            Err(error) => tracing::debug!(%topic, %error, "publication dropped"),
        }
    }

    fn hop(&mut self, id: HopId, to: &PeerId, addresses: &[String], data: Bytes) {
        let Some(peer) = names::to_libp2p(to) else {
            return self.emit(Event::HopFailed(id));
        };
        self.ends.counters.sent(data.len());
        let addresses = names::addresses(addresses);
        let request = self
            .swarm
            .behaviour_mut()
            .hop
            .send_request_with_addresses(&peer, data, addresses);
        self.hops.insert(request, id);
    }

    fn dial(&mut self, peer: &PeerId, addresses: &[String]) {
        let Some(id) = names::to_libp2p(peer) else {
            return;
        };
        let options = DialOpts::peer_id(id)
            .addresses(names::addresses(addresses))
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => {
                self.emit(Event::DialFailed {
                    peer: Some(*peer),
                    cause: error.to_string(),
                });
            }
        }
    }

    fn judge(&mut self, token: &Token, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        self.swarm
            .behaviour_mut()
            .gossipsub
            .report_message_validation_result(&token.message, &token.source, acceptance);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p has many events, most of no use to a node"
    )]
    fn swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::NewListenAddr { address, .. } => {
                self.emit(Event::Listening(names::text(&address)));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.emit(Event::NotListening(names::text(&address)));
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                endpoint,
                num_established,
                ..
            } => {
                match names::from_libp2p(&peer_id) {
                    Some(peer) if num_established.get() == 1 => {
                        let address = names::text(endpoint.get_remote_address());
                        self.emit(Event::Up { peer, address });
                    }
                    Some(_) => {}
                    // Not one of us: such a peer can have no mesh identity.
                    None => drop(self.swarm.disconnect_peer_id(peer_id)),
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                if let Some(peer) = names::from_libp2p(&peer_id) {
                    let cause =
                        cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
                    self.emit(Event::Down { peer, cause });
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                let peer = peer_id.as_ref().and_then(names::from_libp2p);
                self.emit(Event::DialFailed {
                    peer,
                    cause: error.to_string(),
                });
            }
            other => tracing::trace!(?other, "swarm event"),
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossipsub(event) => self.gossipsub_event(event),
            BehaviourEvent::Hop(event) => self.hop_event(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    if let Some(peer) = names::from_libp2p(&peer) {
                        self.emit(Event::Discovered {
                            peer,
                            address: names::text(&address),
                        });
                    }
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(_))
            | BehaviourEvent::Identify(_)
            | BehaviourEvent::Ping(_) => {}
        }
    }

    fn gossipsub_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let token = Token {
                    message: message_id,
                    source: propagation_source,
                };
                self.ends.counters.received(message.data.len());
                // Strict validation: the source is there, and has signed.
                match message.source.as_ref().and_then(names::from_libp2p) {
                    Some(author) => {
                        self.emit(Event::Message {
                            author,
                            data: message.data.into(),
                            token,
                        });
                    }
                    None => self.judge(&token, Verdict::Reject),
                }
            }
            gossipsub::Event::Subscribed { topic, .. } => {
                let topic = topic.into_string();
                for data in self.waiting.take(&topic) {
                    self.publish(topic.clone(), data);
                }
            }
            gossipsub::Event::Unsubscribed { .. }
            | gossipsub::Event::GossipsubNotSupported { .. }
            | gossipsub::Event::SlowPeer { .. } => {}
        }
    }

    fn hop_event(&mut self, event: request_response::Event<Bytes, ()>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request {
                    request, channel, ..
                } => {
                    self.ends.counters.received(request.len());
                    // An error means that the other side no longer waits.
                    self.swarm
                        .behaviour_mut()
                        .hop
                        .send_response(channel, ())
                        .ok();
                    if let Some(from) = names::from_libp2p(&peer) {
                        self.emit(Event::Hop {
                            from,
                            data: request,
                        });
                    }
                }
                request_response::Message::Response { request_id, .. } => {
                    self.hops.remove(&request_id);
                }
            },
            request_response::Event::OutboundFailure {
                request_id, error, ..
            } => {
                if let Some(id) = self.hops.remove(&request_id) {
                    tracing::debug!(%error, "hop frame failed");
                    self.emit(Event::HopFailed(id));
                }
            }
            request_response::Event::InboundFailure { .. }
            | request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// The loop makes sure of room for one; a burst beyond the queue is lost
    /// (it can only come from multicast discovery, which repeats itself).
    fn emit(&mut self, event: Event) {
        if self.ends.events.try_send(event).is_err() {
            tracing::debug!("event queue full, event dropped");
        }
    }

    /// Carries out what was asked before and waits for the answers, so that
    /// the node's last words arrive; within a limit.
    async fn flush(&mut self) {
        while let Ok(command) = self.ends.commands.try_recv() {
            self.command(command);
        }
        let answered = async {
            while !self.hops.is_empty() {
                let event = self.swarm.select_next_some().await;
                self.swarm_event(event);
            }
        };
        if tokio::time::timeout(FLUSH_LIMIT, answered).await.is_err() {
            tracing::debug!("some hop frames were not answered in time");
        }
    }

    /// Says goodbye to everybody, within a limit.
    async fn close(&mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            self.swarm.disconnect_peer_id(peer).ok();
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(CLOSE_LIMIT, closed).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }
}
