"""The worker processes of a local job, watched: the first that fails or dies ends the job within a second.

Beam's own handler of worker processes waits for the answer of a process that was killed for ever, and after one
worker's error for all the work of the others. This one takes its place for Beam's `SubprocessSDKEnvironment`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from google.protobuf import json_format, text_format

from clipsieve.schemas.processes import cause_of

_DIED = "clipsieve.schemas.errors.ClipsieveError: a worker process died ({}); run the same command again to resume"


class WatchedConnection(worker_handlers.ControlConnection):
    """The requests to one worker process and its answers. Once it has failed, every request is answered by the error.

    Beam reads an error off an answer as text, so that is what an error is here.
    """

    def __init__(self, fail_job: Callable[[str], None]) -> None:
        super().__init__()
        self._fail_job = fail_job
        self._error: str | None = None

    def push(self, request: Any) -> Any:
        answer = super().push(request)
        if self._error is not None and answer is not None:
            answer.set(_failed(request.instruction_id, self._error))
        return answer

    def set_input(self, answers: Iterable[beam_fn_api_pb2.InstructionResponse]) -> None:
        super().set_input(self._watched(answers))

    def _watched(
        self, answers: Iterable[beam_fn_api_pb2.InstructionResponse]
    ) -> Iterator[beam_fn_api_pb2.InstructionResponse]:
        for answer in answers:
            yield answer
            if answer.error:
                self._fail_job(answer.error)

    def fail(self, error: str) -> None:
        # Set before the open requests are looked at, and read by `push` after it has added one: none slips through.
        self._error = error
        for identity, answer in list(self._futures_by_id.items()):
            answer.set(_failed(identity, error))


def _failed(identity: str, error: str) -> beam_fn_api_pb2.InstructionResponse:
    return beam_fn_api_pb2.InstructionResponse(instruction_id=identity, error=error)


@worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WatchedWorker(worker_handlers.GrpcWorkerHandler):
    """One worker process, from its start until the job ends.

    It holds the reading end of a pipe whose writing end this process holds, so that it can tell when this one is gone.
    """

    def __init__(self, command: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        self._connections = grpc_server.control_handler._connections_by_worker_id
        # Beam makes this worker's connection in its own constructor; no other kind may be seen by those that fail.
        self._connections.default_factory = partial(WatchedConnection, self._fail_job)
        super().__init__(state, provision_info, grpc_server)
        self._command = shlex.split(command.decode())
        self._closing = False

    def start_worker(self) -> None:
        address = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        environment = {
            **os.environ,
            "WORKER_ID": self.worker_id,
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(address),
            "PIPELINE_OPTIONS": json_format.MessageToJson(self.provision_info.provision_info.pipeline_options),
        }
        self._process = subprocess.Popen(self._command, env=environment, stdin=subprocess.PIPE)  # noqa: S603
        threading.Thread(target=self._watch, name="watch_worker", daemon=True).start()

    def close(self) -> None:
        # All that the job wanted of the process has come, or the job has failed: nothing is worth waiting for.
        self._closing = True
        self._process.kill()
        super().close()

    def stop_worker(self) -> None:
        self._process.wait()

    def _watch(self) -> None:
        status = self._process.wait()
        if not self._closing:
            self._fail_job(_DIED.format(cause_of(status)))

    def _fail_job(self, error: str) -> None:
        for connection in list(self._connections.values()):
            connection.fail(error)
