"""Trains a SentencePiece model on captions: T5's and big_vision's kind, a unigram model with an end token."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterable, Iterator

import pyarrow.compute as pc
import sentencepiece
from open_clip.tokenizer import get_clean_fn

from clipsieve.schemas import files
from clipsieve.schemas.counts import TokenizerCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, begin, finish, input_digest, read_manifest
from clipsieve.schemas.options import TokenizerOptions
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.tables import SHARDS, read_table
from clipsieve.schemas.tokenizer import CANONICAL, PIECES_NAME

_THREADS = 8
"""Fixed: the sums of the fit, and so the pieces, depend on it."""


def run(captions: Iterable[str | None], sources: dict[str, str], out: str, options: TokenizerOptions) -> Manifest:
    """Train on ``captions`` into the folder ``out``: ``spiece.model``, for `TrainOptions.tokenizer`, and a manifest.

    ``sources``: the paths that the captions came from, by their kind, for the manifest. Equal captions in equal order
    give equal bytes; a folder that an equal run completed is left as it is. Padding is 0, the end token 1, the unknown
    one 2, as T5 has them. Raises InputError where the captions give fewer pieces than ``vocab_size``.
    """
    inputs = {kind: input_digest(path) for kind, path in sources.items()}
    with only_writer(out):
        if read_manifest(out) is not None and (made := begin(out, options, inputs)).complete:
            return made
        cleaned = _Cleaned(captions, options.canonicalize)
        model = train_pieces(cleaned, options)
        opened = begin(out, options, inputs)
        files.write_bytes(files.join(out, PIECES_NAME), model)
        counts = TokenizerCounts(captions=cleaned.count, vocabulary=options.vocab_size)
        return finish(out, opened, counts, hashlib.sha256(model).hexdigest())


def train_pieces(captions: Iterable[str], options: TokenizerOptions) -> bytes:
    """The SentencePiece model of ``captions``, or of so many drawn from them as ``options`` say."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(draw(captions, options.captions, options.seed)),
            model_writer=model,
            model_type="unigram",
            vocab_size=options.vocab_size,
            shuffle_input_sentence=False,
            num_threads=_THREADS,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rsplit("] ", 1)[-1].strip() or "no caption"
        raise InputError(f"tokenizer: `vocab_size` {options.vocab_size}: {reason}") from error
    return model.getvalue()


def draw(captions: Iterable[str], count: int, seed: int) -> list[str]:
    """``count`` of the captions, or all where there are fewer, each as likely: a reservoir (Vitter 1985, algorithm R).

    SentencePiece can draw too, but by a generator that its seed starts only once in a process.
    """
    rng, drawn = random.Random(seed), []
    for number, caption in enumerate(captions):
        if number < count:
            drawn.append(caption)
        elif (place := rng.randrange(number + 1)) < count:
            drawn[place] = caption
    return drawn


def shard_captions(shards: str) -> Iterator[str | None]:
    """The captions of a shards folder's downloaded pairs, in order."""
    for name in list_shards(shards):
        table = read_table(files.join(shards, f"{name}.parquet"), SHARDS, ("caption", "status"))
        yield from table.filter(pc.equal(table["status"], Status.SUCCESS.value))["caption"].to_pylist()


class _Cleaned:
    """The captions as a tokenizer sees them, without empty ones; ``count`` says how many there were so far."""

    def __init__(self, captions: Iterable[str | None], canonicalize: bool) -> None:
        self._captions, self._clean = captions, get_clean_fn(CANONICAL["clean"] if canonicalize else "whitespace")
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for caption in self._captions:
            if text := self._clean(caption or ""):
                self.count += 1
                yield text
