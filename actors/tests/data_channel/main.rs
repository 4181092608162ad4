//! `RTCDataChannel`: what `createDataChannel` checks, and the attributes of a channel. The same tests over each transport.

#[path = "../common/mod.rs"]
mod common;

mod over_sctp {
    const TRANSPORT: peerloom_actors::DataTransport = peerloom_actors::DataTransport::Sctp;
    include!("suite.rs");
}

mod over_quic {
    const TRANSPORT: peerloom_actors::DataTransport = peerloom_actors::DataTransport::Quic;
    include!("suite.rs");
}
