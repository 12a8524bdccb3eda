from __future__ import annotations

import asyncio
import errno
import os
import ssl

import aiohttp
import pytest

from clipsieve.pipelines.fetch.failure import Doubt, FetchError, ResolveError, failure_of
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.outcomes import ErrorClass


@pytest.mark.parametrize(
    ("error", "error_class", "retryable", "doubt", "is_telling"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), ErrorClass.CONNECTION_ERROR, True, True, False),
        (ConnectionResetError(), ErrorClass.CONNECTION_ERROR, True, True, False),
        (OSError(errno.EHOSTUNREACH, ""), ErrorClass.CONNECTION_ERROR, True, True, False),
        (OSError(errno.ENETUNREACH, ""), ErrorClass.CONNECTION_ERROR, True, True, True),
        (ssl.SSLEOFError(8, "EOF occurred"), ErrorClass.CONNECTION_ERROR, True, True, False),
        (ssl.SSLError(1, "wrong version number"), ErrorClass.TLS_ERROR, False, False, False),
        (asyncio.TimeoutError(), ErrorClass.TIMEOUT, True, True, False),
        (TimeoutError(errno.ETIMEDOUT, ""), ErrorClass.TIMEOUT, True, True, False),
        (TimeoutError(), ErrorClass.TIMEOUT, True, True, False),
        (aiohttp.ServerDisconnectedError(), ErrorClass.CONNECTION_ERROR, True, True, False),
        (aiohttp.ClientPayloadError(), ErrorClass.CONNECTION_ERROR, True, True, False),
        (aiohttp.InvalidURL("x"), ErrorClass.INVALID_URL, False, False, False),
    ],
)
def test_every_error_has_its_class_and_what_may_be_the_networks_raises_a_doubt(
    error, error_class, retryable, doubt, is_telling
):
    failure = failure_of(error)
    assert (failure.error_class, failure.retryable, failure.is_telling) == (error_class, retryable, is_telling)
    assert failure.doubt is (Doubt.CONNECTIONS if doubt else None)
    assert failure.is_final is not retryable
    assert str(failure)


def test_a_failure_to_resolve_comes_through_as_it_is():
    failure = FetchError(ErrorClass.HOST_NOT_FOUND, "no such host")
    assert failure_of(ResolveError(failure)) is failure


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_machine_that_runs_out_of_sockets_is_not_the_servers_failure(number):
    with pytest.raises(ClipsieveError, match=os.strerror(number)):
        failure_of(OSError(number, ""))
