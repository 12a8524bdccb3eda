from __future__ import annotations

import ast
import threading
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas import threads
from clipsieve.schemas.threads import IO_THREADS, cores, decoding_threads, map_ahead

ROOT = Path(__file__).parents[2]
HOME = Path(threads.__file__).resolve()
SECONDS = 30


@pytest.fixture
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@given(st.lists(st.integers()), st.integers(1, 3), st.integers(1, 5))
def test_results_come_in_order_and_few_items_are_taken_ahead(items, number, ahead):
    taken = []

    def source():
        for item in items:
            taken.append(item)
            yield item

    results = map_ahead(lambda item: 2 * item, source(), number, ahead)
    for done, result in enumerate(results):
        assert result == 2 * items[done]
        assert len(taken) <= done + ahead
    assert taken == items


def test_twice_the_threads_are_taken_ahead_unless_it_is_said():
    taken = count()
    results = map_ahead(str, taken, threads=3)
    assert next(results) == "0"
    assert next(taken) == 6
    results.close()


def test_as_many_items_as_threads_are_at_work_at_once(no_thread_is_left):
    """A barrier that only so many can pass together."""
    barrier = threading.Barrier(IO_THREADS, timeout=SECONDS)
    arrived = map_ahead(lambda _: barrier.wait(), range(2 * IO_THREADS))
    assert sorted(arrived) == sorted([*range(IO_THREADS)] * 2)


def test_each_thread_starts_with_start(no_thread_is_left):
    own, both = threading.local(), threading.Barrier(2, timeout=SECONDS)

    def start():
        own.is_started = True

    def work(_):
        both.wait()  # so that neither thread does all
        return own.is_started, threading.get_ident()

    seen = list(map_ahead(work, range(4), threads=2, start=start))
    assert all(is_started for is_started, _ in seen)
    assert len({ident for _, ident in seen}) == 2


def test_an_error_comes_in_its_items_turn_and_ends_the_rest(no_thread_is_left):
    begun = []

    def work(item):
        begun.append(item)
        if item == 2:
            raise ValueError("item 2")
        return item

    results = map_ahead(work, count(), threads=1, ahead=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert begun in ([0, 1, 2], [0, 1, 2, 3])
    assert list(results) == []


def test_an_error_of_the_items_ends_the_threads(no_thread_is_left):
    def items():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(map_ahead(str, items()))


def test_closing_waits_for_what_is_at_work_and_drops_what_waits(no_thread_is_left, monkeypatch):
    is_at_work, may_end, ended = threading.Event(), threading.Event(), []

    class Pool(threads.ThreadPoolExecutor):  # type: ignore[name-defined]
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            may_end.set()
            super().shutdown(wait)

    def work(item):
        if item == 1:
            is_at_work.set()
            may_end.wait(SECONDS)
        ended.append(item)
        return item

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    results = map_ahead(work, count(), threads=1, ahead=8)
    assert next(results) == 0
    assert is_at_work.wait(SECONDS)
    results.close()
    assert ended == [0, 1]


def test_decoding_takes_the_cores_up_to_eight(monkeypatch):
    assert 1 <= decoding_threads() <= cores()
    monkeypatch.setattr(threads, "cores", lambda: 64)
    assert decoding_threads() == 8


def imported(path):
    """The names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_pools_are_made_in_one_module_alone():
    sources = [path for path in ROOT.rglob("*.py") if not {".venv", "build"} & set(path.relative_to(ROOT).parts)]
    makers = {
        path.resolve()
        for path in sources
        if any(
            f"{name}.".startswith(("concurrent.", "multiprocessing.pool.", "multiprocessing.dummy."))
            for name in imported(path)
        )
    }
    assert makers == {HOME}
