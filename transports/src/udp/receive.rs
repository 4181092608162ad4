//! The receive loop: one per socket, one batch per connection and wake-up.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use peerloom_transports_proto::id::Path;
use quinn_udp::RecvMeta;

use super::buffer::{BUFFER_BYTES, Buffer, Datagrams, Pool};
use super::classify::{PacketClass, stun_answer_token, stun_local_ufrag};
use super::demux::{Route, Routes, Table};
use super::socket::Socket;

/// Buffers per system call, each a whole GRO batch: 512 datagrams at best.
const BUFFERS_PER_CALL: usize = 8;

/// System calls per wake-up; then batches are handed over and others may run.
const CALLS_PER_TURN: usize = 4;

thread_local! {
    /// Shared by all loops of a thread, since each fills and gives back its buffers in one go:
    /// sockets that rest hold none.
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Receives on `socket` until it fails, and hands what arrives to the inlets of
/// `routes`. Never returns otherwise; drop or abort it to stop.
pub async fn receive(socket: Socket, routes: Routes) -> io::Result<()> {
    let mut turn = Turn::new(socket, routes);
    loop {
        turn.socket.readable().await?;
        turn.run()?;
        // Actors on this thread come first again.
        tokio::task::yield_now().await;
    }
}

/// Which inlet of a route a run goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Stun,
    Records,
    Quic,
}

/// TURN servers are talked to from other sockets than these: here their range, too, is QUIC's (RFC 9443
/// section 3), whose first bytes are random in between.
fn class(datagram: &[u8]) -> PacketClass {
    let class = PacketClass::of(datagram);
    if class == PacketClass::TurnChannelOrQuic {
        PacketClass::Quic
    } else {
        class
    }
}

struct Parcel {
    route: Arc<Route>,
    lane: Lane,
    batch: Datagrams,
}

struct Turn {
    socket: Socket,
    routes: Routes,
    version: u64,
    table: Arc<Table>,
    meta: [RecvMeta; BUFFERS_PER_CALL],
    parcels: Vec<Parcel>,
}

impl Turn {
    fn new(socket: Socket, routes: Routes) -> Turn {
        let (version, table) = routes.snapshot();
        Turn {
            socket,
            routes,
            version,
            table,
            meta: [RecvMeta::default(); BUFFERS_PER_CALL],
            parcels: Vec::new(),
        }
    }

    fn run(&mut self) -> io::Result<()> {
        for _ in 0..CALLS_PER_TURN {
            if self.call()? < BUFFERS_PER_CALL {
                break;
            }
        }
        for parcel in self.parcels.drain(..) {
            parcel.deliver();
        }
        Ok(())
    }

    /// One system call; how many buffers it filled.
    fn call(&mut self) -> io::Result<usize> {
        let mut buffers: [Buffer; BUFFERS_PER_CALL] =
            POOL.with_borrow_mut(|pool| std::array::from_fn(|_| pool.take()));
        let filled = {
            let mut slices = buffers.each_mut().map(|buffer| {
                // `Pool::take` yields buffers nobody shares.
                IoSliceMut::new(Arc::get_mut(buffer).unwrap_or_default())
            });
            self.socket.try_receive(&mut slices, &mut self.meta)?
        };
        self.renew_table();
        for (index, buffer) in buffers.into_iter().enumerate() {
            if index < filled && !self.socket.silent() {
                self.sort(self.meta[index], &buffer);
            }
            POOL.with_borrow_mut(|pool| pool.give(buffer));
        }
        Ok(filled)
    }

    fn renew_table(&mut self) {
        if self.routes.version() != self.version {
            (self.version, self.table) = self.routes.snapshot();
        }
    }

    /// Cuts one filled buffer into runs of datagrams with the same destination.
    fn sort(&mut self, meta: RecvMeta, buffer: &Buffer) {
        let len = meta.len.min(BUFFER_BYTES);
        let stride = meta.stride.clamp(1, BUFFER_BYTES);
        let path = self.path(&meta);
        if self.socket.hides(path.local.ip()) {
            return;
        }
        let mut start = 0;
        while start < len {
            let first = &buffer[start..(start + stride).min(len)];
            let class = class(first);
            let mut end = (start + stride).min(len);
            // STUN goes one by one: each may carry another username.
            while class != PacketClass::Stun && end < len && self::class(&buffer[end..len]) == class
            {
                end = (end + stride).min(len);
            }
            if let Some((route, lane)) = self.route(class, first, &path) {
                let batch = self.parcel(route, lane);
                batch.push(path, buffer, start..end, stride);
            }
            start = end;
        }
    }

    fn path(&self, meta: &RecvMeta) -> Path {
        let bound = self.socket.local_addr();
        let ip = match meta.dst_ip {
            Some(ip) if bound.ip().is_unspecified() => ip,
            _ => bound.ip(),
        };
        Path::new(SocketAddr::new(ip, bound.port()), meta.addr)
    }

    fn route(&self, class: PacketClass, first: &[u8], path: &Path) -> Option<(Arc<Route>, Lane)> {
        let by_path = || self.table.by_path(path);
        match class {
            PacketClass::Stun => {
                let by_ufrag = stun_local_ufrag(first).and_then(|ufrag| self.table.by_ufrag(ufrag));
                let by_token =
                    || stun_answer_token(first).and_then(|token| self.table.by_token(&token));
                by_ufrag
                    .or_else(by_token)
                    .or_else(by_path)
                    .map(|route| (route.clone(), Lane::Stun))
            }
            PacketClass::Dtls => by_path().map(|route| (route.clone(), Lane::Records)),
            PacketClass::Quic if by_path().is_some_and(|route| route.quic.is_open()) => {
                by_path().map(|route| (route.clone(), Lane::Quic))
            }
            PacketClass::Zrtp
            | PacketClass::TurnChannelOrQuic
            | PacketClass::Quic
            | PacketClass::Media
            | PacketClass::Unknown => {
                if let Some(route) = by_path() {
                    route.unclaimed.fetch_add(1, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// The batch under way for this destination.
    fn parcel(&mut self, route: Arc<Route>, lane: Lane) -> &mut Datagrams {
        let same = |parcel: &Parcel| parcel.lane == lane && parcel.route.id() == route.id();
        let index = self.parcels.iter().rposition(same).unwrap_or_else(|| {
            let batch = Datagrams::default();
            self.parcels.push(Parcel { route, lane, batch });
            self.parcels.len() - 1
        });
        &mut self.parcels[index].batch
    }
}

impl Parcel {
    fn deliver(self) {
        let count = self.batch.len() as u64;
        let taken = match self.lane {
            Lane::Stun => (self.route.stun)(self.batch),
            Lane::Records => (self.route.records)(self.batch),
            Lane::Quic => self.route.quic.take(self.batch),
        };
        if !taken {
            self.route.overflowed.fetch_add(count, Ordering::Relaxed);
        }
    }
}
