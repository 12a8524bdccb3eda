from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from clipsieve.pipelines.fetch.breaker import Breaker, Evidence
from clipsieve.schemas.errors import NetworkGoneError
from tests.pipelines.fetch.virtual_time import run

HARD, SOFT = Evidence.NO_NETWORK, Evidence.SILENCE


class Web:
    """Hosts that a breaker probes: what each is like is ``states``, for all others ``state``."""

    def __init__(self, clock, patience=900.0, state=Evidence.ANSWER, **states):
        self.clock, self.state, self.states = clock, state, states
        self.probed = []
        self.breaker = Breaker("the network is gone", self.probe, patience, clock)

    async def probe(self, host):
        self.probed.append((host, self.clock()))
        await asyncio.sleep(0.1)
        return self.states.get(host, self.state)

    def answered(self, *hosts):
        for host in hosts:
            self.breaker.answered(self.clock(), host)

    async def failed(self, host="dead", seconds=5.0, is_telling=False):
        """An attempt of so many seconds, that fails: whether it is to be counted."""
        began = self.clock()
        await asyncio.sleep(seconds)
        return await self.breaker.is_alive(began, self.clock(), host, is_telling)

    async def later(self, seconds, do):
        await asyncio.sleep(seconds)
        do()


def test_a_failure_is_the_hosts_own_when_something_else_answers_after_it():
    async def main(clock):
        web = Web(clock, state=HARD)
        web.answered("a")
        counted, _ = await asyncio.gather(web.failed(), web.later(5.2, lambda: web.answered("b")))
        return counted, web.probed

    assert run(main) == (True, [])


def test_an_answer_to_what_was_begun_before_is_no_proof_so_what_answered_before_is_tried():
    async def main(clock):
        web = Web(clock)
        web.answered("a")
        begun = clock()
        counted, _ = await asyncio.gather(web.failed(), web.later(5.2, lambda: web.breaker.answered(begun, "b")))
        return counted, [host for host, _ in web.probed]

    assert run(main) == (True, ["a"])


def test_of_what_answered_before_one_at_a_time_is_tried_and_each_in_its_turn():
    async def main(clock):
        web = Web(clock)
        web.answered("a", "b", "c", "d", "e")
        for _ in range(6):
            assert await web.failed()
        return [host for host, _ in web.probed]

    assert run(main) == ["b", "c", "d", "e", "b", "c"]


def test_one_of_them_is_enough():
    async def main(clock):
        web = Web(clock, state=SOFT, c=Evidence.ANSWER)
        web.answered("a", "b", "c")
        return await web.failed(), len(web.probed)

    assert run(main) == (True, 3)


@pytest.mark.parametrize("state", [HARD, SOFT])
def test_while_the_network_is_gone_all_wait_and_what_failed_meanwhile_is_not_counted(state):
    async def main(clock):
        web = Web(clock, state=state)
        web.answered("a", "b", "c")
        failing = [asyncio.ensure_future(web.failed(seconds=seconds)) for seconds in (1, 2, 20)]
        await asyncio.sleep(3)
        waiting = asyncio.gather(*(web.breaker.ready() for _ in range(100)))
        await asyncio.sleep(27)
        assert not waiting.done()
        web.state = Evidence.ANSWER
        counted = await asyncio.gather(*failing)
        await waiting
        assert await web.failed(seconds=1)
        return counted, clock()

    counted, end = run(main)
    assert counted == [False, False, False]
    assert 30 < end < 50


def test_probes_grow_rare_and_now_and_then_one_who_waits_is_let_through():
    async def main(clock):
        web = Web(clock, state=HARD)
        web.answered("a")
        failing = asyncio.ensure_future(web.failed(seconds=0.01))
        await asyncio.sleep(1)
        waiting = [asyncio.ensure_future(web.breaker.ready()) for _ in range(20)]
        await asyncio.sleep(100)
        let_through = sum(task.done() for task in waiting)
        web.answered("b")  # one that was let through
        await asyncio.gather(*waiting)
        return await failing, let_through, [when for _, when in web.probed]

    counted, let_through, probed = run(main)
    pauses = [round(after - before, 6) for before, after in pairwise(probed)]
    assert counted is False
    assert 5 < let_through < 15
    assert pauses == sorted(pauses)
    assert max(pauses) == pytest.approx(15.1)


def test_a_network_that_stays_gone_ends_the_job():
    async def main(clock):
        web = Web(clock, patience=100, state=HARD)
        web.answered("a")
        failing = asyncio.ensure_future(web.failed(seconds=0.01))
        await asyncio.sleep(1)
        waiting = [asyncio.ensure_future(web.breaker.ready()) for _ in range(20)]
        ended = await asyncio.gather(failing, *waiting, return_exceptions=True)
        return clock(), [error for error in ended if error]

    end, errors = run(main)
    assert end == pytest.approx(100, abs=1)
    assert len(errors) > 5
    assert {type(error) for error in errors} == {NetworkGoneError}
    assert "the network is gone for 100 s; run the same command again" in str(errors[0])


def test_a_few_hosts_that_fall_silent_are_believed_dead_after_a_minute():
    async def main(clock):
        web = Web(clock, state=SOFT)
        web.answered("a", "b")
        first = await web.failed(seconds=0.01), clock()
        second = await web.failed(seconds=0.01), clock()
        web.answered("a")
        third = await web.failed(seconds=1), clock()
        return first, second, third

    first, second, third = run(main)
    assert first == (True, pytest.approx(65, abs=7))
    assert second == (True, pytest.approx(first[1], abs=0.1))
    assert third[1] > second[1] + 60


def test_many_hosts_that_fall_silent_are_the_networks_fault():
    async def main(clock):
        web = Web(clock, patience=300, state=SOFT)
        web.answered("a", "b", "c")
        with pytest.raises(NetworkGoneError):
            await web.failed()
        return clock()

    assert run(main) > 300


@pytest.mark.parametrize("state", [SOFT, Evidence.ANSWER])
def test_where_nothing_has_ever_answered_only_a_telling_failure_is_looked_into(state):
    async def main(clock):
        web = Web(clock, state=state)
        assert await web.failed()
        assert web.probed == []
        assert await web.failed(is_telling=True)
        return [host for host, _ in web.probed]

    assert run(main) == ["dead"]


def test_a_job_that_begins_without_a_network_waits_for_it():
    async def main(clock):
        web = Web(clock, state=HARD)
        failing = asyncio.ensure_future(web.failed(seconds=0.01, is_telling=True))
        await asyncio.sleep(200)
        web.state = Evidence.ANSWER
        return await failing, clock()

    counted, end = run(main)
    assert counted is False
    assert 200 < end < 220


def test_an_attempt_that_was_begun_while_it_was_gone_is_not_counted_either():
    async def main(clock):
        web = Web(clock, state=HARD)
        web.answered("a")
        first = asyncio.ensure_future(web.failed(seconds=0.01))
        await asyncio.sleep(2)
        second = asyncio.ensure_future(web.failed(seconds=60))
        await asyncio.sleep(2)
        web.state = Evidence.ANSWER
        return await first, await second

    assert run(main) == (False, False)


def test_closing_ends_an_inquiry_that_is_under_way():
    async def main(clock):
        web = Web(clock, state=HARD)
        web.answered("a")
        failing = asyncio.ensure_future(web.failed(seconds=0.01))
        await asyncio.sleep(5)
        await web.breaker.close()
        with pytest.raises(asyncio.CancelledError):
            await failing
        await web.breaker.ready()

    run(main)
