"""An aiortc peer: JSON lines on stdin and stdout, one RTCPeerConnection.

It answers the in-band requests of the other side and drives the basic checks.
"""

import asyncio
import json
import re
import struct
import sys
import time

import aiortc
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

CHECK_LIMIT = 60.0
# A sink that may lose messages has got all when it counted nothing for this long.
QUIET = 1.0
CONNECT_LIMIT = 20.0
# Messages above this size are checked by sequence number and last byte only.
FULL_CHECK_BYTES = 4096
SEND_HIGH_WATER = 1 << 20
LINE_LIMIT = 1 << 22
# The largest message any check sends.
LARGEST = 262_144


def emit(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def log(msg):
    emit({"ev": "log", "msg": str(msg)})


class Failed(Exception):
    def __init__(self, message, **detail):
        super().__init__(message)
        self.detail = detail


def expect(truth, step, **detail):
    if not truth:
        raise Failed(step, **detail)


async def within(awaitable, seconds, what):
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise Failed(f"{what}: nothing within {seconds} s") from None


async def until(test, seconds, what):
    """Polls `test` until it holds; for state that no event announces."""
    end = time.monotonic() + seconds
    while True:
        value = test()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.02)


# ---- pattern ---------------------------------------------------------------

# byte i of message q is (q*31 + i*7) & 255: a ramp of period 256, begun at q*31.
RAMP = bytes(i * 7 & 255 for i in range(256)) * ((LARGEST >> 8) + 2)
STEP = pow(7, -1, 256)


def pattern(q, size):
    start = q * 31 * STEP & 255
    return struct.pack(">I", q & 0xFFFFFFFF) + RAMP[start + 4 : start + size]


class Counters:
    def __init__(self):
        self.msgs = self.bytes = self.dup = self.corrupt = 0
        self.in_order = True
        self.min = self.max = None
        self.last = -1
        self.seen = set()
        self.began = self.ended = None

    def count(self, data):
        self.ended = time.monotonic()
        self.began = self.began or self.ended
        self.msgs += 1
        if not isinstance(data, bytes) or len(data) < 4:
            self.corrupt += 1
            return
        (q,) = struct.unpack_from(">I", data)
        self.bytes += len(data)
        self.dup += q in self.seen
        self.seen.add(q)
        self.in_order = self.in_order and q == self.last + 1
        self.last = q
        self.min = q if self.min is None else min(self.min, q)
        self.max = q if self.max is None else max(self.max, q)
        if len(data) > FULL_CHECK_BYTES:
            good = data[-1] == (q * 31 + (len(data) - 1) * 7) & 255
        else:
            good = data == pattern(q, len(data))
        self.corrupt += not good

    def report(self):
        return {
            "msgs": self.msgs,
            "bytes": self.bytes,
            "inOrder": self.in_order,
            "dup": self.dup,
            "corrupt": self.corrupt,
            "min": self.min,
            "max": self.max,
            "last": self.last,
            "ms": round(((self.ended or 0) - (self.began or 0)) * 1000),
        }


async def send_patterned(channel, count, size):
    for q in range(count):
        while channel.bufferedAmount > SEND_HIGH_WATER:
            await asyncio.sleep(0.002)
        channel.send(pattern(q, size))
        if q % 64 == 63:
            await asyncio.sleep(0)


# ---- the peer --------------------------------------------------------------

INIT = {
    "ordered": "ordered",
    "maxRetransmits": "maxRetransmits",
    "maxPacketLifeTime": "maxPacketLifeTime",
    "protocol": "protocol",
    "negotiated": "negotiated",
    "id": "id",
}

# As in the protocol, but for unicode: aiortc writes the length of a label in
# characters where RFC 8832 section 5.1 asks for bytes, and so cuts it short.
KINDS = [
    ("default", {}, None),
    ("unordered", {"ordered": False}, None),
    ("unordered, 0 retransmits", {"ordered": False, "maxRetransmits": 0}, None),
    ("ordered, 3 retransmits", {"maxRetransmits": 3}, None),
    ("ordered, 500 ms", {"maxPacketLifeTime": 500}, None),
    ("unordered, 0 ms", {"ordered": False, "maxPacketLifeTime": 0}, None),
    ("protocol", {"protocol": "chat.v1"}, None),
    ("long label", {}, "echo:" + "x" * 995),
    ("negotiated 100", {"negotiated": True, "id": 100}, None),
    (
        "negotiated 1001",
        {"negotiated": True, "id": 1001, "ordered": False, "maxRetransmits": 2},
        None,
    ),
]


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


