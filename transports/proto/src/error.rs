//! Errors that more than one layer can report. Everything else lives beside its layer.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The engine behind a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Interactive connectivity establishment.
    Ice,
    /// Datagram TLS.
    Dtls,
    /// Stream control transmission protocol.
    Sctp,
    /// Data channels.
    Channel,
    /// Protection of media.
    Srtp,
}

impl Layer {
    /// The name used in messages.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Ice => "ICE",
            Layer::Dtls => "DTLS",
            Layer::Sctp => "SCTP",
            Layer::Channel => "data channel",
            Layer::Srtp => "SRTP",
        }
    }
}

/// A packaged protocol engine broke one of its own invariants. The layer that owned it has
/// thrown it away; the connection cannot go on, but the process can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {} engine broke an invariant and was shut down; the connection must be built anew", layer.name())]
pub struct EngineFault {
    /// Which one.
    pub layer: Layer,
}

/// Runs a call into a packaged engine. An unwinding panic in it becomes an [`EngineFault`].
///
/// Our own code never panics on remote bytes; engines that others wrote are held to the same
/// rule here. The caller must drop the engine on a fault, since its state may be torn: this is
/// what makes the `AssertUnwindSafe` sound.
pub(crate) fn guard<T>(layer: Layer, call: impl FnOnce() -> T) -> Result<T, EngineFault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| {
        tracing::error!(
            layer = layer.name(),
            "engine panicked; shutting the layer down"
        );
        EngineFault { layer }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_value() {
        let got: Result<u8, EngineFault> = guard(Layer::Sctp, || panic!("broken invariant"));
        let fault = got.expect_err("a panic is a fault");
        assert_eq!(fault.layer, Layer::Sctp);
        assert!(fault.to_string().starts_with("the SCTP engine"));
    }
}
