"""The server that a trainer starts for its workers, and a worker (workers.py draws them).

It loads no more than its reader needs.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.processes import ignore_stop_requests
from clipsieve.training.data.ring import Reader, Ring


def main(descriptors: Sequence[int], ring: int) -> None:
    """Fork the workers, one for each of the ``descriptors`` but the first, which is the control connection's.

    Returns when the trainer is gone, or all workers are.
    """
    ignore_stop_requests()
    control, *connections = (Connection(descriptor) for descriptor in descriptors)
    try:
        reader, pairs, slots = pickle.loads(control.recv_bytes())  # noqa: S301  (the trainer's own)
    except EOFError:
        return
    memory = Ring(reader.fields, pairs, slots, ring)
    reader.cache_bytes //= len(connections)
    gc.freeze()  # pages of what is here stay shared with the workers
    children: dict[int, int] = {}
    for part, own in enumerate(connections):
        child = os.fork()
        if not child:
            for other in (control, *connections[:part], *connections[part + 1 :]):
                other.close()
            _serve(own, reader, memory, part, len(connections))
            os._exit(0)
        children[os.pidfd_open(child)] = child
    for connection in connections:
        connection.close()
    _watch(control, children)


def _serve(connection: Connection, reader: Reader, memory: Ring, part: int, parts: int) -> None:
    """Fill what the trainer sends, until it is gone."""
    arrays = memory.slots()
    try:
        while True:
            slot, start, stop = connection.recv()
            try:
                said = reader.fill(range(start, stop), arrays[slot], part, parts)
            except ClipsieveError as error:
                connection.send(error)
            except Exception:
                connection.send(RuntimeError(f"in a process that decodes images: {traceback.format_exc()}"))
            else:
                connection.send((slot, said))
    except (EOFError, OSError):
        pass


def _watch(control: Connection, children: dict[int, int]) -> None:
    """Say the exit status of each worker that ends; end those that are left when the trainer is gone.

    ``children``: process ids, by file descriptors that are readable once a process has ended.
    """
    try:
        while children:
            for ready in wait([control, *children]):
                if not isinstance(ready, int):
                    return
                _, status = os.waitpid(children.pop(ready), 0)
                control.send(os.waitstatus_to_exitcode(status))
    except OSError:
        pass
    finally:
        for child in children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
