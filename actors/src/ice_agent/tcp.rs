//! TCP connections of an ICE agent (RFC 6544): opened and accepted here, wanted or not by the engine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use actix::StreamHandler;
use futures::StreamExt as _;
use peerloom_transports::carrier::Tunnel;
use peerloom_transports::proto::ice::Agent;
use peerloom_transports::proto::id::Path;
use peerloom_transports::tcp::{self, Accepted, Stream, StreamInlet};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::IceAgentActor;
use super::sockets::log_refusal;
use crate::shell;

/// News of connections on their way to the agent. Filled by their tasks, who wait when it is full, and
/// by listeners, whose connection is closed then.
const NEWS: usize = 32;

/// What became of a connection.
pub(super) enum News {
    /// The peer has opened one; so it says.
    Accepted(Accepted),
    /// One of ours is open.
    Opened { id: u64, path: Path, tunnel: Tunnel },
    /// One could not be opened, or is gone.
    Lost { id: u64, path: Path },
}

/// The connections of one agent, as many as its engine wants.
pub(super) struct Streams {
    /// The latest one for each path.
    connections: BTreeMap<Path, u64>,
    made: u64,
    /// Boxed, since the channel has room for dozens from the start.
    sender: mpsc::Sender<Box<News>>,
    receiver: Option<mpsc::Receiver<Box<News>>>,
}

impl Streams {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(NEWS);
        Self {
            connections: BTreeMap::new(),
            made: 0,
            sender,
            receiver: Some(receiver),
        }
    }

    /// The news, for whoever asks first.
    pub(super) fn news(&mut self) -> Option<impl futures::Stream<Item = News> + use<>> {
        let news = self.receiver.take().map(ReceiverStream::new);
        news.map(|news| news.map(|news| *news))
    }

    /// Where listeners put what is for this agent.
    pub(super) fn inlet(&self) -> StreamInlet {
        let sender = self.sender.clone();
        Arc::new(move |accepted| sender.try_send(Box::new(News::Accepted(accepted))).is_ok())
    }

    fn add(&mut self, path: Path) -> u64 {
        self.made += 1;
        self.connections.insert(path, self.made);
        self.made
    }

    /// Whether news of the connection `id` still matter.
    fn is_current(&self, path: Path, id: u64) -> bool {
        self.connections.get(&path) == Some(&id)
    }
}

impl IceAgentActor {
    /// Adds our TCP candidates: where the endpoint accepts, and, if we open connections, the
    /// addresses `from` which.
    pub(super) fn add_tcp_hosts(&mut self, from: &[SocketAddr], now: Instant) {
        let passive = self.sockets.tcp_hosts();
        let Some(agent) = &mut self.agent else { return };
        for addr in passive {
            log_refusal("TCP candidate", Some(agent.add_tcp_passive(addr, now)));
        }
        let mut ips: Vec<IpAddr> = from.iter().map(SocketAddr::ip).collect();
        ips.dedup();
        for ip in ips.into_iter().filter(|_| self.config.tcp_active) {
            log_refusal("TCP candidate", Some(agent.add_tcp_active(ip, now)));
        }
    }

    /// The engine wants a connection.
    pub(super) fn connect_tcp(&mut self, path: Path) {
        let id = self.streams.add(path);
        let news = self.streams.sender.clone();
        let (udp, ingress) = (self.sockets.endpoint(), self.sockets.ingress());
        drop(tokio::task::spawn_local(async move {
            let opened = tokio::select! {
                opened = tcp::open(path, &udp, &ingress) => opened,
                () = news.closed() => return,
            };
            match opened {
                Ok((stream, tunnel)) => {
                    let opened = News::Opened { id, path, tunnel };
                    if news.send(Box::new(opened)).await.is_ok() {
                        carry(stream, path).await;
                    }
                }
                Err(error) => tracing::debug!(%path, %error, "no TCP connection"),
            }
            drop(news.send(Box::new(News::Lost { id, path })).await);
        }));
    }

    /// The engine does not want the connection any more. It ends once nobody sends.
    pub(super) fn disconnect_tcp(&mut self, path: Path) {
        self.streams.connections.remove(&path);
        self.sockets.remove_tcp(path);
    }

    fn accept_tcp(&mut self, accepted: Accepted, now: Instant) {
        let path = accepted.path();
        // A username fragment is no secret: only who knows the password gets in.
        let authentic = |agent: &&mut Agent| agent.is_authentic(accepted.first());
        let Some(agent) = self.agent.as_mut().filter(authentic) else {
            tracing::debug!(%path, "a TCP connection by a stranger is closed");
            return;
        };
        if !agent.connection_opened(path, now) {
            tracing::debug!(%path, "a TCP connection too many is closed");
            return;
        }
        let id = self.streams.add(path);
        let ingress = self.sockets.ingress();
        match accepted.into_stream(&self.sockets.endpoint(), &ingress) {
            Ok((stream, tunnel)) => {
                self.sockets.add_tcp(path, tunnel);
                let news = self.streams.sender.clone();
                drop(tokio::task::spawn_local(async move {
                    carry(stream, path).await;
                    drop(news.send(Box::new(News::Lost { id, path })).await);
                }));
            }
            Err(error) => {
                tracing::debug!(%path, %error, "an accepted TCP connection is gone");
                self.lose_tcp(path, now);
            }
        }
    }

    fn lose_tcp(&mut self, path: Path, now: Instant) {
        self.disconnect_tcp(path);
        if let Some(agent) = &mut self.agent {
            agent.connection_lost(path, now);
        }
    }

    fn tcp_news(&mut self, news: News, now: Instant) {
        match news {
            News::Accepted(accepted) => self.accept_tcp(accepted, now),
            News::Opened { id, path, tunnel } if self.streams.is_current(path, id) => {
                let wanted = self
                    .agent
                    .as_mut()
                    .is_some_and(|agent| agent.connection_opened(path, now));
                if wanted {
                    self.sockets.add_tcp(path, tunnel);
                }
            }
            News::Lost { id, path } if self.streams.is_current(path, id) => {
                self.lose_tcp(path, now);
            }
            News::Opened { .. } | News::Lost { .. } => {} // of one that is not wanted any more
        }
    }
}

async fn carry(stream: Stream, path: Path) {
    match stream.run().await {
        Ok(()) => tracing::debug!(%path, "the TCP connection is closed"),
        Err(error) => tracing::debug!(%path, %error, "the TCP connection is lost"),
    }
}

impl StreamHandler<News> for IceAgentActor {
    fn handle(&mut self, news: News, ctx: &mut Self::Context) {
        shell::turn_aside(self, ctx, |actor, now| actor.tcp_news(news, now));
    }
}
