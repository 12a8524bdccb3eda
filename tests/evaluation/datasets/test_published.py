"""Each set of the catalogue in the layout in which it is published, few of its samples: the reader takes it as it is.

The Hub's folders are those that CLIP_benchmark's converter writes (`clip_benchmark/webdataset_builder.py`): keys
``s0000000``, ``.cls``, ``.npy`` or ``.txt``, images lossless WebP unless another format was chosen, text files of one
line each that end in a line feed. The ImageNet variants are read from their authors' trees too.
"""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from clipsieve.evaluation.datasets.catalogue import BY_SLUG, KNOWN
from clipsieve.evaluation.datasets.imagenet.classes import CLASS_SETS
from clipsieve.evaluation.datasets.layouts.find import Layout, layout_of
from clipsieve.evaluation.datasets.layouts.read import read_split
from clipsieve.evaluation.datasets.read import data_sets
from clipsieve.schemas.errors import InputError

FORMATS = {"webp": "WEBP", "png": "PNG", "jpg": "JPEG"}
TEMPLATES = "a photo of a {c}.\na blurry photo of the {c}.\n"


def image_bytes(kind, number=0):
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), (number * 40, 20, 90)).save(stream, kind)
    return stream.getvalue()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_texts(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in texts.items():
        (folder / f"{name}.txt").write_bytes(content if isinstance(content, bytes) else content.encode())


def write_published(folder, known, extension, label=lambda number: {"cls": str(number).encode()}):
    """Two tar files with two samples each; a classification's are of the first and the last two of its classes."""
    numbers = [0, 1, known.classes - 2, known.classes - 1]
    names = [f"class {number}, no. {number}/x" for number in range(known.classes)]
    if known.is_retrieval:
        write_texts(folder, dataset_type="retrieval\n")
    else:
        write_texts(folder, classnames="\n".join(names) + "\n", zeroshot_classification_templates=TEMPLATES)
    write_texts(folder / "test", nshards="2\n")
    for shard in range(2):
        members: dict[str, bytes] = {}
        for place in (2 * shard, 2 * shard + 1):
            own = (
                {"txt": f"caption {place}\nanother of {place}".encode()}
                if known.is_retrieval
                else label(numbers[place])
            )
            own[extension] = image_bytes(FORMATS[extension], place)
            members |= {f"s{place:07d}.{name}": data for name, data in own.items()}
        write_tar(folder / "test" / f"{shard}.tar", members)
    return numbers, names


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.slug)
def test_a_set_of_the_catalogue_is_read_as_the_hub_has_it(tmp_path, known, extension):
    name = f"wds_{known.data_slug}" if known.is_retrieval or extension == "png" else f"wds_{known.data_slug}_test"
    numbers, names = write_published(tmp_path / name, known, extension)
    assert data_sets(str(tmp_path)) == {known.data_slug: str(tmp_path / name)}
    make_classes = CLASS_SETS.get(known.data_slug)
    read = read_split(str(tmp_path / name), "test", make_classes() if make_classes else None)
    assert read.samples.ids == tuple(f"s{number:07d}" for number in range(4))
    assert [data for _, data in read.samples.stream(1, 4)] == [image_bytes(FORMATS[extension], n) for n in (1, 2, 3)]
    if known.is_retrieval:
        assert read.captions == tuple((f"caption {number}", f"another of {number}") for number in range(4))
    else:
        assert (read.labels, read.classnames) == (tuple(numbers), tuple(names))
        assert read.templates == tuple(TEMPLATES.splitlines())


