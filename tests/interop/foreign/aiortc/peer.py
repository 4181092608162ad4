"""An aiortc peer: JSON lines on stdin and stdout, one RTCPeerConnection.

It answers the in-band requests of the other side (`responder.py`) and drives
the basic checks (`driver.py`).
"""

import asyncio
import json
import sys

import aiortc

from driver import Driver
from responder import FEATURES
from tools import emit, log

LINE_LIMIT = 1 << 22


async def result(line, work):
    try:
        detail = await work
        emit({"ev": "result", "id": line.get("id"), "ok": True, "detail": detail or {}})
    except Exception as error:  # whatever went wrong is the result
        detail = {"error": str(error) or type(error).__name__, **getattr(error, "detail", {})}
        emit({"ev": "result", "id": line.get("id"), "ok": False, "detail": detail})


async def obey(peer, line):
    """Signalling runs in turn; checks run beside it."""
    cmd = line.get("cmd")
    if cmd == "create":
        peer.create(line.get("config"))
        emit({"ev": "result", "id": line.get("id"), "ok": True, "detail": {}})
    elif cmd == "offer":
        await result(line, peer.offer(line.get("iceRestart", False)))
    elif cmd == "signal":
        try:
            await peer.signal(line)
        except Exception as error:  # a runner may alter what it carries
            log(f"signal: {type(error).__name__}: {error}")
    elif cmd == "check":
        peer.spawn(result(line, peer.check(line)))
    elif cmd == "stats":
        emit({"ev": "result", "id": line.get("id"), "ok": True, "detail": peer.stats()})
    elif cmd == "close":
        await result(line, peer.close())
    else:
        log(f"unknown command {cmd}")


async def main():
    peer = Driver()
    checks = sorted(name.removeprefix("check_") for name in dir(peer) if name.startswith("check_"))
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    emit(
        {
            "ev": "ready",
            "impl": "aiortc",
            "version": aiortc.__version__,
            "features": FEATURES,
            "checks": checks,
        }
    )
    while text := await reader.readline():
        if not text.strip():
            continue
        line = json.loads(text)
        if line.get("cmd") == "exit":
            break
        await obey(peer, line)
    await peer.close()


if __name__ == "__main__":
    asyncio.run(main())
