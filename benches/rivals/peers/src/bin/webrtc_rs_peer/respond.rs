//! What the other side asks for on `ctl`.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use webrtc::data::data_channel::DataChannel;
use webrtc::data_channel::data_channel_init::RTCDataChannelInit;

use crate::channel::{Role, send_patterned};
use crate::lines::{Fallible, init, log, number, text};
use crate::peer::Peer;
use crate::{FEATURES, VERSION};

impl Peer {
    pub(crate) async fn answer(
        self: &Arc<Self>,
        raw: &Arc<DataChannel>,
        data: &[u8],
    ) -> Fallible<()> {
        let request: Value = serde_json::from_slice(data)?;
        let mut reply = match self.operate(&request).await {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => Map::new(),
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        reply.insert("rid".to_owned(), request["rid"].clone());
        raw.write_data_channel(&Value::Object(reply).to_string().into(), true)
            .await?;
        Ok(())
    }

    async fn operate(self: &Arc<Self>, request: &Value) -> Fallible<Value> {
        match text(request, "op")? {
            "ping" => Ok(json!({"impl": "webrtc-rs", "version": VERSION, "features": FEATURES})),
            "channels" => {
                let all = self.channels();
                let live: Vec<_> = all
                    .iter()
                    .filter(|channel| !channel.is_closed())
                    .map(|channel| channel.describe())
                    .collect();
                Ok(json!({"channels": live}))
            }
            "negotiate" => {
                let id = request["id"]
                    .as_u64()
                    .and_then(|id| id.try_into().ok())
                    .ok_or("negotiate without an id")?;
                let init = RTCDataChannelInit {
                    negotiated: Some(id),
                    ..init(&request["options"])
                };
                let dc = self
                    .pc
                    .create_data_channel(text(request, "label")?, Some(init))
                    .await?;
                self.adopt(dc, Role::Echo);
                Ok(json!({"ok": true}))
            }
            "close" => {
                let channel = self.live(text(request, "label")?)?;
                channel.raw()?.close().await?;
                Ok(json!({"ok": true}))
            }
            "sinkReport" => {
                let label = text(request, "label")?;
                let all = self.channels();
                let found = all.iter().rev().find(|channel| channel.dc.label() == label);
                Ok(found
                    .ok_or_else(|| format!("no sink labelled {label}"))?
                    .sink()
                    .report())
            }
            "source" => {
                let channel = self.live(text(request, "label")?)?;
                let raw = Arc::clone(channel.raw()?);
                let (count, size) = (
                    number(request, "count")? as u32,
                    number(request, "size")? as usize,
                );
                tokio::spawn(async move {
                    if let Err(error) = send_patterned(&raw, count, size).await {
                        log(format!("source: {error}"));
                    }
                });
                Ok(json!({"ok": true}))
            }
            "offer" => self.offer(request["iceRestart"] == true).await,
            "stats" => Ok(json!({"stats": self.stats().await})),
            other => Err(format!("unknown op {other}").into()),
        }
    }

    pub(crate) async fn stats(&self) -> Value {
        let state = self.pc.dtls_transport().state().to_string();
        json!({"inbound": [], "transport": [{"dtlsState": state}], "pair": null})
    }
}
