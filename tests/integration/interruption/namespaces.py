"""Network and mount namespaces: machines of one's own, for which one need not be root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest


@contextmanager
def namespace(*kinds: str, inside: Sequence[str] = ()) -> Iterator[list[str]]:
    """Make new namespaces of these kinds; yields the words before a command that let it run in them."""
    unshare = [*inside, "unshare"] if inside else ["unshare", "--map-root-user"]
    held = subprocess.Popen(
        [*unshare, *kinds, "sh", "-c", "echo; exec sleep 600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None and held.stderr is not None
    try:
        if not held.stdout.readline():
            pytest.skip(f"this machine lets no one make namespaces: {held.stderr.read().strip()}")
        yield ["nsenter", "--target", str(held.pid), "--user", *kinds, "--preserve-credentials"]
    finally:
        held.kill()
        held.communicate()
