"""The commands as a shell starts them: the scripts that are installed next to this interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

CLIPSIEVE = str(Path(sys.executable).with_name("clipsieve"))


def torchrun(processes: int) -> list[str]:
    """What starts a command of clipsieve in so many processes; the command and its flags follow."""
    launcher = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, "--no-python", CLIPSIEVE]
