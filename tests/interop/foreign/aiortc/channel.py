"""A channel of the driver."""

import asyncio

from tools import expect, within


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
