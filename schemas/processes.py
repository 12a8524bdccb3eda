"""Commands that start another process of this interpreter."""

from __future__ import annotations

import sys


def own_command(module: str) -> list[str]:
    """The command that runs ``main`` of ``module``; the process gets the arguments that follow it.

    It imports from the places that this process imports from. The working directory is none of them unless it is one
    here: ``python -m`` and ``python -c`` would put it first, and run a stranger's ``pipelines/`` or ``torch.py`` that
    lies in it. ``-I`` keeps it off; ``-P``, which does no more than that, came with Python 3.11.
    """
    places = [place for place in sys.path if place]
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {places!r}; from {module} import main; main()"]
