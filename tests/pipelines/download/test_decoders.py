"""An event loop's calls in threads: whose results they are, and when they are handed back."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from clipsieve.pipelines.download import decoders
from clipsieve.pipelines.download.decoders import Decoders

SECONDS = 30  # after which what should have ended has not


def run(work):
    async def bounded():
        return await asyncio.wait_for(work, SECONDS)

    return asyncio.run(bounded())


@pytest.mark.parametrize("threads", [1, 3])
def test_each_caller_gets_its_own_result_or_error(threads):
    pool = Decoders(threads)

    def halved(number):
        if number % 2:
            raise ValueError(number)
        return number // 2

    async def work():
        return await asyncio.gather(*(pool.run(partial(halved, n)) for n in range(200)), return_exceptions=True)

    for number, result in enumerate(run(work())):
        assert result.args == (number,) if number % 2 else result == number // 2
    pool.close()


def test_one_thread_makes_calls_in_their_order():
    pool, made = Decoders(1), list[int]()

    async def work():
        await asyncio.gather(*(pool.run(partial(made.append, n)) for n in range(50)))
        await pool.run(lambda: made.append(50))  # the thread has been idle meanwhile

    run(work())
    assert made == list(range(51))


def test_threads_work_side_by_side():
    pool, both = Decoders(2), threading.Barrier(2, timeout=SECONDS)

    async def work():
        await asyncio.gather(pool.run(both.wait), pool.run(both.wait))

    run(work())


def test_results_wait_for_others_as_long_as_there_are_calls_to_make(monkeypatch):
    monkeypatch.setattr(decoders, "HELD_SECONDS", 10 * SECONDS)
    pool, made, all_wait = Decoders(1), list[int](), threading.Event()

    def make(number):
        assert all_wait.wait(SECONDS)
        made.append(number)

    async def work():
        first, *_ = [asyncio.ensure_future(pool.run(partial(make, n))) for n in range(5)]
        await asyncio.sleep(0)
        all_wait.set()
        await first

    run(work())
    assert made == list(range(5))


def test_no_result_waits_for_longer_than_it_may(monkeypatch):
    monkeypatch.setattr(decoders, "HELD_SECONDS", 0)
    pool, is_handed_back = Decoders(1), threading.Event()

    async def work():
        first, second = [asyncio.ensure_future(pool.run(make)) for make in (int, lambda: is_handed_back.wait(SECONDS))]
        await first
        is_handed_back.set()
        return await second

    assert run(work())


def test_what_is_cancelled_before_it_begins_is_not_called():
    pool, made, may_go_on = Decoders(1), list[int](), threading.Event()

    async def work():
        held = asyncio.ensure_future(pool.run(lambda: may_go_on.wait(SECONDS)))
        rest = [asyncio.ensure_future(pool.run(partial(made.append, n))) for n in range(10)]
        await asyncio.sleep(0)
        for task in rest[::2]:
            task.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        await asyncio.gather(held, *rest, return_exceptions=True)

    run(work())
    assert made == [1, 3, 5, 7, 9]


def test_once_closed_it_refuses_every_call():
    pool = Decoders(1)
    pool.close()

    async def work():
        return await asyncio.gather(*(pool.run(list) for _ in range(3)), return_exceptions=True)

    assert [type(refused) for refused in run(work())] == [RuntimeError] * 3
