//! A peer without actors: the layers composed by plain calls, on a thread of its own. It leaves as
//! browsers do, with an ABORT of SCTP before it closes DTLS.

use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use peerloom_actors::SessionDescription;
use peerloom_transports_proto::candidate::Candidate;
use peerloom_transports_proto::certificate::Certificate;
use peerloom_transports_proto::id::Path;
use peerloom_transports_proto::jsep::{
    Effect, GatherIce, Session, SessionConfig, StartDtls, StartIce,
};
use peerloom_transports_proto::stack::{Remote, Stack, StackConfig};

/// How long the thread listens before it looks at its timers.
const TICK: Duration = Duration::from_millis(5);

/// The peer. It ends with its test.
pub(crate) struct Bare {
    pub(crate) answer: SessionDescription,
    leave: SyncSender<()>,
}

impl Bare {
    /// Answers an offer that has all its candidates.
    pub(crate) fn answering(offer: SessionDescription) -> Bare {
        let certificate = Certificate::generate(SystemTime::now()).expect("a certificate");
        let socket = UdpSocket::bind(super::LOOPBACK).expect("a port");
        socket.set_read_timeout(Some(TICK)).expect("a timeout");
        let mut session = Session::new(SessionConfig {
            seed: [7; 32],
            fingerprints: vec![certificate.fingerprint().clone()],
            ..SessionConfig::default()
        });
        session.set_remote(offer).expect("an offer");
        session.set_local(None).expect("an answer");
        let agreed = Agreed::of(&mut session);
        let at = socket.local_addr().expect("an address");
        let ufrag = &agreed.gather.credentials.ufrag;
        session.add_local_candidate(ufrag, Candidate::host(at, u16::MAX));
        session.complete_local_candidates(ufrag);
        let answer = session.local_description().expect("just set");
        let stack = agreed.stack(certificate, at);
        let (leave, left) = sync_channel(1);
        std::thread::spawn(move || run(stack, &socket, &left));
        Bare { answer, leave }
    }

    /// Closes its connection.
    pub(crate) fn leave(&self) {
        self.leave.send(()).expect("it is there");
    }
}

/// What the session asks for.
struct Agreed {
    gather: GatherIce,
    ice: StartIce,
    dtls: StartDtls,
    candidates: Vec<Candidate>,
}

impl Agreed {
    fn of(session: &mut Session) -> Agreed {
        let (mut gather, mut ice, mut dtls) = (None, None, None);
        let mut candidates = Vec::new();
        while let Some(effect) = session.poll_effect() {
            if let Effect::Gather(it) = effect {
                gather = Some(it);
            } else if let Effect::StartIce(it) = effect {
                ice = Some(it);
            } else if let Effect::StartDtls(it) = effect {
                dtls = Some(it);
            } else if let Effect::AddRemoteCandidate { candidate } = effect {
                candidates.push(candidate);
            }
        }
        Agreed {
            gather: gather.expect("an answer gathers"),
            ice: ice.expect("an answer starts ICE"),
            dtls: dtls.expect("an answer starts DTLS"),
            candidates,
        }
    }

    fn stack(self, certificate: Certificate, at: std::net::SocketAddr) -> Stack {
        let (config, now) = (StackConfig::default(), Instant::now());
        let credentials = self.gather.credentials;
        let mut stack =
            Stack::new(config, certificate, credentials, &[at], now).expect("settings that work");
        let remote = Remote {
            credentials: self.ice.remote,
            fingerprints: self.dtls.fingerprints,
            ice_role: self.ice.role,
            dtls_role: self.dtls.role,
            max_message_size: Some(65_536),
            peerloom_peer: false,
        };
        stack.start(remote, now).expect("both descriptions");
        for candidate in &self.candidates {
            // Those over TCP are of no use here.
            drop(stack.add_remote_candidate(candidate, now));
        }
        stack
    }
}

fn run(mut stack: Stack, socket: &UdpSocket, left: &Receiver<()>) {
    let at = socket.local_addr().expect("an address");
    let mut buffer = vec![0; 2048];
    loop {
        let leaves = left.try_recv() != Err(TryRecvError::Empty);
        if leaves {
            stack.close(Instant::now());
        }
        while let Some(transmit) = stack.poll_transmit(Instant::now()) {
            for datagram in transmit.datagrams() {
                drop(socket.send_to(datagram, transmit.path.remote));
            }
        }
        while stack.poll_event().is_some() {}
        if leaves {
            return;
        }
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            stack.handle_packet(Path::new(at, from), &buffer[..len], Instant::now());
        }
        stack.handle_timeout(Instant::now());
    }
}
