#!/usr/bin/env python3
"""A wire with a delay, between two network namespaces.

    delay.py NAMESPACE INTERFACE NAMESPACE INTERFACE MILLISECONDS

Makes a TUN interface in each namespace, prints "up", and carries packets
between the two, each so many milliseconds after it came, until stdin ends.
Kernels without `netem` have nothing of the kind.
"""

import collections
import ctypes
import fcntl
import os
import selectors
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
CLONE_NEWNET = 0x40000000
# More are dropped, as a router with this buffer would.
MOST_WAITING = 10_000


def enter(namespace):
    """Puts this thread into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def tun(namespace, interface):
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = struct.pack("16sH22x", interface.encode(), IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(device, TUNSETIFF, flags)
    return device


def take(source, waiting, due):
    """Reads all there is."""
    try:
        while True:
            packet = os.read(source, 65_536)
            if len(waiting) < MOST_WAITING:
                waiting.append((due, packet))
    except BlockingIOError:
        pass


def give(sink, waiting, now):
    """Writes all that is due; what the kernel does not take is lost."""
    while waiting and waiting[0][0] <= now:
        packet = waiting.popleft()[1]
        try:
            os.write(sink, packet)
        except OSError:
            pass


def main():
    near = tun(sys.argv[1], sys.argv[2])
    far = tun(sys.argv[3], sys.argv[4])
    delay = int(sys.argv[5]) / 1000
    print("up", flush=True)
    ways = {near: (far, collections.deque()), far: (near, collections.deque())}
    selector = selectors.DefaultSelector()
    for source in ways:
        selector.register(source, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        first = min((waiting[0][0] for _, waiting in ways.values() if waiting), default=None)
        wait = None if first is None else max(0, first - time.monotonic())
        for key, _ in selector.select(wait):
            if key.fileobj is sys.stdin:
                return
            take(key.fileobj, ways[key.fileobj][1], time.monotonic() + delay)
        for sink, waiting in ways.values():
            give(sink, waiting, time.monotonic())


main()
