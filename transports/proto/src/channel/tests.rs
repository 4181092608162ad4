#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

/// Each test, with every pair of engines, those of the DTLS client and of the server, and over QUIC.
macro_rules! with_all_engines {
    ($($name:ident),* $(,)?) => {
        with_all_engines!(@ both_packaged [Packaged, Packaged] $($name)*);
        with_all_engines!(@ both_native [Native, Native] $($name)*);
        with_all_engines!(@ over_quic [Quic, Quic] $($name)*);
        with_all_engines!(@ native_client [Native, Packaged] $($name)*);
        with_all_engines!(@ native_server [Packaged, Native] $($name)*);
    };
    (@ $module:ident [$a:ident, $b:ident] $($name:ident)*) => {
        mod $module {
            use super::Below;

            $(
                #[test]
                fn $name() {
                    super::$name([Below::$a, Below::$b]);
                }
            )*
        }
    };
}

mod carrier;
mod closing;
mod messages;
mod pair;
mod sharing;
