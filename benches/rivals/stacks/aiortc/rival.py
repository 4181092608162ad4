"""aiortc, through the workloads of the comparison in docs/performance.md: both ends
in this process, the same arguments and the same line of JSON as the programs over
../../kit.

Its documentation recommends nothing for throughput beyond watching bufferedAmount:
sending waits above 1 MiB of buffered bytes and goes on below a half of it.
Candidates are loopback addresses only, of which it has none by itself.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

HIGH_WATER = 1 << 20
# The same as in ../../kit/src/workloads.rs.
WARM_UP = 0.5
WARM_UP_LOSSY = 1.5
DRAIN = 0.3
SETTLE = 2
CONCURRENT = 16
HELLO = bytes(64)
WARM_UP_ECHOES = 200
# Messages that are sent before others have their turn.
TURN = 16


class Unsupported(Exception):
    """The stack has no such thing."""


def loopback_only():
    """aioice gathers every address but those of the loopback."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Mark:
    """A moment, by the clock and by the CPU time spent so far."""

    def __init__(self):
        self.at, self.cpu = time.monotonic(), time.process_time()

    def elapsed(self):
        return time.monotonic() - self.at, time.process_time() - self.cpu


def resident():
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentiles(values):
    values.sort()

    def at(share):
        return values[round((len(values) - 1) * share)]

    return {"p50": at(0.5), "p99": at(0.99), "count": len(values)}


class Channel:
    """One end of a data channel."""

    def __init__(self, channel):
        self.channel = channel
        self.sent = self.received = 0
        self.arrived = asyncio.Event()
        self.low = asyncio.Event()
        self.open = asyncio.Event()
        self.echo = False
        channel.bufferedAmountLowThreshold = HIGH_WATER // 2
        channel.on("bufferedamountlow", self.low.set)
        channel.on("open", self.open.set)
        channel.on("message", self.take)
        if channel.readyState == "open":
            self.open.set()

    def take(self, message):
        if self.echo:
            self.channel.send(message)
        else:
            self.received += len(message)
            self.arrived.set()

    async def send(self, message):
        while self.channel.bufferedAmount > HIGH_WATER:
            self.low.clear()
            await self.low.wait()
        self.channel.send(message)

    async def fill(self, size):
        """Sends messages of one length until it is cancelled."""
        message = bytes(size)
        while True:
            for _ in range(TURN):
                await self.send(message)
                self.sent += 1
            await asyncio.sleep(0)

    async def reaches(self, received):
        while self.received < received:
            self.arrived.clear()
            await self.arrived.wait()


class Link:
    """Two ends of a connection."""

    def __init__(self):
        configuration = RTCConfiguration(iceServers=[])
        self.connections = [RTCPeerConnection(configuration) for _ in range(2)]
        self.near = self.far = None

    async def connect(self, reliable, via=None):
        near, far = self.connections
        accepted = asyncio.get_running_loop().create_future()
        far.on("datachannel", lambda channel: accepted.set_result(Channel(channel)))
        promise = {} if reliable else {"ordered": False, "maxRetransmits": 0}
        self.near = Channel(near.createDataChannel("bench", **promise))
        await near.setLocalDescription(await near.createOffer())
        await far.setRemoteDescription(through(near.localDescription, via and via[1]))
        await far.setLocalDescription(await far.createAnswer())
        await near.setRemoteDescription(through(far.localDescription, via and via[0]))
        await self.near.open.wait()
        self.far = await accepted
        return self

    async def hello(self):
        await self.near.send(HELLO)
        await self.far.reaches(len(HELLO))

    async def close(self):
        for connection in self.connections:
            await connection.close()


def through(description, to):
    """The description with all its candidates, behind the relay where there is one."""
    sdp = description.sdp
    if to:
        address = to.replace(":", " ")
        sdp = re.sub(r"(?m)^(a=candidate:\S+ \S+ \S+ \S+) \S+ \S+", rf"\1 {address}", sdp)
    return RTCSessionDescription(sdp, description.type)


async def bulk(options):
    via = options.via and options.via.split(",")
    link = await Link().connect(True, via)
    task = asyncio.create_task(link.near.fill(options.size))
    await asyncio.sleep(WARM_UP_LOSSY if via else WARM_UP)
    mark, before = Mark(), link.far.received
    await asyncio.sleep(options.seconds)
    moved = link.far.received - before
    seconds, cpu = mark.elapsed()
    task.cancel()
    return {"bytes": moved, "seconds": seconds, "cpu": cpu}


