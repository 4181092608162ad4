"""The checks this peer drives: methods named `check_` and the check."""

import asyncio
import json
import re
import time

from channel import Opened
from pattern import LARGEST, Counters, pattern, send_patterned
from responder import Peer
from tools import CHECK_LIMIT, CONNECT_LIMIT, Failed, expect, until, within

# A sink that may lose messages has got all when it counted nothing for this long.
QUIET = 1.0

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


class Driver(Peer):
    """A peer that asks the other side, too."""

    def __init__(self):
        super().__init__()
        self.ctl = None
        self.asked = {}
        self.rid = 0
        self.serial = 0

    async def check(self, line):
        run = getattr(self, f"check_{line.get('name')}", None)
        if run is None:
            raise Failed(f"cannot drive {line.get('name')}")
        args = line.get("args") or {}
        if line["name"] not in ("connect", "noConnect"):
            await self.connect_ctl()
        limit = args["timeout"] / 1000 if "timeout" in args else CHECK_LIMIT
        return await within(run(args), limit, line["name"])

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

    # -- checks

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
        sizes = sorted({size for size in (1, 1024, 65_536, largest) if size <= largest})
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

    async def check_empty(self, args):
        opened = await self.open(self.fresh("echo:empty"))
        await opened.echoed("", "an empty string")
        await opened.echoed(b"", "an empty binary")
        opened.channel.close()
        return {}

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
