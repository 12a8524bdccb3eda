"""Tars fetched ahead: each once, only those of a few windows at a time, and the samples that the tars hold."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import PlanOptions, TrainOptions
from clipsieve.schemas.ranges import RangeReader
from clipsieve.training.data import plan as planning
from clipsieve.training.data import tar_cache
from clipsieve.training.data.order import make_order
from clipsieve.training.data.plan_file import open_plan
from clipsieve.training.data.tar_cache import TarCache, TarsAhead
from clipsieve.training.train import run
from tests.training.counted_files import READ


@pytest.fixture
def far(shards):
    """The shards' folder in a store that counts what is read."""
    READ.clear()
    yield f"counted://{shards}"
    READ.clear()


@pytest.fixture
def order(far, tmp_path):
    planning.run(far, (), str(tmp_path / "plan"), PlanOptions(order="window"))
    return make_order(open_plan(str(tmp_path / "plan"), far), (), 3, 4, window=1)


def tar_bytes_read():
    return {Path(path).name: count for path, count in READ.items() if path.endswith(".tar")}


def test_each_tar_is_fetched_once_an_epoch_and_goes_again(order, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(tar_cache, "_STEPS_BEHIND", 1)
    cache, near, samples = TarCache(str(tmp_path / "tars"), "now"), RangeReader(), len(order.plan)
    sizes = {path.name: path.stat().st_size for path in Path(shards).glob("*.tar")}
    for epochs in (1, 2):
        READ.clear()
        with TarsAhead(order, cache) as ahead:
            for start in range(0, epochs * samples, 4):
                positions = range(start, min(start + 4, epochs * samples))
                ahead.move(positions)
                ranges = order.plan.ranges(order.slice(positions.start, positions.stop))
                there = [(tar.removeprefix("counted://"), offset, size) for tar, offset, size in ranges]
                assert cache.read(ranges) == near.read(there)
                assert len(list((tmp_path / "tars" / "now").glob("*.tar"))) <= 3
        # Those of the window that follows the last position are fetched too, or were about to be.
        following = order.windows(epochs * samples - 1, epochs * samples)[-1].shards
        for name, size in sizes.items():
            most = epochs + (name in [files.name_of(order.plan.tars[shard]) for shard in following])
            assert size <= tar_bytes_read()[name] <= most * size and tar_bytes_read()[name] % size == 0
        cache.clear()
    assert not (tmp_path / "tars").exists()


def test_processes_of_a_node_fetch_a_tar_once(order, shards, tmp_path):
    start, paths = threading.Barrier(8), []

    def fetch():
        cache = TarCache(str(tmp_path / "tars"), "now")  # of a process of its own
        start.wait()
        paths.append(cache.fetch(order.plan.tars[1]))

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and paths[0].read_bytes() == Path(shards, "00001.tar").read_bytes()
    assert tar_bytes_read() == {"00001.tar": Path(shards, "00001.tar").stat().st_size}


def test_a_tar_that_was_dropped_is_fetched_by_who_reads_it(order, tmp_path):
    cache = TarCache(str(tmp_path / "tars"), "now")
    place = order.plan.ranges([0])
    data = cache.read(place)
    cache.drop(order.plan.tars)
    assert list((tmp_path / "tars" / "now").iterdir()) == []
    assert cache.read(place) == data
    with pytest.raises(InputError, match=r"counted:///nowhere/1.tar: no such file"):
        cache.fetch("counted:///nowhere/1.tar")


def test_a_run_from_far_is_the_run_from_near(far, shards, tower_file, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    options = TrainOptions(
        tower=tower_file, samples=92, batch_size=12, warmup_steps=2, order="window", window_shards=1, workers=2
    )
    near = run(shards, (), str(tmp_path / "near"), options)
    READ.clear()
    assert run(far, (), str(tmp_path / "far"), options).digest == near.digest
    times = [tar_bytes_read()[path.name] / path.stat().st_size for path in Path(shards).glob("*.tar")]
    assert set(times) <= {1, 2, 3} and sum(times) <= 7  # two epochs, and the window that would come next
    assert not list(tmp_path.glob("clipsieve-*/tars-*"))


def test_copies_of_tars_before_a_takedown_go(order, tmp_path):
    before, now = (TarCache(str(tmp_path / "tars"), state) for state in ("before", "now"))
    paths = [cache.fetch(order.plan.tars[0]) for cache in (before, now)]
    with TarsAhead(order, now):
        assert [path.exists() for path in paths] == [False, True]
