"""Lines out, and waiting within limits."""

import asyncio
import json
import sys
import time

CHECK_LIMIT = 60.0
CONNECT_LIMIT = 20.0


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
