"""What stands for the terminal of a run in this process."""

from __future__ import annotations

import io
from collections.abc import Callable


class Terminal(io.StringIO):
    """Calls ``action`` when the line of a step is printed."""

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        super().__init__()
        self._start, self._action = f"step {step}/", action

    def write(self, text: str) -> int:
        if text.startswith(self._start):
            self._action()
        return super().write(text)