# What folders on the Hub, or exports by other tools, have otherwise: (texts, a label's members, the names).
QUIRKS: dict[str, tuple[dict[str, str | bytes], dict[str, bytes], tuple[str, ...]]] = {
    "a byte order mark": ({"classnames": b"\xef\xbb\xbfcat\ndog\n"}, {"cls": b"1"}, ("cat", "dog")),
    "Windows' line ends": (
        {"classnames": "cat\r\ndog\r\n", "test/nshards": "1\r\n"},
        {"cls": b"1\r\n"},
        ("cat", "dog"),
    ),
    "no line feed at the end": ({"classnames": "cat\ndog", "test/nshards": "1"}, {"cls": b"1"}, ("cat", "dog")),
    "blank lines at the end": ({"classnames": "cat\ndog\n\n \n"}, {"cls": b"1\n"}, ("cat", "dog")),
    "a class without a name": ({"classnames": "cat\n\ndog\n"}, {"cls": b"2"}, ("cat", "", "dog")),
    "a first class without a name": ({"classnames": "\ncat\ndog\n"}, {"cls": b"2"}, ("", "cat", "dog")),
    "names with spaces around": ({"classnames": " cat \n\tdog\n"}, {"cls": b" 1 "}, ("cat", "dog")),
    "a name twice": ({"classnames": "missile\nmissile\n"}, {"cls": b"1"}, ("missile", "missile")),
    "labels as text members": ({"classnames": "cat\ndog\n"}, {"cls.txt": b"1"}, ("cat", "dog")),
    "labels in capitals": ({"classnames": "cat\ndog\n"}, {"CLS": b"1"}, ("cat", "dog")),
    "metadata next to them": ({"classnames": "cat\ndog\n"}, {"cls": b"1", "json": b"{}", "npy": b"?"}, ("cat", "dog")),
    "a mask next to them": ({"classnames": "cat\ndog\n"}, {"cls": b"1", "mask.png": b"no image"}, ("cat", "dog")),
    "a type of its own": (
        {"classnames": "cat\ndog\n", "dataset_type": b"\xef\xbb\xbfClassification\n"},
        {"cls": b"1"},
        ("cat", "dog"),
    ),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_published_folders_texts_are_read_as_they_are(tmp_path, quirk):
    texts, label, names = QUIRKS[quirk]
    folder = tmp_path / "wds_pets"
    write_texts(folder / "test", nshards="1\n")
    write_texts(folder, zeroshot_classification_templates=b"\xef\xbb\xbfa {c}\n\n", **texts)
    members = {f"s0000000.{name}": data for name, data in label.items()}
    write_tar(folder / "test" / "0.tar", members | {"s0000000.webp": image_bytes("WEBP")})
    read = read_split(str(folder), "test")
    assert (read.classnames, read.templates, read.samples.ids) == (names, ("a {c}",), ("s0000000",))
    assert read.labels == (len(names) - 1,)
    assert [data for _, data in read.samples.stream(0, 1)] == [image_bytes("WEBP")]


# (members' names, the samples' ids): the first of each is the image, the second its label.
KEYS = {
    "jpeg": ([("a.jpeg", "a.cls"), ("b.JPEG", "b.cls")], ("a", "b")),
    "capitals": ([("N0001.JPG", "N0001.cls"), ("N0002.Png", "N0002.cls")], ("N0001", "N0002")),
    "ImageNet's": ([("ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000001.cls")], ("ILSVRC2012_val_00000001",)),
    "folders": ([("cat/0.png", "cat/0.cls"), ("dog/0.png", "dog/0.cls")], ("cat/0", "dog/0")),
    "as tar makes them": ([("./0.png", "./0.cls"), ("./1.png", "./1.cls")], ("0", "1")),
    "hidden files between": ([("0.png", "0.cls"), ("._1.png", ".DS_Store"), ("1.png", "1.cls")], ("0", "1")),
    "names of members": ([("0.image.png", "0.label.cls"), ("1.image.png", "1.label.cls")], ("0", "1")),
    "spaces and signs": ([("a b-c (1).webp", "a b-c (1).cls")], ("a b-c (1)",)),
    "zero twice": ([("0.png", "0.cls"), ("1.png", "1.cls"), ("0.png", "0.cls")], ("0", "1", "0-1")),
    "one key alone": ([("0.png", "0.cls")] * 3, ("0", "0-1", "0-2")),
    "the other way": ([("x.tif", "x.cls"), ("y.bmp", "y.cls"), ("z.gif", "z.cls")], ("x", "y", "z")),
}


@pytest.mark.parametrize("naming", KEYS)
def test_members_are_samples_however_they_are_named(tmp_path, naming):
    pairs, ids = KEYS[naming]
    folder = tmp_path / "wds_pets"
    write_texts(folder, classnames="cat\n", zeroshot_classification_templates="{c}\n")
    write_texts(folder / "test", nshards="1\n")
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for place, pair in enumerate(pairs):
            for name, data in zip(pair, (f"image {place}".encode(), b"0"), strict=True):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    read = read_split(str(folder), "test")
    assert read.samples.ids == ids
    kept = [place for place, (image, _) in enumerate(pairs) if not image.startswith("._")]
    assert [data for _, data in read.samples.stream(0, len(ids))] == [f"image {place}".encode() for place in kept]


def test_keys_that_begin_anew_in_each_tar_are_samples_of_their_own(tmp_path):
    folder = tmp_path / "wds_pets"
    write_texts(folder, classnames="cat\ndog\n", zeroshot_classification_templates="{c}\n")
    write_texts(folder / "test", nshards="2\n")
    for shard in range(2):
        write_tar(folder / "test" / f"{shard}.tar", {"0.png": b"image", "0.cls": str(shard).encode()})
    read = read_split(str(folder), "test")
    assert (read.samples.ids, read.labels) == (("0", "0-1"), (0, 1))


@pytest.mark.parametrize(
    ("members", "captions"),
    [
        ({"txt": b"a\nb\n"}, ("a", "b")),
        ({"txt": b"\xef\xbb\xbfa\n\nb"}, ("a", "b")),
        ({"json": json.dumps(["a", None, "b", " "]).encode()}, ("a", "b")),
        ({"json": json.dumps({"captions": ["a", "b"], "id": 0}).encode()}, ("a", "b")),
        ({"json": json.dumps({"caption": "a\nb"}).encode()}, ("a", "b")),
        ({"json": b'"a"'}, ("a",)),
        ({"json": b'["not read"]', "txt": b"a"}, ("a",)),
    ],
)
def test_captions_are_lines_or_json(tmp_path, members, captions):
    folder = tmp_path / "wds_flickr"
    write_texts(folder, dataset_type="Retrieval\n")
    write_texts(folder / "test", nshards="1\n")
    write_tar(folder / "test" / "0.tar", {f"0.{name}": data for name, data in members.items()} | {"0.jpg": b"image"})
    assert read_split(str(folder), "test").captions == (captions,)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_voc_with_all_its_labels_has_vectors(tmp_path, dtype):
    known = BY_SLUG["voc2007"]

    def vector(number):
        stream = io.BytesIO()
        np.save(stream, np.eye(known.classes, dtype=dtype)[number])
        return {"npy": stream.getvalue()}

    folder = tmp_path / "wds_voc2007_multilabel"
    numbers, _ = write_published(folder, known, "webp", vector)
    write_texts(folder, dataset_type="multilabel\n")
    read = read_split(str(folder), "test")
    assert read.is_of is not None
    assert [row.nonzero()[0].tolist() for row in read.is_of] == [[number] for number in numbers]


# The trees of the authors: (set, a path below its folder, the class that it is).
TREES = [
    ("imagenet1k", "val/n01440764/ILSVRC2012_val_00000293.JPEG", 0),
    ("imagenet-a", "n01498041/0.000116_digital clock _ digital clock_0.865662.jpg", 0),
    ("imagenet-r", "n01443537/art_0.jpg", 0),
    ("imagenet_sketch", "n01440764/sketch_0.JPEG", 0),
    ("imagenetv2", "0/07478fb4b8a9d9a4b1ef7ff3f4b9d6ef0a0ef3c2.jpeg", 0),
    ("imagenetv2", "10/0c2a8e9b.jpeg", 10),
    ("objectnet", "air_freshener/0b4cb2e54bd14c0.png", None),
    ("objectnet", "alarm_clock/0d7b2a0ac5ab4d9.png", 0),
]


@pytest.mark.parametrize(("slug", "place", "label"), TREES)
def test_the_authors_trees_are_read_as_they_unpack(tmp_path, slug, place, label):
    root = tmp_path / slug
    (root / place).parent.mkdir(parents=True)
    (root / place).write_bytes(image_bytes("PNG"))
    (root / "README.txt").write_text("of the authors")
    (root / place).with_name(".DS_Store").write_bytes(b"")
    assert layout_of(str(root)) is Layout.IMAGE_FOLDER
    classes = CLASS_SETS[slug]()
    if label is None:
        with pytest.raises(InputError, match="no images in its folders"):
            read_split(str(root), "test", classes)
        return
    read = read_split(str(root), "test", classes)
    assert read.labels == (label,)
    assert read.samples.ids == ("/".join(place.split("/")[-2:]),)
    assert (classes.border == 2) == (slug == "objectnet")
