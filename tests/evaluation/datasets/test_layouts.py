from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.datasets.layouts.find import Layout, layout_of
from clipsieve.evaluation.datasets.read import data_sets, find_tasks, read_task
from clipsieve.evaluation.datasets.task import ClassificationTask, MultilabelTask, RetrievalTask
from clipsieve.schemas.errors import InputError


@pytest.fixture
def write_tree():
    """Write an ImageFolder tree: {folder: images}."""

    def write(folder, classes):
        for name, images in classes.items():
            (folder / name).mkdir(parents=True)
            for number, image in enumerate(images):
                (folder / name / f"{number}.png").write_bytes(image)
        return folder

    return write


def test_a_tree_is_read_in_torchvisions_order(tmp_path, noise_images, write_tree):
    images = noise_images(3)
    write_tree(tmp_path / "pets" / "val", {"red_fox": images[:1], "cat": images[1:]})
    (tmp_path / "pets" / "val" / "cat" / "notes.txt").write_text("no image")
    task = read_task(str(tmp_path / "pets"))
    assert isinstance(task, ClassificationTask)
    assert (task.key, task.classnames, task.templates) == ("pets", ("cat", "red fox"), ())
    assert task.ids == ("cat/0.png", "cat/1.png", "red_fox/0.png")
    assert task.label_array().tolist() == [0, 0, 1]
    assert [data for _, data in task.images()] == [images[1], images[2], images[0]]
    assert [data for _, data in task.samples.stream(1, 2)] == [images[2]]


def test_a_tree_has_a_training_split(tmp_path, noise_images, write_tree):
    images = noise_images(2)
    write_tree(tmp_path / "pets" / "test", {"cat": images[:1], "dog": images[:1]})
    write_tree(tmp_path / "pets" / "train", {"cat": images[1:], "dog": images})
    assert read_task(str(tmp_path / "pets")).train().ids == ("cat/0.png", "dog/0.png", "dog/1.png")
    assert layout_of(str(tmp_path / "pets")) is Layout.IMAGE_FOLDER


def test_a_tree_without_the_split_says_so(tmp_path, noise_images, write_tree):
    write_tree(tmp_path / "pets", {"cat": noise_images(1)})
    with pytest.raises(InputError, match="pets: no folder of train images there"):
        read_task(str(tmp_path / "pets")).train()


def test_class_names_beside_a_tree_must_be_as_many_as_its_folders(tmp_path, noise_images, write_tree):
    write_tree(tmp_path / "pets", {"a": noise_images(1), "b": noise_images(1)})
    (tmp_path / "pets" / "classnames.txt").write_text("cat\ndog\n")
    task = read_task(str(tmp_path / "pets"))
    assert isinstance(task, ClassificationTask)
    assert task.classnames == ("cat", "dog")
    (tmp_path / "pets" / "classnames.txt").write_text("cat\ndog\nfox\n")
    with pytest.raises(InputError, match=r"classnames\.txt: 3 names, but there are 2 folders of classes"):
        read_task(str(tmp_path / "pets"))


@pytest.mark.parametrize("label", [[1, 0, 1], ["dog", "cat", "dog"]])
def test_parquet_with_labels(tmp_path, noise_images, label):
    images = noise_images(3)
    columns = {"image": images, "label": label}
    if isinstance(label[0], int):
        columns["name"] = ["dog", "cat", "dog"]
    pq.write_table(pa.table(columns), tmp_path / "pets.parquet", row_group_size=2)
    task = read_task(str(tmp_path / "pets.parquet"))
    assert isinstance(task, ClassificationTask)
    assert (task.key, task.ids, task.classnames) == ("pets", ("0", "1", "2"), ("cat", "dog"))
    assert task.label_array().tolist() == [1, 0, 1]
    assert [data for _, data in task.images()] == images
    assert list(task.samples.stream(1, 3)) == [(f"{tmp_path}/pets.parquet: row {row}", images[row]) for row in (1, 2)]


