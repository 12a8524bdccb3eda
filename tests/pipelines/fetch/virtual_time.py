"""Event loops whose clock leaps to the next timer when nothing else is to be done: hours pass in no time."""

from __future__ import annotations

import asyncio
import selectors


class _LeapingSelector(selectors.DefaultSelector):
    """Never waits; counts the seconds that it was to wait."""

    leapt = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that cannot come")
        self.leapt += 0.0 if ready else max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self):
        return self._leaping.leapt


def run(main):
    """``await main(clock)`` on a virtual loop; ``clock()`` is its time in seconds, from 0 on."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop.time))
    finally:
        loop.close()
