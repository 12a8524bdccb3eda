"""How the lab data is split into what the builtin reference sees and what it never does."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from importlib.resources import files as resources
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.datasets.task import ClassificationTask, RetrievalTask
from clipsieve.pipelines.builtin import build as pool
from clipsieve.schemas.samples import iter_samples
from clipsieve.training.data.plan import plan_samples

LAB = os.environ.get("CLIPSIEVE_LAB_DATA")


def picture(number: int, id: str = "tools/thing.png", title: str = "Thing") -> pool.PoolPicture:
    """A picture of a few large patches, another for each number."""
    patches = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    pixels = cv2.resize(patches, (120, 160), interpolation=cv2.INTER_NEAREST)
    return pool.PoolPicture(id, b"file", title, (title, title.lower()), "Ann", True, True, pixels)


@pytest.fixture(scope="module")
def embedded() -> list[dict]:
    data = (resources("clipsieve.pipelines.quickstart") / "pairs.parquet").read_bytes()
    return pq.read_table(io.BytesIO(data)).to_pylist()


def test_a_groups_place_follows_from_its_name() -> None:
    # printf 0:animals/cat.png | sha256sum: 6234ca8a…
    assert pool.place_of("animals/cat.png") == pytest.approx(0x6234CA8A / 2**32)
    places = np.array([pool.place_of(f"group {number}") for number in range(4_000)])
    assert places.min() >= 0 and places.max() < 1
    assert np.histogram(places, 4, (0, 1))[0] == pytest.approx(1_000, abs=120)


def test_at_most_twelve_pairs_a_title() -> None:
    given = [(picture(number, title=title), "g") for number, title in enumerate("AAB" * 7 + "BA")]
    assert [p.title for p, _ in pool.capped(given)] == list("AAB" * 6 + "BB")


def test_copies_and_paler_copies_are_one_group_named_by_the_first() -> None:
    first, other = picture(1, "a.png"), picture(2, "b.png")
    paler = replace(first, id="c.png", pixels=(first.pixels * 0.93).astype(np.uint8))
    smaller = replace(other, id="d.png", pixels=cv2.resize(other.pixels, (60, 80), interpolation=cv2.INTER_AREA))
    assert pool.split_pictures([first, other, paler, smaller]).groups == ["a.png", "b.png", "a.png", "b.png"]


def test_nothing_that_trains_is_near_what_is_held_out() -> None:
    pictures = [replace(picture(number // 2, f"{number}.png"), is_openclipart=number % 2 == 0) for number in range(40)]
    split = pool.split_pictures(pictures)
    held = {number for number in range(0, 40, 2) if pool.place_of(f"{number}.png") < pool.HELD_OUT}
    assert set(np.flatnonzero(split.is_held_out)) == held and held
    # Each picture has a copy of another source, which is not held out itself and yet may not train.
    assert set(np.flatnonzero(split.is_train)) == set(range(40)) - held - {number + 1 for number in held}


def test_a_picture_of_one_colour_is_blank() -> None:
    drawn = np.full((4, 5, 3), 255, np.uint8)
    assert pool.is_blank(replace(picture(1), pixels=drawn))
    drawn[3, 4, 2] = 254
    assert not pool.is_blank(replace(picture(1), pixels=drawn))


def test_transparency_is_white() -> None:
    image, stream = Image.new("RGBA", (2, 1), (10, 20, 30, 255)), io.BytesIO()
    image.putpixel((1, 0), (10, 20, 30, 0))
    image.save(stream, "PNG")
    assert pool.decode_rgb(stream.getvalue(), "a").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_the_training_shard_is_one_that_train_reads(tmp_path: Path) -> None:
    pool.write_training_shard([picture(1, "a.png", "One"), picture(2, "b.png", "Two")], str(tmp_path))
    samples = list(iter_samples(str(tmp_path / "00000.tar")))
    assert [sample.caption for sample in samples] == ["One", "one", "Two", "two"]
    plan = plan_samples(str(tmp_path))
    places = [(offset, size) for _, offset, size in plan.ranges(range(len(plan)))]
    assert sorted(places) == [(sample.offset, sample.size) for sample in samples]


def test_the_retrieval_task_has_each_title_once(tmp_path: Path) -> None:
    titles = ["Cat", "cat", "Dog"]
    folder = tmp_path / "wds_titles"
    pool.write_retrieval([picture(number, title=title) for number, title in enumerate(titles)], str(folder))
    task = read_task(str(folder))
    assert isinstance(task, RetrievalTask)
    assert task.captions == (("Dog",), ("Cat",)) or task.captions == (("Cat",), ("Dog",))


def test_the_zero_shot_task_has_the_pictures_of_its_folders(tmp_path: Path) -> None:
    ids = ["tools/saw.png", "people/ann.png", "unsorted/x.png", "toolshed/y.png", "shapes/arrows/up.png"]
    folder = tmp_path / "wds_folders"
    pool.write_zero_shot([picture(number, id) for number, id in enumerate(ids)], str(folder))
    task = read_task(str(folder))
    assert isinstance(task, ClassificationTask)
    assert [task.classnames[label] for label in task.label_array()] == ["tool", "person", "arrow"]
    for sample in iter_samples(str(folder / "test" / "0.tar")):
        assert max(Image.open(io.BytesIO(sample.image)).size) == pool.TASK_SIDE


def test_the_quickstarts_groups_are_held_out(embedded: list[dict]) -> None:
    places = [pool.place_of(row["group"]) for row in embedded]
    assert min(places) >= pool.TASKS and max(places) < pool.HELD_OUT
    titles = [row["title"] for row in embedded]
    assert max(titles.count(title) for title in set(titles)) <= pool.PAIRS_PER_TITLE


@pytest.mark.skipif(LAB is None, reason="CLIPSIEVE_LAB_DATA names no folder with openclipart.parquet")
def test_the_quickstarts_pairs_are_public_domain_openclipart(embedded: list[dict]) -> None:
    columns = ["id", "title", "creator", "license", "image"]
    rows = pq.read_table(Path(str(LAB)) / "openclipart.parquet", columns=columns).to_pylist()
    lab = {row["id"]: row for row in rows}
    for row in embedded:
        source = lab[row["id"]]
        assert "publicdomain" in source["license"].lower()
        assert (row["title"], row["creator"], row["image"]) == (
            source["title"].strip(),
            source["creator"],
            source["image"],
        )