def test_hugging_faces_parquet_with_captions_over_files(tmp_path, noise_images):
    images = noise_images(3)
    (tmp_path / "coco").mkdir()
    captions = [["a cat", "two cats"], ["a dog"], ["a fox", " "]]
    rows = [
        {"image": {"bytes": image, "path": f"{row}.jpg"}, "captions": own}
        for row, (image, own) in enumerate(zip(images, captions, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "coco" / "test-00000.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), tmp_path / "coco" / "test-00001.parquet")
    task = read_task(str(tmp_path / "coco"))
    assert isinstance(task, RetrievalTask)
    assert task.captions == (("a cat", "two cats"), ("a dog",), ("a fox",))
    assert task.ids == ("0.jpg", "1.jpg", "2.jpg")
    assert [data for _, data in task.samples.stream(1, 3)] == images[1:]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [b"x"]}, r"any\.parquet: needs the columns image and label, caption or captions"),
        ({"image": [None], "caption": ["a"]}, r"row 0: column 'image' has no encoded image"),
        ({"image": [b"x"], "caption": [""]}, r"row 0: no caption"),
        ({"image": [b"x"], "label": [1]}, r"row 0: no name of class 0; give a column name, or classnames\.txt"),
        ({"image": [b"x"] * 2, "captions": [["a"], [None, ""]]}, r"row 1: no caption"),
        ({"image": [b"x"] * 2, "captions": [["a"], None]}, r"row 1: no caption"),
        ({"image": [b"x", b"y"], "label": ["a", None]}, r"row 1: label None is not one of the 1"),
    ],
)
def test_bad_parquet_is_refused_by_row(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "any.parquet")
    with pytest.raises(InputError, match=message):
        read_task(str(tmp_path / "any.parquet"))


def test_multilabel_vectors(tmp_path, noise_images, write_task):
    vectors = [[1, 0, 1], [0, 0, 0]]
    samples = [
        (f"s{row}", {"png": image, "npy": npy_bytes(vector)})
        for row, (image, vector) in enumerate(zip(noise_images(2), vectors, strict=True))
    ]
    texts = {"classnames": "a\nb\nc\n", "zeroshot_classification_templates": "{c}\n", "dataset_type": "multilabel\n"}
    task = read_task(str(write_task(tmp_path / "wds_many", samples, **texts)))
    assert isinstance(task, MultilabelTask)
    assert task.is_of.tolist() == [[True, False, True], [False, False, False]]
    texts["classnames"] = "a\nb\n"
    with pytest.raises(InputError, match=r"sample s0: \.npy has the shape \(3,\), not \(2,\), a value a class"):
        read_task(str(write_task(tmp_path / "wds_more", samples, **texts)))


def test_one_image_set_has_one_digest_whatever_its_shards(tmp_path, noise_images, write_zero_shot):
    images, names = noise_images(4), ("cat", "dog")
    one = read_task(str(write_zero_shot(tmp_path / "wds_a", images, [0, 1, 0, 1], names)))
    two = read_task(str(write_zero_shot(tmp_path / "wds_b", images, [1, 1, 1, 1], names, shards=2)))
    assert one.samples.digest == two.samples.digest
    assert one.digest != two.digest
    assert [data for _, data in two.samples.stream(1, 3)] == images[1:3]


def test_data_sets_of_every_layout_are_found(tmp_path, noise_images, write_tree, write_zero_shot):
    write_tree(tmp_path / "pets", {"cat": noise_images(1)})
    write_zero_shot(tmp_path / "wds_things", noise_images(1), [0], ["thing"])
    pq.write_table(pa.table({"image": noise_images(1), "caption": ["a"]}), tmp_path / "drawn.parquet")
    (tmp_path / "notes").mkdir()
    assert list(data_sets(str(tmp_path))) == ["drawn", "pets", "things"]


def test_known_sets_have_their_published_counts(tmp_path, noise_images, write_zero_shot):
    names = [f"class {number}" for number in range(11)]
    write_zero_shot(tmp_path / "wds_cifar10_test", noise_images(2), [0, 1], names)
    with pytest.raises(InputError, match=r"2 images, but CIFAR-10 has 10,000; get huggingface\.co"):
        read_task(str(tmp_path / "wds_cifar10_test"))


def test_a_class_name_too_many_of_a_known_set(tmp_path, noise_images, write_zero_shot):
    (image,), names = noise_images(1), [f"class {number}" for number in range(5)]
    write_zero_shot(tmp_path / "wds_vtab-kitti_closest_vehicle_distance_test", [image] * 711, [0] * 711, names)
    with pytest.raises(InputError, match="5 class names, but KITTI Vehicle Distance has 4 classes"):
        read_task(str(tmp_path / "wds_vtab-kitti_closest_vehicle_distance_test"))