class Opened:
    """A channel of the driver, with an inbox and its ends as events."""

    def __init__(self, channel):
        self.channel = channel
        self.inbox = asyncio.Queue()
        self.open = asyncio.Event()
        self.closed = asyncio.Event()
        self.sink = None
        channel.on("message", self.on_message)
        channel.on("open", self.open.set)
        channel.on("close", self.closed.set)
        if channel.readyState == "open":
            self.open.set()

    def on_message(self, data):
        if self.sink:
            self.sink(data)
        else:
            self.inbox.put_nowait(data)

    async def echoed(self, data, step, seconds=10.0):
        self.channel.send(data)
        back = await within(self.inbox.get(), seconds, f"{step}: echo")
        expect(type(back) is type(data), f"{step}: came back as another kind")
        expect(back == data, f"{step}: came back changed")


class Peer:
    def __init__(self):
        self.pc = None
        self.early = []
        self.channels = []
        self.sinks = {}
        self.ctl = None
        self.asked = {}
        self.rid = 0
        self.serial = 0
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
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
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

    async def offer(self):
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
            return {"impl": "aiortc", "version": aiortc.__version__, "features": []}
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

    # -- driver: tools

    def fresh(self, prefix):
        self.serial += 1
        return f"{prefix}-{self.serial}"

    async def open(self, label, **options):
        opened = Opened(self.create_channel(label, options))
        await within(opened.open.wait(), CONNECT_LIMIT, f"open {label[:40]}")

        # A request on `ctl` that names the channel could otherwise overtake its
        # announcement, which travels on another stream.
        async def listed():
            there = (await self.ask("channels"))["channels"]
            return any(entry["label"] == label for entry in there)

        await until(listed, CONNECT_LIMIT, f"{label[:40]} open at the other side")
        return opened

    async def connect_ctl(self):
        if self.ctl and self.ctl.channel.readyState == "open":
            return
        ctl = Opened(self.create_channel("ctl", {}))
        ctl.sink = self.on_reply
        await within(ctl.open.wait(), CONNECT_LIMIT, "ctl")
        self.ctl = ctl

    def on_reply(self, text):
        reply = json.loads(text)
        waiting = self.asked.pop(reply.get("rid"), None)
        if waiting and not waiting.done():
            waiting.set_result(reply)

    async def ask(self, op, **fields):
        self.rid += 1
        future = asyncio.get_running_loop().create_future()
        self.asked[self.rid] = future
        self.ctl.channel.send(json.dumps({"rid": self.rid, "op": op, **fields}))
        reply = await within(future, 30.0, f"ctl {op}")
        if reply.get("error"):
            raise Failed(f"ctl {op}: {reply['error']}")
        return reply

    async def counted(self, label, total):
        """Waits until the other side has counted all."""

        async def look():
            seen = await self.ask("sinkReport", label=label)
            return seen if seen["msgs"] >= total else None

        return await until(look, CHECK_LIMIT, f"{total} messages on {label}")

    async def settled(self, label, total):
        """Waits until it has counted all, or nothing more for a while.

        For channels that may lose messages.
        """
        previous, since = -1, time.monotonic()

        async def look():
            nonlocal previous, since
            seen = await self.ask("sinkReport", label=label)
            if seen["msgs"] != previous:
                previous, since = seen["msgs"], time.monotonic()
            quiet = seen["msgs"] > 0 and time.monotonic() - since >= QUIET
            return seen if seen["msgs"] >= total or quiet else None

        return await until(look, CHECK_LIMIT, f"sink {label}")

    async def gone(self, label):
        async def look():
            there = (await self.ask("channels"))["channels"]
            return all(entry["label"] != label for entry in there)

        await until(look, 10.0, f"{label} gone at the other side")

    # -- driver: checks

    async def check_connect(self, args):
        began = time.monotonic()
        await self.connect_ctl()
        reply = await self.ask("ping")
        return {
            "ms": round((time.monotonic() - began) * 1000),
            "remote": {"impl": reply.get("impl"), "version": reply.get("version")},
        }

    async def check_noConnect(self, args):
        """The connection must not come up, however long one waits.

        Where the other side is the one to refuse, DTLS may be done here before
        its refusal arrives; then no channel must open.
        """
        tolerant = args.get("refuser") == "other"
        probe = self.create_channel("ctl", {})
        end = time.monotonic() + args.get("wait", 6000) / 1000
        while time.monotonic() < end:
            came_up = self.pc.connectionState == "connected"
            expect(tolerant or not came_up, "the connection came up")
            expect(probe.readyState != "open", "a channel opened")
            if self.pc.connectionState in ("failed", "closed"):
                break
            await asyncio.sleep(0.02)
        return {"iceConnected": self.ice_connected, "connection": self.pc.connectionState}

    async def check_channels(self, args):
        passed = []
        for name, options, given in KINDS:
            label = given or self.fresh("echo:kind")
            if options.get("negotiated"):
                rest = {k: v for k, v in options.items() if k not in ("negotiated", "id")}
                await self.ask("negotiate", label=label, id=options["id"], options=rest)
            opened = await self.open(label, **options)
            if 0 in (options.get("maxRetransmits"), options.get("maxPacketLifeTime")):
                await self.echo_by_luck(opened, name)
            else:
                await opened.echoed(f"hello {name}", name)
            there = next(
                (c for c in (await self.ask("channels"))["channels"] if c["label"] == label),
                None,
            )
            expect(there, f"{name}: the other side does not list it")
            wanted = {
                "protocol": options.get("protocol", ""),
                "ordered": options.get("ordered", True),
                "maxRetransmits": options.get("maxRetransmits"),
                "maxPacketLifeTime": options.get("maxPacketLifeTime"),
                "negotiated": options.get("negotiated", False),
                "id": opened.channel.id,
            }
            for key, value in wanted.items():
                expect(there[key] == value, f"{name}: {key} is {there[key]}, should be {value}")
            passed.append(name)
            opened.channel.close()
        return {"passed": len(passed), "kinds": passed, "leftOut": ["unicode"]}

    @staticmethod
    async def echo_by_luck(opened, name):
        """Such a message may be lost by design: the echo is tried again."""
        for attempt in range(10):
            opened.channel.send(f"hello {attempt}")
            try:
                await asyncio.wait_for(opened.inbox.get(), 0.5)
                return
            except asyncio.TimeoutError:
                continue
        raise Failed(f"{name}: no echo in ten attempts")

    async def check_sizes(self, args):
        opened = await self.open(self.fresh("echo:sizes"))
        found = re.search(r"a=max-message-size:(\d+)", self.pc.remoteDescription.sdp)
        limit = int(found.group(1)) if found else 65_536
        largest = min(limit or LARGEST, LARGEST)
        sizes = sorted({size for size in (0, 1, 1024, 65_536, largest) if size <= largest})
        for size in sizes:
            await opened.echoed("a" * size, f"string of {size}")
            data = pattern(size, size) if size >= 4 else b"\x07" * size
            await opened.echoed(data, f"binary of {size}")
        refused = None
        if 0 < limit <= 1 << 20:
            try:
                opened.channel.send(b"\x00" * (limit + 1))
            except ValueError as error:
                refused = str(error)
            expect(refused, f"{limit + 1} bytes were not refused")
        await opened.echoed("still alive", "after the refused message")
        opened.channel.close()
        return {"sizes": sizes, "maxMessageSize": limit, "refused": refused}

    async def check_bufferedAmount(self, args):
        label = self.fresh("sink:buffered")
        opened = await self.open(label)
        channel = opened.channel
        size, total, threshold = 16_384, 128, 1 << 20
        channel.bufferedAmountLowThreshold = threshold
        low = 0

        def crossed():
            nonlocal low
            low += 1

        channel.on("bufferedamountlow", crossed)
        peak = 0
        for turn in range(2):
            for q in range(total):
                channel.send(pattern(turn * total + q, size))
            peak = max(peak, channel.bufferedAmount)
            expect(channel.bufferedAmount > threshold, "bufferedAmount did not rise")
            await until(lambda: channel.bufferedAmount == 0, CHECK_LIMIT, "falls to zero")
        seen = await self.counted(label, 2 * total)
        expect(low == 2, f"the low event fired {low} times for 2 crossings")
        expect(seen["msgs"] == 2 * total and seen["inOrder"] and not seen["corrupt"], "lost", **seen)
        channel.close()
        return {"peak": peak, "lowEvents": low}

    async def check_ordered(self, args):
        total, size = args.get("count", 10_000), args.get("size", 128)
        label = self.fresh("sink:ordered")
        opened = await self.open(label)
        await send_patterned(opened.channel, total, size)
        seen = await self.counted(label, total)
        good = seen["msgs"] == total and seen["inOrder"] and not seen["dup"] + seen["corrupt"]
        expect(good, "missing, disordered or corrupt", **seen)
        opened.channel.close()
        return seen

    async def check_unreliable(self, args):
        total, size = args.get("count", 2000), args.get("size", 512)
        label = self.fresh("sink:unreliable")
        opened = await self.open(label, ordered=False, maxRetransmits=0)
        await send_patterned(opened.channel, total, size)
        seen = await self.settled(label, total)
        good = seen["msgs"] > 0 and not seen["dup"] + seen["corrupt"]
        expect(good, "nothing arrived, or twice, or corrupt", **seen)
        opened.channel.close()
        return {**seen, "sent": total, "lost": total - seen["msgs"]}

    async def check_close(self, args):
        other = await self.open(self.fresh("echo:bystander"))

        mine = await self.open(self.fresh("echo:local"))
        freed = mine.channel.id
        mine.channel.close()
        await within(mine.closed.wait(), 10.0, "own close")
        await self.gone(mine.channel.label)

        theirs = await self.open(self.fresh("echo:remote"))
        await self.ask("close", label=theirs.channel.label)
        await within(theirs.closed.wait(), 10.0, "their close")
        await self.gone(theirs.channel.label)

        again = self.fresh("echo:again")
        await self.ask("negotiate", label=again, id=freed, options={})
        reused = await self.open(again, negotiated=True, id=freed)
        await reused.echoed("the id lives again", "reused id")
        reused.channel.close()
        await within(reused.closed.wait(), 10.0, "close of the reused id")

        await other.echoed("undisturbed", "the bystander")
        other.channel.close()
        return {"reusedId": freed}

    async def check_throughput(self, args):
        size, direction = args.get("size", 16_384), args.get("dir", "up")
        total = -(-args.get("bytes", 4 << 20) // size)
        label = self.fresh("sink:throughput" if direction == "up" else "source:throughput")
        opened = await self.open(label)
        began = time.monotonic()
        if direction == "up":
            await send_patterned(opened.channel, total, size)
            seen = await self.counted(label, total)
        else:
            counters, done = Counters(), asyncio.Event()

            def sink(data):
                counters.count(data)
                if counters.msgs == total:
                    done.set()

            opened.sink = sink
            await self.ask("source", label=label, count=total, size=size)
            await within(done.wait(), CHECK_LIMIT, "the last message")
            seen = counters.report()
        ms = (time.monotonic() - began) * 1000
        bad = seen["corrupt"] + seen["dup"] + (not seen["inOrder"]) + total - seen["msgs"]
        detail = {
            "dir": direction,
            "MB": seen["bytes"] / 1e6,
            "ms": round(ms),
            "MBps": seen["bytes"] / 1e3 / ms,
            "bad": bad,
        }
        expect(bad == 0, "missing, disordered or corrupt", **detail)
        opened.channel.close()
        return detail

    async def check(self, line):
        run = getattr(self, f"check_{line.get('name')}", None)
        if run is None:
            raise Failed(f"cannot drive {line.get('name')}")
        args = line.get("args") or {}
        if line["name"] not in ("connect", "noConnect"):
            await self.connect_ctl()
        limit = args["timeout"] / 1000 if "timeout" in args else CHECK_LIMIT
        return await within(run(args), limit, line["name"])

    # -- the outside

    async def result(self, line, work):
        try:
            detail = await work
            emit({"ev": "result", "id": line.get("id"), "ok": True, "detail": detail or {}})
        except Exception as error:  # whatever went wrong is the result
            detail = {"error": str(error) or type(error).__name__, **getattr(error, "detail", {})}
            emit({"ev": "result", "id": line.get("id"), "ok": False, "detail": detail})

    async def close(self):
        if self.pc:
            await self.pc.close()

    async def line(self, line):
        """Signalling runs in turn; checks run beside it."""
        cmd = line.get("cmd")
        if cmd == "create":
            self.create(line.get("config"))
            emit({"ev": "result", "id": line.get("id"), "ok": True, "detail": {}})
        elif cmd == "offer":
            await self.result(line, self.offer())
        elif cmd == "signal":
            try:
                await self.signal(line)
            except Exception as error:  # a runner may alter what it carries
                log(f"signal: {type(error).__name__}: {error}")
        elif cmd == "check":
            self.spawn(self.result(line, self.check(line)))
        elif cmd == "stats":
            emit({"ev": "result", "id": line.get("id"), "ok": True, "detail": self.stats()})
        elif cmd == "close":
            await self.result(line, self.close())
        else:
            log(f"unknown command {cmd}")


async def main():
    peer = Peer()
    checks = sorted(name.removeprefix("check_") for name in dir(peer) if name.startswith("check_"))
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    emit(
        {
            "ev": "ready",
            "impl": "aiortc",
            "version": aiortc.__version__,
            "features": [],
            "checks": checks,
        }
    )
    while text := await reader.readline():
        if not text.strip():
            continue
        line = json.loads(text)
        if line.get("cmd") == "exit":
            break
        await peer.line(line)
    await peer.close()


if __name__ == "__main__":
    asyncio.run(main())
