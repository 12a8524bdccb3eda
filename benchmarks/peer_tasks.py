"""Task folders that CLIP_benchmark reads as well, made of the quickstart's pictures; and CLIP_benchmark run on them.

``python -m benchmarks.peer_tasks FILE`` writes its figures on them as JSON, the golden ones of the tests. The pictures
are public domain, many of them transparent.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.images import decode_image
from clipsieve.schemas.models import load_model

PEER = "CLIPSIEVE_CLIP_BENCHMARK_PYTHON"
"""Names the interpreter of an environment with clip-benchmark 1.6.2 and numpy 2.2.6."""
WORDS, PHRASES, REPEATS = "words", "phrases", "repeats"
CLASSES = 120
CAPTIONED, REPEATED = 500, 250
TEMPLATES = ("clip art of a {c}.", "a picture of the {c}", "{c}")
BUILTIN = Path(str(resources("clipsieve.pipelines") / "builtin"))
_DRIVER = Path(__file__).with_name("clip_benchmark_peer.py")
_MADE = {
    "command": "python -m benchmarks.peer_tasks FILE",
    "packages": {"clip-benchmark": "1.6.2", "numpy": "2.2.6"},
    "model": "the builtin reference",
    "precision": "float32",
    "tolerance": 1e-4,
    "why": (
        "of each number of an embedding of unit length: other processors and versions of torch differ by 1e-6, a pixel "
        "that is resized to the next level by 1e-5. A metric may differ by one sample, the choice between near ties."
    ),
}


def write_tasks(data: Path, most: int | None = None) -> None:
    """Write into ``data`` ``wds_words``, 120 classes, ``wds_phrases``, one to seven captions an image, and
    ``wds_repeats``, likewise, in which captions and pictures stand more than once; of each ``most`` images."""
    pairs, retrieval = quickstart_pairs(), {"dataset_type": ["retrieval"]}
    labelled, texts = labelled_words(pairs)
    write_folder(data / f"wds_{WORDS}", labelled[:most], texts)
    write_folder(data / f"wds_{PHRASES}", _captioned(pairs)[:CAPTIONED][:most], retrieval)
    repeated = [(pair["image"], {"txt": "\n".join(_captions(pair, 1 + row % 7))}) for row, pair in enumerate(pairs)]
    write_folder(data / f"wds_{REPEATS}", repeated[:REPEATED][:most], retrieval)


def write_group(data: Path) -> None:
    """Write ``wds_group``, half of `WORDS` to learn from and half to try, and ``wds_group2``: the same images to try,
    under other labels, as ReaL's are."""
    labelled, texts = labelled_words(quickstart_pairs())
    classes = len(texts["classnames"])
    other = [(image, {"cls": str((int(own["cls"]) + 1) % classes)}) for image, own in labelled[::2]]
    write_folder(data / "wds_group", labelled[::2], texts)
    write_folder(data / "wds_group", labelled[1::2], {}, split="train")
    write_folder(data / "wds_group2", other, texts)


def labelled_words(
    pairs: Sequence[dict[str, Any]],
) -> tuple[list[tuple[bytes, dict[str, str]]], dict[str, Sequence[str]]]:
    """Pictures with the class of the first common word of their titles, and the task's text files."""
    found = [re.findall("[a-z]{4,}", pair["title"].lower()) for pair in pairs]
    common = [word for word, _ in sorted(Counter(w for own in found for w in set(own)).items(), key=_rarity)][:CLASSES]
    place = {word: number for number, word in enumerate(sorted(common))}
    labelled = [
        (pair["image"], {"cls": str(place[word])})
        for pair, own in zip(pairs, found, strict=True)
        if (word := next((word for word in own if word in place), None))
    ]
    return labelled, {"classnames": sorted(common), "zeroshot_classification_templates": TEMPLATES}


def quickstart_pairs() -> list[dict[str, Any]]:
    return pq.read_table(
        io.BytesIO((resources("clipsieve.pipelines.quickstart") / "pairs.parquet").read_bytes())
    ).to_pylist()


