# SPDX-License-Identifier: Apache-2.0
"""One thread, one loop: descriptors and timers. A VMM handles its requests one after the other, and so do these."""
import heapq
import selectors
import time


class Loop:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.count = 0
        self.stopped = False

    def watch(self, fd, callback, write=False):
        """Calls @callback when @fd is readable, or with @write writable too; again to change."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        try:
            self.selector.modify(fd, events, callback)
        except KeyError:
            self.selector.register(fd, events, callback)

    def forget(self, fd):
        try:
            self.selector.unregister(fd)
        except (KeyError, ValueError):
            pass

    def after(self, seconds, callback):
        self.count += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.count, callback))

    def stop(self):
        self.stopped = True

    def step(self):
        timeout = None
        if self.timers:
            timeout = max(0, self.timers[0][0] - time.monotonic())
        for key, _ in self.selector.select(timeout):
            key.data()
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()

    def run(self):
        while not self.stopped:
            self.step()
