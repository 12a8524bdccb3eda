from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.pipelines.fetch.hosts import Hosts, host_of
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.fetch.virtual_time import run

HOST, OTHER = ("a.example", 80), ("a.example", 81)


def test_a_host_is_its_name_and_port():
    assert host_of(URL("http://A.example/x?y")) == HOST
    assert host_of(URL("https://a.example/")) == ("a.example", 443)
    assert host_of(URL("http://[::1]:81/")) == ("::1", 81)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from([HOST, OTHER]), st.floats(0, 3)), max_size=20))
def test_a_host_serves_so_many_at_a_time_in_the_order_in_which_they_came(concurrency, requests):
    async def main(clock):
        hosts = Hosts(concurrency, None, 60, clock)
        begun, active, most = [], {HOST: 0, OTHER: 0}, 0

        async def one(number, host, seconds):
            nonlocal most
            await hosts.turn(host)
            begun.append((host, number))
            active[host] += 1
            most = max(most, *active.values())
            await asyncio.sleep(seconds)
            active[host] -= 1
            hosts.release(host)

        await asyncio.gather(*(one(number, *request) for number, request in enumerate(requests)))
        return begun, most, len(hosts)

    begun, most, kept = run(main)
    assert most <= concurrency
    assert kept == 0
    for host in (HOST, OTHER):
        assert [number for of, number in begun if of == host] == [
            number for number, (of, _) in enumerate(requests) if of == host
        ]


@pytest.mark.parametrize("steps_before_cancelling", [0, 1, 2])
def test_a_request_that_goes_away_leaves_its_turn_to_the_next(steps_before_cancelling):
    async def main(clock):
        hosts = Hosts(1, None, 60, clock)
        await hosts.turn(HOST)
        impatient, patient = asyncio.ensure_future(hosts.turn(HOST)), asyncio.ensure_future(hosts.turn(HOST))
        await asyncio.sleep(1)
        if steps_before_cancelling == 1:
            hosts.release(HOST)  # to the impatient one, who does not know it yet
        impatient.cancel()
        if steps_before_cancelling != 1:
            hosts.release(HOST)
        await patient
        hosts.release(HOST)
        return len(hosts), impatient.cancelled()

    assert run(main) == (0, True)


def test_a_rate_spaces_the_requests_of_each_host():
    async def main(clock):
        hosts = Hosts(8, 4.0, 60, clock)
        begun = []

        async def one(host):
            await hosts.turn(host)
            begun.append((host, clock()))
            hosts.release(host)

        await asyncio.gather(*(one(host) for host in [HOST] * 5 + [OTHER] * 2))
        return begun

    begun = run(main)
    assert [when for host, when in begun if host == HOST] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert [when for host, when in begun if host == OTHER] == pytest.approx([0, 0.25])


async def answer_with(hosts, seconds):
    await hosts.turn(HOST)
    hosts.pause(HOST, seconds, 429)
    hosts.release(HOST)


def test_nobody_asks_a_host_before_its_pause_is_over_and_others_are_not_held_up():
    async def main(clock):
        hosts = Hosts(2, None, 60, clock)
        await answer_with(hosts, 30)
        await hosts.turn(OTHER)
        before = clock()
        await asyncio.gather(hosts.turn(HOST), hosts.turn(HOST))
        return before, clock()

    assert run(main) == (0, pytest.approx(30))


def test_a_host_that_asks_for_too_long_a_pause_is_left_alone_for_it_and_its_rows_fail_for_now():
    async def main(clock):
        hosts = Hosts(2, None, 60, clock)
        await answer_with(hosts, 61)
        hosts_at = clock()
        with pytest.raises(FetchError, match="429") as caught:
            await hosts.turn(HOST)
        assert clock() == hosts_at
        await asyncio.sleep(61)
        await hosts.turn(HOST)
        return caught.value

    error = run(main)
    assert (error.error_class, error.http_status) == (ErrorClass.HTTP_ERROR, 429)
    assert error.retryable
    assert error.is_final


def test_pauses_without_an_answer_in_between_add_up():
    async def main(clock):
        hosts = Hosts(2, None, 60, clock)
        await answer_with(hosts, 40)
        await answer_with(hosts, 40)
        with pytest.raises(FetchError):
            await hosts.turn(HOST)
        await asyncio.sleep(40)
        await hosts.turn(HOST)
        hosts.resume(HOST)
        hosts.release(HOST)
        await answer_with(hosts, 60)
        await hosts.turn(HOST)
        return clock()

    assert run(main) == pytest.approx(140)


def test_a_pause_holds_for_requests_that_wait_for_the_rate_and_for_part_of_a_second():
    async def main(clock):
        hosts = Hosts(2, 1.0, 60, clock)
        await hosts.turn(HOST)
        waiting = asyncio.ensure_future(hosts.turn(HOST))
        await asyncio.sleep(0.5)
        hosts.pause(HOST, 1.25, 429)
        await waiting
        return clock()

    assert run(main) == pytest.approx(1.75)


def test_a_pause_is_an_hour_at_most_and_a_shorter_one_does_not_end_it():
    async def main(clock):
        hosts = Hosts(1, None, 10_000, clock)
        await answer_with(hosts, 9_000)
        await hosts.turn(HOST)
        hour = clock()
        hosts.pause(HOST, 30, 429)
        hosts.pause(HOST, 10, 503)
        hosts.release(HOST)
        await hosts.turn(HOST)
        return hour, clock()

    assert run(main) == (pytest.approx(3_600), pytest.approx(3_630))


def test_turns_that_fail_or_go_away_while_the_host_pauses_are_given_back():
    async def main(clock):
        hosts = Hosts(1, None, 60, clock)
        await answer_with(hosts, 61)
        for _ in range(2):
            with pytest.raises(FetchError):
                await hosts.turn(HOST)
        await asyncio.sleep(10)
        gone = asyncio.ensure_future(hosts.turn(HOST))
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.sleep(200)
        await hosts.turn(HOST)
        hosts.release(HOST)
        return len(hosts)

    assert run(main) == 0


def test_a_million_hosts_take_no_more_room_than_those_at_work():
    async def main(clock):
        hosts = Hosts(2, 100.0, 60, clock)
        most = 0
        for number in range(20_000):
            host = (f"{number}.example", 80)
            await hosts.turn(host)
            if number % 100 == 0:
                hosts.pause(host, 1, 503)
            hosts.release(host)
            most = max(most, len(hosts))
            await asyncio.sleep(0.01)
        return most

    assert run(main) <= 2048


def test_of_many_hosts_neither_those_at_work_nor_those_that_pause_are_forgotten():
    async def main(clock):
        hosts = Hosts(1, None, 60, clock)
        await hosts.turn(HOST)
        for number in range(1_500):
            host = (f"{number}.example", 80)
            await hosts.turn(host)
            hosts.pause(host, 40, 503)
            hosts.release(host)
        await hosts.turn(("0.example", 80))
        hosts.release(HOST)
        return clock()

    assert run(main) == pytest.approx(40)