def test_a_known_set_that_is_not_there_says_where_it_is_to_be_had(tmp_path, noise_images, write_zero_shot):
    write_zero_shot(tmp_path / "wds_things", noise_images(1), [0], ["thing"])
    with pytest.raises(InputError, match="no task 'vtab-pets' there; get huggingface"):
        find_tasks(str(tmp_path), ["vtab/pets"])
    with pytest.raises(InputError, match="no task 'imagenet_real' there; get the images of imagenet1k"):
        find_tasks(str(tmp_path), ["imagenet_real"])


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ([2, 1, 0], ("2", "1", "0")),
        ([0, 0, 0], ("0", "0-1", "0-2")),
        (["a", "a-1", "a"], ("a", "a-1", "a-2")),
        ([None, "5", ""], ("0", "5", "2")),
        ([1.5, None, 1.5], ("1.5", "1", "1.5-1")),
        ([False, True, False], ("False", "True", "False-1")),
    ],
)
def test_any_id_names_a_row_of_parquet_and_a_repeated_one_is_numbered(tmp_path, noise_images, ids, names):
    columns = {"id": ids, "image": noise_images(3), "label": ["cat", "dog", "cat"]}
    pq.write_table(pa.table(columns), tmp_path / "pets.parquet")
    assert read_task(str(tmp_path / "pets.parquet")).ids == names


def test_files_of_one_name_are_samples_of_their_own(tmp_path, noise_images):
    rows = [{"image": {"bytes": image, "path": "image.jpg"}, "label": "cat"} for image in noise_images(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pets.parquet")
    assert read_task(str(tmp_path / "pets.parquet")).ids == ("image.jpg", "image.jpg-1", "image.jpg-2")


@pytest.mark.parametrize(
    ("captions", "read"),
    [
        ([["a", None], ["b"]], (("a",), ("b",))),
        ([[None, "a", " "], ["", "b", None]], (("a",), ("b",))),
        (["a\n\nb", "c"], (("a", "b"), ("c",))),
        ([["a\nb"], ["c", "c"]], (("a\nb",), ("c", "c"))),
        ([[" a"], ["\u00e9", None, "\u2028c"]], ((" a",), ("\u00e9", "\u2028c"))),
    ],
)
def test_what_is_null_or_blank_is_no_caption(tmp_path, noise_images, captions, read):
    pq.write_table(pa.table({"image": noise_images(2), "captions": captions}), tmp_path / "pets.parquet")
    task = read_task(str(tmp_path / "pets.parquet"))
    assert isinstance(task, RetrievalTask)
    assert task.captions == read


def test_a_first_row_without_a_label_makes_no_retrieval_of_a_classification(tmp_path, noise_images):
    pq.write_table(pa.table({"image": noise_images(2), "label": [None, "cat"]}), tmp_path / "pets.parquet")
    with pytest.raises(InputError, match="row 0: label None is not one of the 1 classes"):
        read_task(str(tmp_path / "pets.parquet"))


def test_a_class_has_the_images_of_its_folders_within(tmp_path, noise_images):
    images = noise_images(7)
    places = ["cat/0.JPEG", "cat/a/1.png", "cat/a/b/2.PNG", "cat/.hidden/3.png", "cat/a/._4.png", "dog/5.tif"]
    for place, image in zip(places, images, strict=False):
        (tmp_path / "pets" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / place).write_bytes(image)
    (tmp_path / "elsewhere.webp").write_bytes(images[6])
    (tmp_path / "pets" / "dog" / "6.webp").symlink_to(tmp_path / "elsewhere.webp")
    (tmp_path / "pets" / "__MACOSX").mkdir()
    task = read_task(str(tmp_path / "pets"))
    assert task.ids == ("cat/0.JPEG", "cat/a/1.png", "cat/a/b/2.PNG", "dog/5.tif", "dog/6.webp")
    assert isinstance(task, ClassificationTask)
    assert task.label_array().tolist() == [0, 0, 0, 1, 1]
    assert [data for _, data in task.images()] == [*images[:3], *images[5:]]


def test_a_folder_around_the_classes_is_no_class(tmp_path, noise_images, write_tree):
    write_tree(tmp_path / "pets" / "images", {"cat": noise_images(1), "dog": noise_images(1)})
    with pytest.raises(InputError, match=r"pets/images: the only folder, .* if these are the classes, move them up"):
        read_task(str(tmp_path / "pets"))


def npy_bytes(vector):
    stream = io.BytesIO()
    np.save(stream, np.array(vector))
    return stream.getvalue()
