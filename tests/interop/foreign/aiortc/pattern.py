"""Numbered messages, and the counters of those that arrive."""

import asyncio
import struct
import time

# Messages above this size are checked by sequence number and last byte only.
FULL_CHECK_BYTES = 4096
SEND_HIGH_WATER = 1 << 20
# The largest message any check sends.
LARGEST = 262_144

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
