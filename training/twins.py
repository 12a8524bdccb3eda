"""Models that are trained once: a run of which a finished twin lies beside its folder takes that one's files.

A run is what it reads and how it trains: two rows of a recipe, or of several recipes in one output folder, that agree
in this are one training, whatever they are called. Each has its folder, so each study is reported and compared whole.
"""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Mapping, Sequence

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.ledger import LEDGER_NAME, Ledger
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, finish, manifest_path, present_manifest, read_manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.terminal import say
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.training.card import CARD_NAME, write_card
from clipsieve.training.runtime import Runtime
from clipsieve.training.towers.tower import Tower

_COPY_BYTES = 1 << 20


def take_twin(
    out: str,
    options: TrainOptions,
    inputs: Mapping[str, str],
    subsets: Sequence[WeightedSubset],
    tower: Tower,
    runtime: Runtime,
) -> Manifest | None:
    """Make ``out`` of a finished run of the same content beside it; None where there is none, or ``out`` is begun.

    Every process calls it.
    """
    twin = find_twin(out, options, inputs, subsets) if runtime.is_first and not read_manifest(out) else None
    (found,) = runtime.any_of(twin is not None)
    if not found:
        return None
    if twin is not None:
        say(f"{out}: equal to {twin}, which is done: its model is copied", is_error=True)
        with only_writer(out):
            _copy(twin, out, options, subsets, tower)
    runtime.barrier()
    return present_manifest(out)


def find_twin(
    out: str, options: TrainOptions, inputs: Mapping[str, str], subsets: Sequence[WeightedSubset]
) -> str | None:
    """The folder of a finished run of the same content, beside ``out``; None where there is none."""
    wanted = content_key(options, inputs, subsets)
    for folder in files.list_folders(posixpath.dirname(out.rstrip("/")) or "."):
        made = read_manifest(folder) if files.name_of(folder) != files.name_of(out) else None
        if made is None or not made.complete or not isinstance(made.recipe, TrainOptions):
            continue
        if made.counted(TrainCounts).of_steps:  # the model of a checkpoint
            continue
        if content_key(made.recipe, made.inputs, made.subsets) == wanted:
            return folder
    return None


def content_key(options: TrainOptions, inputs: Mapping[str, str], subsets: Sequence[WeightedSubset]) -> str:
    """SHA-256 over what decides a run's weights: its options but those that may change, the digests of what it reads,
    and those of its subsets with their weights."""
    chosen = options.model_dump(mode="json", exclude=set(options.may_change))
    mixed = [[subset.digest, subset.weight] for subset in subsets]
    return files.sha256_text(strict_json.dumps([chosen, dict(inputs), mixed], sort_keys=True))


def _copy(twin: str, out: str, options: TrainOptions, subsets: Sequence[WeightedSubset], tower: Tower) -> None:
    """Every file of ``twin``, but a card and a manifest of its own; the manifest is written last."""
    fs, inner = files.filesystem(twin)
    names = {files.name_of(path) for path in fs.ls(inner, detail=False) if fs.isfile(path)}
    for name in sorted(names - {CARD_NAME, files.name_of(manifest_path(twin))}):
        with files.open_read(files.join(twin, name)) as source, files.atomic_write(files.join(out, name)) as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
    made = present_manifest(twin).model_copy(update={"recipe": options, "subsets": list(subsets)})
    write_card(out, made, tower, Ledger.model_validate_json(files.read_bytes(files.join(twin, LEDGER_NAME))))
    finish(out, made, made.counts, str(made.digest))