def write_folder(
    folder: Path,
    samples: Iterable[tuple[bytes, dict[str, str]]],
    texts: Mapping[str, Sequence[str]],
    split: str = "test",
) -> None:
    """Write a task folder's split of one tar: samples of an image and text members, and text files of lines."""
    (folder / split).mkdir(parents=True)
    for name, lines in {**texts, f"{split}/nshards": ["1"]}.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    with tarfile.open(folder / split / "0.tar", "w") as tar:
        for row, (image, members) in enumerate(samples):
            every = {_extension(image): image} | {name: text.encode() for name, text in members.items()}
            for extension, data in every.items():
                info = tarfile.TarInfo(f"s{row:07d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def peer_python() -> str | None:
    """The interpreter that has CLIP_benchmark; None where none is named."""
    return os.environ.get(PEER)


def run_peer(
    folder: Path, model: str, pretrained: str = "", merges: str = "", split: str = "test"
) -> tuple[dict[str, Any], np.ndarray]:
    """CLIP_benchmark's metrics of one task folder's split and its image embeddings float32[N, D]."""
    with TemporaryDirectory() as out:
        command = [str(peer_python()), "-I", str(_DRIVER), model, pretrained, merges, str(folder), out, split]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClipsieveError(f"CLIP_benchmark: {done.stderr.strip().splitlines()[-1]}")
        return json.loads((Path(out) / "metrics.json").read_text()), np.load(Path(out) / "images.npy")


def builtin_peer(folder: Path, split: str = "test") -> tuple[dict[str, Any], np.ndarray]:
    """`run_peer` of the builtin reference."""
    return run_peer(folder, f"local-dir:{BUILTIN}", "", str(BUILTIN / "bpe.txt.gz"), split)


def _captioned(pairs: Sequence[dict[str, Any]]) -> list[tuple[bytes, dict[str, str]]]:
    """Pictures with one to seven captions; none is duplicated, for CLIP_benchmark leaves the order of ties open.

    Captions are told apart by the builtin reference's tokens, of which it reads 16, and pictures as CLIP_benchmark sees
    them, less their transparency: an icon may be nothing but black.
    """
    samples: list[tuple[bytes, dict[str, str]]] = []
    met: set[bytes] = set()
    tokenizer = load_model(str(BUILTIN)).tokenizer
    for row, pair in enumerate(pairs):
        by_tokens = {tokenizer([text]).numpy().tobytes(): text for text in reversed(_captions(pair, 1 + row % 7))}
        captions = [text for tokens, text in reversed(by_tokens.items()) if tokens not in met]
        seen = decode_image(pair["image"], pair["id"]).convert("RGB").resize((64, 64)).tobytes()
        if captions and seen not in met:
            met |= {*by_tokens, seen}
            samples.append((pair["image"], {"txt": "\n".join(captions)}))
    return samples


def _captions(pair: dict[str, Any], count: int) -> list[str]:
    """A picture's title, and what else can be said of where it is from."""
    folders = [part.replace("_", " ") for part in pair["id"].split("/")[:-1]]
    said = [pair["title"], f"by {pair['creator']}", f"{pair['title']} by {pair['creator']}", " ".join(folders)]
    said += [f"a drawing of {pair['title']}", f"{folders[0]}: {pair['title']}", f"clip art of {pair['title']}"]
    return said[:count]


def _rarity(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _extension(image: bytes) -> str:
    return "webp" if image[:4] == b"RIFF" else "png" if image[:4] == b"\x89PNG" else "jpg"


def main(path: str) -> None:
    """Write CLIP_benchmark's figures of the builtin reference as JSON: metrics, and each embedding's first numbers."""
    figures = {}
    with TemporaryDirectory() as scratch:
        write_tasks(Path(scratch))
        for name in (WORDS, PHRASES, REPEATS):
            metrics, images = builtin_peer(Path(scratch) / f"wds_{name}")
            heads = [[round(float(value), 6) for value in row[:4]] for row in images[::50]]
            figures[name] = {"metrics": metrics, "images": len(images), "every_50th_embedding": heads}
    Path(path).write_text(json.dumps({**_MADE, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
