from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsieve.evaluation.datasets.read import find_tasks, read_task
from clipsieve.evaluation.datasets.task import ClassificationTask, RetrievalTask
from clipsieve.schemas.errors import InputError

NAMES = ("cat", "dog", "missile", "missile")


@pytest.fixture
def zero_shot_folder(tmp_path, noise_images, write_zero_shot):
    return write_zero_shot(tmp_path / "wds_pets_test", noise_images(5), [0, 3, 1, 1, 2], NAMES, shards=2)


def test_zero_shot_folder_is_read_in_order_over_its_shards(zero_shot_folder, noise_images):
    task = read_task(str(zero_shot_folder))
    assert isinstance(task, ClassificationTask)
    assert (task.key, task.label_array().tolist(), task.classnames) == ("pets", [0, 3, 1, 1, 2], NAMES)
    assert task.templates == ("a photo of a {c}.", "{c}")
    assert task.ids == tuple(f"s{row:07d}" for row in range(5))
    assert [data for _, data in task.images()] == noise_images(5)
    assert next(task.images())[0] == f"{zero_shot_folder}/test/0.tar: sample s0000000"


lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])).filter(str.strip)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(captions=st.lists(st.lists(lines, min_size=1, max_size=3), min_size=1, max_size=3))
def test_captions_are_split_at_line_feeds_alone(tmp_path_factory, noise_images, write_retrieval, captions):
    folder = tmp_path_factory.mktemp("tasks") / "wds_any"
    task = read_task(str(write_retrieval(folder, noise_images(len(captions)), captions)))
    assert isinstance(task, RetrievalTask)
    assert [list(texts) for texts in task.captions] == captions


def test_blank_lines_are_no_captions(tmp_path, noise_images, write_retrieval):
    folder = write_retrieval(tmp_path / "wds_any", noise_images(1), [["a frog", "", "a toad", ""]])
    task = read_task(str(folder))
    assert isinstance(task, RetrievalTask)
    assert task.captions == (("a frog", "a toad"),)


def test_digest_follows_content_and_not_shards(tmp_path, noise_images, write_zero_shot):
    def digest(folder, shards=1, labels=(0, 1, 2), names=NAMES, seed=0):
        images = noise_images(3, seed)
        return read_task(str(write_zero_shot(tmp_path / f"wds_{folder}", images, labels, names, shards=shards))).digest

    first = digest("a")
    assert digest("b", shards=3) == first
    changed = [
        digest("c", labels=(0, 1, 3)),
        digest("d", names=("cat", "dog", "gun", "gun")),
        digest("e", seed=1),
    ]
    assert len({first, *changed}) == 4


def test_tasks_are_found_by_key_or_folder_name(tmp_path, write_task):
    for name in ("wds_a-b", "wds_c_test", "notes"):
        write_task(tmp_path / name, [])
    every = [str(tmp_path / "wds_a-b"), str(tmp_path / "wds_c_test")]
    assert list(find_tasks(str(tmp_path)).values()) == every
    assert find_tasks(str(tmp_path), ["c", "wds_a/b"]) == {"a-b": every[0], "c": every[1]}
    assert list(find_tasks(str(tmp_path), ["wds_c_test"]).values()) == every[1:]


def test_missing_tasks_are_named(tmp_path, write_task):
    with pytest.raises(InputError, match="no task there"):
        find_tasks(str(tmp_path))
    write_task(tmp_path / "wds_a", [])
    with pytest.raises(InputError, match="no task 'b' there; it has a"):
        find_tasks(str(tmp_path), ["b"])
    write_task(tmp_path / "wds_a_test", [])
    with pytest.raises(InputError, match="wds_a and wds_a_test are one task; remove one"):
        find_tasks(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("test/nshards.txt", "two", "nshards.txt: 'two' is not a number of tar files"),
        ("test/nshards.txt", "0", "nshards.txt: '0' is not a number of tar files"),
        ("test/nshards.txt", "3", "3 tar files expected, but 2.tar is missing"),
        ("test/nshards.txt", "1", "1 tar files expected, but 1.tar is beyond it"),
        ("dataset_type.txt", "video", "dataset_type.txt: 'video' is not a type of task"),
        ("classnames.txt", "\n \n", "classnames.txt: has no line of text"),
        ("zeroshot_classification_templates.txt", "{c}\n\n{c}", "templates.txt: line 2 is empty"),
        (
            "classnames.txt",
            "cat\ndog",
            "0.tar: sample s0000001: .cls is '3', not the index of one of the 2 classes",
        ),
        ("zeroshot_classification_templates.txt", "{c}\na photo\n", "templates.txt: line 2 has no {c}"),
        ("test/1.tar", "damaged", "1.tar: not a readable tar"),
    ],
)
def test_a_bad_folder_is_refused_by_file_and_field(zero_shot_folder, file, text, message):
    (zero_shot_folder / file).write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_task(str(zero_shot_folder))


@pytest.mark.parametrize("file", ["classnames.txt", "zeroshot_classification_templates.txt", "test/nshards.txt"])
def test_a_missing_file_is_named(zero_shot_folder, file):
    (zero_shot_folder / file).unlink()
    with pytest.raises(InputError, match=f"{file}: no such file"):
        read_task(str(zero_shot_folder))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "0.tar: no samples in the task's tar files"),
        ([("a", {"txt": b"frog"})], "0.tar: sample a: no image member"),
        ([("a", {"png": b""})], "0.tar: sample a: no .txt member"),
        ([("a", {"png": b"", "txt": b" \n"})], "0.tar: sample a: .txt has no caption"),
        ([("a", {"png": b"", "txt": b"\xff"})], "0.tar: sample a: .txt is not UTF-8"),
        ([("a", {"png": b"", "json": b'["'})], "0.tar: sample a: .json cannot be read"),
        ([("a", {"png": b"", "json": b'{"captions": [null, ""]}'})], "0.tar: sample a: .json has no caption"),
    ],
)
def test_a_bad_sample_is_refused_by_key(tmp_path, write_task, samples, message):
    folder = write_task(tmp_path / "wds_any", samples, dataset_type="retrieval")
    with pytest.raises(InputError, match=re.escape(message)):
        read_task(str(folder))


@pytest.mark.parametrize("label", [b"4", b"-1", b"1.0", b"", b"1_0", "²".encode()])
def test_a_label_must_be_the_index_of_a_class(tmp_path, write_task, label):
    texts = {"classnames": "\n".join(NAMES), "zeroshot_classification_templates": "{c}"}
    folder = write_task(tmp_path / "wds_any", [("a", {"png": b"", "cls": label})], **texts)
    with pytest.raises(InputError, match="not the index of one of the 4 classes"):
        read_task(str(folder))
