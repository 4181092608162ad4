//! Descriptions and candidates, out and in.

use std::sync::Arc;

use serde_json::{Value, json};
use webrtc::ice_transport::ice_candidate::RTCIceCandidateInit;
use webrtc::peer_connection::offer_answer_options::RTCOfferOptions;
use webrtc::peer_connection::sdp::sdp_type::RTCSdpType;
use webrtc::peer_connection::sdp::session_description::RTCSessionDescription;

use crate::channel::Role;
use crate::lines::{Fallible, emit, text};
use crate::peer::Peer;

impl Peer {
    pub(crate) async fn offer(self: &Arc<Self>, ice_restart: bool) -> Fallible<Value> {
        if self.pc.local_description().await.is_none() {
            let dc = self.pc.create_data_channel("boot", None).await?;
            self.adopt(dc, Role::Ignore);
        }
        let options = RTCOfferOptions {
            ice_restart,
            ..Default::default()
        };
        let offer = self.pc.create_offer(Some(options)).await?;
        self.set_local(offer).await?;
        Ok(json!({"ok": true}))
    }

    async fn set_local(&self, description: RTCSessionDescription) -> Fallible<()> {
        let line = json!({"ev": "signal", "description": {
            "type": description.sdp_type.to_string(),
            "sdp": description.sdp,
        }});
        // Candidates come as soon as the description is set: it goes first.
        emit(&line);
        self.pc.set_local_description(description).await?;
        Ok(())
    }

    pub(crate) async fn signal(&self, line: &Value) -> Fallible<()> {
        if let Some(description) = line.get("description").filter(|value| !value.is_null()) {
            let sdp = text(description, "sdp")?.to_owned();
            let description = match text(description, "type")? {
                "offer" => RTCSessionDescription::offer(sdp)?,
                "answer" => RTCSessionDescription::answer(sdp)?,
                other => return Err(format!("a description of type {other}").into()),
            };
            let is_offer = description.sdp_type == RTCSdpType::Offer;
            self.pc.set_remote_description(description).await?;
            for candidate in std::mem::take(&mut *self.early.lock().await) {
                self.pc.add_ice_candidate(candidate).await?;
            }
            if is_offer {
                let answer = self.pc.create_answer(None).await?;
                self.set_local(answer).await?;
            }
            return Ok(());
        }
        let Some(init) = line.get("candidate").filter(|value| !value.is_null()) else {
            return Ok(()); // the end of candidates is not told to this crate
        };
        let init: RTCIceCandidateInit = RTCIceCandidateInit {
            candidate: text(init, "candidate")?.to_owned(),
            sdp_mid: init["sdpMid"].as_str().map(str::to_owned),
            sdp_mline_index: init["sdpMLineIndex"]
                .as_u64()
                .and_then(|index| index.try_into().ok()),
            username_fragment: init["usernameFragment"].as_str().map(str::to_owned),
        };
        if self.pc.remote_description().await.is_none() {
            self.early.lock().await.push(init);
        } else if !init.candidate.is_empty() {
            self.pc.add_ice_candidate(init).await?;
        }
        Ok(())
    }
}
