//! What the other side asks for on `ctl`.

use serde_json::{Map, Value, json};
use str0m::channel::{ChannelConfig, Reliability};

use crate::channel::{Channel, Role, Source};
use crate::lines::{Fallible, number, text};
use crate::peer::Peer;
use crate::{FEATURES, VERSION};

impl Peer {
    pub(crate) fn answer(&mut self, data: &[u8]) -> Value {
        let request = serde_json::from_slice(data).unwrap_or(Value::Null);
        let mut reply = match self.operate(&request) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => Map::new(),
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        reply.insert("rid".to_owned(), request["rid"].clone());
        Value::Object(reply)
    }

    fn operate(&mut self, request: &Value) -> Fallible<Value> {
        match text(request, "op")? {
            "ping" => Ok(json!({"impl": "str0m", "version": VERSION, "features": FEATURES})),
            "channels" => {
                let live = self
                    .channels
                    .iter()
                    .filter(|channel| channel.state != "closed");
                Ok(json!({"channels": live.map(Channel::describe).collect::<Vec<_>>()}))
            }
            "negotiate" => self.negotiate(request),
            "close" => {
                let id = self.live(text(request, "label")?)?.id;
                self.rtc.direct_api().close_data_channel(id);
                Ok(json!({"ok": true}))
            }
            "sinkReport" => {
                let label = text(request, "label")?;
                let mut all = self.channels.iter().rev();
                let report = all.find_map(|channel| match &channel.role {
                    Role::Sink(counters) if channel.config.label == label => {
                        Some(counters.report())
                    }
                    Role::Sink(_) | Role::Control | Role::Echo | Role::Ignore => None,
                });
                report.ok_or_else(|| format!("no sink labelled {label}").into())
            }
            "source" => {
                let source = Source {
                    next: 0,
                    count: number(request, "count")?.try_into()?,
                    size: number(request, "size")?.try_into()?,
                };
                self.live(text(request, "label")?)?.source = Some(source);
                Ok(json!({"ok": true}))
            }
            "offer" => self.offer(request["iceRestart"] == true),
            "stats" => Ok(json!({"stats": self.stats()})),
            other => Err(format!("unknown op {other}").into()),
        }
    }

    fn negotiate(&mut self, request: &Value) -> Fallible<Value> {
        let options = &request["options"];
        let short = |key: &str| options[key].as_u64().map(u16::try_from).transpose();
        let reliability = match (short("maxRetransmits")?, short("maxPacketLifeTime")?) {
            (Some(retransmits), _) => Reliability::MaxRetransmits { retransmits },
            (None, Some(lifetime)) => Reliability::MaxPacketLifetime { lifetime },
            (None, None) => Reliability::Reliable,
        };
        let config = ChannelConfig {
            label: text(request, "label")?.to_owned(),
            ordered: options["ordered"].as_bool().unwrap_or(true),
            reliability,
            negotiated: Some(number(request, "id")?.try_into()?),
            protocol: options["protocol"].as_str().unwrap_or_default().to_owned(),
        };
        let id = self.rtc.direct_api().create_data_channel(config.clone());
        self.channels.push(Channel::new(id, config, Role::Echo));
        Ok(json!({"ok": true}))
    }

    /// The latest channel with this label that is not closed.
    fn live(&mut self, label: &str) -> Fallible<&mut Channel> {
        let mut all = self.channels.iter_mut().rev();
        all.find(|channel| channel.config.label == label && channel.state != "closed")
            .ok_or_else(|| format!("no channel labelled {label}").into())
    }
}
