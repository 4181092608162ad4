//! The OpenID Connect provider.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::program::{Program, modules, skip};

pub(crate) struct Provider {
    pub(crate) issuer: String,
    program: Program,
}

impl Provider {
    /// On a port of this machine; without the package there is none.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// As https://localhost, if there are files of a certificate and its key.
    pub(crate) async fn start_with(certificate: &[PathBuf]) -> Option<Self> {
        let modules = match modules("target/identity/node", "oidc-provider") {
            Ok(modules) => modules,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let arguments = [&[modules], certificate].concat();
        let (program, ready) = Program::start("provider.mjs", &arguments).await;
        let issuer = ready["issuer"].as_str().expect("an address").to_owned();
        Some(Self { issuer, program })
    }

    /// The next grant that the provider tells of.
    pub(crate) async fn granted(&mut self) -> Value {
        self.program.next("granted").await
    }

    /// Sets its clock back.
    pub(crate) fn fall_behind(&mut self, seconds: u32) {
        self.program.tell(&json!({ "behind": seconds }));
    }

    /// Has somebody open the address and log in. The page they end at.
    pub(crate) async fn visit(&mut self, address: &str, account: &str) -> String {
        let line = json!({ "visit": address, "as": account });
        self.program.tell(&line);
        let visited = self.program.next("visited").await;
        visited["text"].as_str().expect("a page").to_owned()
    }
}
