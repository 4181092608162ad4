//! Descriptions and candidates, out and in.

use serde_json::{Value, json};
use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::channel::ChannelConfig;
use str0m::media::{Direction, MediaKind};

use crate::channel::{Channel, Role};
use crate::lines::{Fallible, emit, log, text};
use crate::peer::Peer;

/// What the first offer comes with.
const BOOT: &str = "boot";

impl Peer {
    /// The crate offers only what is new: a channel at first, then a restart, or
    /// a section for audio where nothing else shall change.
    pub(crate) fn offer(&mut self, ice_restart: bool) -> Fallible<Value> {
        let mut changes = self.rtc.sdp_api();
        let mut boot = None;
        if !self.described && self.pending.is_none() {
            boot = Some(changes.add_channel(BOOT.to_owned()));
        } else if ice_restart {
            changes.ice_restart(true);
        } else {
            changes.add_media(MediaKind::Audio, Direction::Inactive, None, None, None);
        }
        let (offer, pending) = changes.apply().ok_or("nothing to offer")?;
        if let Some(id) = boot {
            let config = ChannelConfig {
                label: BOOT.to_owned(),
                ..ChannelConfig::default()
            };
            self.channels.push(Channel::new(id, config, Role::Ignore));
        }
        self.pending = Some(pending);
        self.signaling = "have-local-offer";
        self.tell_state();
        describe("offer", &offer.to_sdp_string());
        Ok(json!({"ok": true}))
    }

    pub(crate) fn signal(&mut self, line: &Value) -> Fallible<()> {
        if let Some(description) = line.get("description").filter(|value| !value.is_null()) {
            let sdp = text(description, "sdp")?;
            match text(description, "type")? {
                "offer" => {
                    let offer = SdpOffer::from_sdp_string(sdp)?;
                    let answer = self.rtc.sdp_api().accept_offer(offer)?;
                    describe("answer", &answer.to_sdp_string());
                }
                "answer" => {
                    let answer = SdpAnswer::from_sdp_string(sdp)?;
                    let pending = self.pending.take().ok_or("an answer to nothing")?;
                    self.rtc.sdp_api().accept_answer(pending, answer)?;
                }
                other => return Err(format!("a description of type {other}").into()),
            }
            self.described = true;
            self.signaling = "stable";
            self.tell_state();
            for candidate in std::mem::take(&mut self.early) {
                self.rtc.add_remote_candidate(candidate);
            }
            return Ok(());
        }
        let Some(init) = line.get("candidate").filter(|value| !value.is_null()) else {
            return Ok(()); // the crate is not told of the end of candidates
        };
        match Candidate::from_sdp_string(text(init, "candidate")?) {
            Ok(candidate) if self.described => self.rtc.add_remote_candidate(candidate),
            Ok(candidate) => self.early.push(candidate),
            // The end of candidates, a name, a transport that it does not know.
            Err(error) => log(format!("candidate: {error}")),
        }
        Ok(())
    }
}

fn describe(kind: &str, sdp: &str) {
    emit(&json!({"ev": "signal", "description": {"type": kind, "sdp": sdp}}));
}
