//! How a connection lets its transports go: they say what they have counted, for `getStats`, and
//! DTLS says goodbye to the peer.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorContext as _, AsyncContext as _, Context, Handler};
use peerloom_transports::proto::dtls;

use super::actor::{ChildKey, PeerConnectionActor};
use super::messages::Parted;
use super::stats::{self, Answers};
use crate::dtls_transport::DtlsCommand;

/// How long the goodbye to the peer may take. Guess: it needs one turn of the DTLS
/// actor, or a writable socket.
const CLOSE_GRACE: Duration = Duration::from_millis(200);

/// How long each transport may take for its numbers. It answers from memory, unless it is wedged
/// and was not given up yet.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Where the transports are on their way out.
#[derive(Debug, Default)]
pub(super) enum Parting {
    /// They are needed.
    #[default]
    No,
    /// They are asked; what else they report is not heard any more.
    Asked,
    /// They were let go, and had counted this.
    Over(Box<Answers>),
}

impl PeerConnectionActor {
    /// Whether the transports are let go.
    pub(super) fn is_parting(&self) -> bool {
        !matches!(self.parting, Parting::No)
    }

    /// Lets the transports go, once they have said what they have counted.
    pub(super) fn part(&mut self) {
        if self.is_parting() {
            return;
        }
        let Some(wires) = &self.wires else {
            self.parting = Parting::Over(Box::default());
            return;
        };
        let (addrs, me) = (wires.addrs(self.quic_addr()), wires.me.clone());
        self.parting = Parting::Asked;
        tokio::task::spawn_local(async move {
            let answers = stats::ask(addrs, LAST_WORDS).await;
            if let Some(me) = me.upgrade()
                && me.send(Parted(answers)).await.is_err()
            {
                tracing::debug!("the connection is gone, and its transports with it");
            }
        });
    }

    /// Lets the DTLS actor send its goodbye; everything else ends at once.
    fn let_go(&mut self, answers: Answers) {
        self.parting = Parting::Over(Box::new(answers));
        if self.let_quic_go() {
            self.children.remove(&ChildKey::Dtls);
        } else if let Some(wires) = &mut self.wires {
            wires.dtls.post(DtlsCommand::Close);
        }
        self.children.remove(&ChildKey::Ice);
        self.children.remove(&ChildKey::Sctp);
    }

    /// The rest of `close`, if the transports were let go: the last statistics, and the end.
    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        let Parting::Over(answers) = &self.parting else {
            return;
        };
        let stats = Arc::new(self.stats(answers));
        self.snapshot
            .send_modify(|snapshot| snapshot.last_stats = Some(stats));
        if self.says_goodbye && self.progress.dtls == Some(dtls::State::Connected) {
            ctx.run_later(CLOSE_GRACE, |_, ctx| ctx.stop());
        } else {
            ctx.stop();
        }
    }
}

impl Handler<Parted> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, parted: Parted, ctx: &mut Context<Self>) {
        self.let_go(parted.0);
        if self.is_closing() {
            self.finish(ctx);
        }
    }
}