async def messages(options):
    link = await Link().connect(False)
    task = asyncio.create_task(link.near.fill(options.size))
    await asyncio.sleep(WARM_UP)
    mark, before = Mark(), link.far.received
    await asyncio.sleep(options.seconds)
    after = link.far.received
    seconds, cpu = mark.elapsed()
    # It may wait for room that lost messages never make.
    task.cancel()
    arrived = after
    while True:
        await asyncio.sleep(DRAIN)
        if link.far.received == arrived:
            break
        arrived = link.far.received
    lost = 1 - arrived / options.size / max(link.near.sent, 1)
    received = (after - before) // options.size
    return {"received": received, "lost": max(lost, 0), "seconds": seconds, "cpu": cpu}


async def echo(options):
    link = await Link().connect(True)
    link.far.echo = True
    message, took, until = bytes(options.size), [], None
    left = WARM_UP_ECHOES
    while until is None or time.monotonic() < until:
        start = time.perf_counter()
        await link.near.send(message)
        await link.near.reaches(link.near.received + len(message))
        if left:
            left -= 1
            until = None if left else time.monotonic() + options.seconds
        else:
            took.append((time.perf_counter() - start) * 1e6)
    return percentiles(took)


async def setup(options):
    until, took = time.monotonic() + options.seconds, []
    # The first pays for what is loaded for the first time.
    for turn in range(options.count + 1):
        link = Link()
        start = time.perf_counter()
        await link.connect(True)
        await link.hello()
        if turn:
            took.append((time.perf_counter() - start) * 1e3)
            if time.monotonic() > until:
                break
        await link.close()
    return percentiles(took)


async def links(count):
    """Connections each of which has carried a message."""
    free = asyncio.Semaphore(CONCURRENT)

    async def one():
        async with free:
            link = await Link().connect(True)
            await link.hello()
            return link

    return await asyncio.gather(*(one() for _ in range(count)))


async def idle(options):
    # What the first connection allocates for all of them is none of theirs.
    first = await links(1)
    await asyncio.sleep(SETTLE)
    before, began = resident(), time.monotonic()
    made = await links(options.count)
    took = time.monotonic() - began
    await asyncio.sleep(SETTLE)
    mark = Mark()
    await asyncio.sleep(options.seconds)
    seconds, cpu = mark.elapsed()
    kib = max(resident() - before, 0) / 1024 / len(made)
    del first
    return {"kib": kib, "idle": cpu / seconds, "setup": took}


async def star(options):
    made = await links(options.count)
    tasks = [asyncio.create_task(link.near.fill(options.size)) for link in made]
    await asyncio.sleep(WARM_UP)
    mark, before = Mark(), [link.far.received for link in made]
    await asyncio.sleep(options.seconds)
    moved = [link.far.received - start for link, start in zip(made, before)]
    seconds, cpu = mark.elapsed()
    for task in tasks:
        task.cancel()
    least = min(moved) * len(moved) / max(sum(moved), 1)
    return {"bytes": sum(moved), "seconds": seconds, "cpu": cpu, "least": least}


WORKLOADS = {
    "W1": bulk,
    "W2": messages,
    "W3": echo,
    "W4": setup,
    "W5": idle,
    "W6": star,
    "W7": bulk,
}


async def run(options):
    workload = WORKLOADS.get(options.workload)
    if not workload:
        raise Unsupported("unknown workload")
    return await workload(options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", required=True, help="W1 to W7")
    parser.add_argument("--size", type=int, default=16384, help="bytes of a message")
    parser.add_argument("--count", type=int, default=1, help="connections, or set-ups at most")
    parser.add_argument("--seconds", type=float, default=2, help="how long to measure")
    parser.add_argument("--via", help="the relay's three addresses (W7)")
    options = parser.parse_args()
    loopback_only()
    try:
        line = asyncio.new_event_loop().run_until_complete(run(options))
    except Unsupported as why:
        line = {"unsupported": str(why)}
    except Exception as error:  # whatever went wrong is the result
        line = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(line), flush=True)
    # Closing thousands of connections in order is not what is measured.
    os._exit("error" in line)


if __name__ == "__main__":
    sys.exit(main())
