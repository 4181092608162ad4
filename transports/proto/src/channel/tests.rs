#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

/// Each test, with every pair of engines: those of the DTLS client and of the server.
macro_rules! with_all_engines {
    ($($name:ident),* $(,)?) => {
        with_all_engines!(@ both_packaged [Packaged, Packaged] $($name)*);
        with_all_engines!(@ both_native [Native, Native] $($name)*);
        with_all_engines!(@ native_client [Native, Packaged] $($name)*);
        with_all_engines!(@ native_server [Packaged, Native] $($name)*);
    };
    (@ $module:ident [$a:ident, $b:ident] $($name:ident)*) => {
        mod $module {
            use crate::config::SctpEngine;

            $(
                #[test]
                fn $name() {
                    super::$name([SctpEngine::$a, SctpEngine::$b]);
                }
            )*
        }
    };
}

mod closing;
mod messages;
mod pair;
mod sharing;
