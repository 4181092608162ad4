"""The connection, its signalling, and what the other side asks for in-band."""

import asyncio
import json

import aiortc
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.sdp import candidate_from_sdp

from pattern import Counters, send_patterned
from tools import Failed, emit

# What the other side may ask for beyond channels.
FEATURES = ["offer"]

INIT = {
    "ordered": "ordered",
    "maxRetransmits": "maxRetransmits",
    "maxPacketLifeTime": "maxPacketLifeTime",
    "protocol": "protocol",
    "negotiated": "negotiated",
    "id": "id",
}


def describe(channel):
    return {
        "label": channel.label,
        "protocol": channel.protocol,
        "ordered": channel.ordered,
        "maxRetransmits": channel.maxRetransmits,
        "maxPacketLifeTime": channel.maxPacketLifeTime,
        "negotiated": channel.negotiated,
        "id": channel.id,
        "state": channel.readyState,
    }


class Peer:
    """One RTCPeerConnection and the channels the other side asks for."""

    def __init__(self):
        self.pc = None
        self.early = []
        self.channels = []
        self.sinks = {}
        self.ice_connected = False
        self.tasks = set()

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # -- signalling

    def create(self, config):
        servers = []
        for server in (config or {}).get("iceServers", []):
            servers.append(
                RTCIceServer(
                    urls=server["urls"],
                    username=server.get("username"),
                    credential=server.get("credential"),
                )
            )
        policy = RTCIceTransportPolicy((config or {}).get("iceTransportPolicy", "all"))
        self.pc = RTCPeerConnection(
            RTCConfiguration(iceServers=servers, iceTransportPolicy=policy)
        )
        for event in (
            "connectionstatechange",
            "iceconnectionstatechange",
            "icegatheringstatechange",
            "signalingstatechange",
        ):
            self.pc.on(event, self.on_state)
        self.pc.on("datachannel", self.accept)

    def on_state(self):
        if self.pc.iceConnectionState in ("connected", "completed"):
            self.ice_connected = True
        emit(
            {
                "ev": "state",
                "connection": self.pc.connectionState,
                "ice": self.pc.iceConnectionState,
                "gathering": self.pc.iceGatheringState,
                "signaling": self.pc.signalingState,
            }
        )

    def emit_description(self):
        # aiortc gathers before it answers: the description is complete.
        description = self.pc.localDescription
        emit(
            {
                "ev": "signal",
                "description": {"type": description.type, "sdp": description.sdp},
            }
        )
        emit({"ev": "signal", "candidate": None})

    async def offer(self, ice_restart=False):
        if ice_restart:
            raise Failed("aiortc has no ICE restart")
        if self.pc.localDescription is None:
            self.remember(self.pc.createDataChannel("boot"))
        await self.pc.setLocalDescription(await self.pc.createOffer())
        self.emit_description()

    async def signal(self, line):
        description = line.get("description")
        if description:
            await self.pc.setRemoteDescription(
                RTCSessionDescription(sdp=description["sdp"], type=description["type"])
            )
            early, self.early = self.early, []
            for candidate in early:
                await self.add_candidate(candidate)
            if description["type"] == "offer":
                await self.pc.setLocalDescription(await self.pc.createAnswer())
                self.emit_description()
        elif self.pc is None or self.pc.remoteDescription is None:
            self.early.append(line.get("candidate"))
        else:
            await self.add_candidate(line.get("candidate"))

    async def add_candidate(self, init):
        if init is None or not init.get("candidate"):
            await self.pc.addIceCandidate(None)
            return
        text = init["candidate"]
        candidate = candidate_from_sdp(text.removeprefix("candidate:"))
        candidate.sdpMid = init.get("sdpMid")
        candidate.sdpMLineIndex = init.get("sdpMLineIndex")
        await self.pc.addIceCandidate(candidate)

    # -- responder

    def remember(self, channel):
        self.channels.append(channel)
        channel.on("close", lambda: emit({"ev": "channelClosed", "label": channel.label}))
        return channel

    def accept(self, channel):
        self.remember(channel)
        emit({"ev": "channel", **describe(channel)})
        if channel.label == "ctl":
            channel.on("message", lambda text: self.spawn(self.answer(channel, text)))
        elif channel.label.startswith("echo:"):
            self.echo(channel)
        elif channel.label.startswith("sink:"):
            counters = self.sinks[channel.label] = Counters()
            channel.on("message", counters.count)

    @staticmethod
    def echo(channel):
        def back(data):
            if channel.readyState == "open":
                channel.send(data)

        channel.on("message", back)

    async def answer(self, channel, text):
        request = {}
        try:
            request = json.loads(text)
            if request.get("op") == "offer":
                await self.offer(request.get("iceRestart", False))
                reply = {"ok": True}
            else:
                reply = self.operate(request)
        except Exception as error:  # the other side is told what went wrong
            reply = {"error": f"{type(error).__name__}: {error}"}
        if channel.readyState == "open":
            channel.send(json.dumps({"rid": request.get("rid"), **reply}))

    def live(self, label):
        for channel in reversed(self.channels):
            if channel.label == label and channel.readyState != "closed":
                return channel
        raise Failed(f"no channel labelled {label}")

    def operate(self, request):
        op = request.get("op")
        if op == "ping":
            return {"impl": "aiortc", "version": aiortc.__version__, "features": FEATURES}
        if op == "channels":
            live = [c for c in self.channels if c.readyState != "closed"]
            return {"channels": [describe(c) for c in live]}
        if op == "negotiate":
            options = {k: v for k, v in (request.get("options") or {}).items() if v is not None}
            options.update(negotiated=True, id=request["id"])
            self.echo(self.create_channel(request["label"], options))
            return {"ok": True}
        if op == "close":
            self.live(request["label"]).close()
            return {"ok": True}
        if op == "sinkReport":
            return self.sinks[request["label"]].report()
        if op == "source":
            channel = self.live(request["label"])
            self.spawn(send_patterned(channel, request["count"], request["size"]))
            return {"ok": True}
        if op == "stats":
            return {"stats": self.stats()}
        raise Failed(f"unknown op {op}")

    def create_channel(self, label, options):
        init = {INIT[key]: value for key, value in options.items() if key in INIT}
        return self.remember(self.pc.createDataChannel(label, **init))

    def stats(self):
        transport = self.pc.sctp.transport if self.pc.sctp else None
        return {
            "inbound": [],
            "transport": [{"dtlsState": transport.state}] if transport else [],
            "pair": None,
        }

    async def close(self):
        if self.pc:
            await self.pc.close()
