"""The model card: README.md of a model folder, from its manifest and ledger, in the Hub's form."""

from __future__ import annotations

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.ledger import Ledger
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.tokenizer import MERGES_NAME, PIECES_NAME
from clipsieve.schemas.training_data import BAD_SAMPLES_NAME
from clipsieve.training.towers.tower import Tower

CARD_NAME = "README.md"
_HEADER = """---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags: [clip, clipsieve]
---
"""
_LOAD = """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
"""
_TOKENIZER = {
    MERGES_NAME: 'tokenizer = open_clip.tokenizer.SimpleTokenizer("FOLDER/bpe.txt.gz", context_length={length}{clean})',
    PIECES_NAME: 'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")  # transformers has to be installed',
}


def write_card(folder: str, manifest: Manifest, tower: Tower, ledger: Ledger) -> None:
    """Write the card of a model: what it was trained on, how, at what cost, and where its results are."""
    name = files.name_of(folder)
    parts = [
        f"{_HEADER}\n# {name}",
        f"A CLIP model of the tower `{tower.name}`, trained with clipsieve {manifest.versions['clipsieve']}.",
        f"## Use\n\n```python\n{_LOAD}{_tokenizer_line(tower)}\n```",
        f"## Data\n\n{_data(manifest)}",
        f"## Compute\n\n{_compute(ledger)}",
        f"## Evaluation\n\nResults of this model are in `evaluations/{name}` of the run's folder, if it was evaluated.",
        f"## Recipe\n\n```json\n{strict_json.dumps(manifest.asked, indent=1, ensure_ascii=False)}\n```",
        f"## Origin\n\n{_table(manifest.given | {'weights': str(manifest.digest)}, 'digest of')}",
        f"## Versions\n\n{_table(manifest.versions, 'package')}",
    ]
    files.write_bytes(files.join(folder, CARD_NAME), ("\n\n".join(parts) + "\n").encode())


def _tokenizer_line(tower: Tower) -> str:
    text_cfg = tower.model_cfg["text_cfg"]
    if text_cfg.get("hf_tokenizer_name"):
        return _TOKENIZER[PIECES_NAME]
    clean = (text_cfg.get("tokenizer_kwargs") or {}).get("clean")
    return _TOKENIZER[MERGES_NAME].format(
        length=text_cfg.get("context_length", 77), clean=f', clean="{clean}"' if clean else ""
    )


def _data(manifest: Manifest) -> str:
    counts = manifest.counted(TrainCounts)
    members, lacking, unfinished, distinct = counts.pairs + (counts.missing or 0), "", "", ""
    if counts.missing:
        lacking = f" ({counts.pairs / members:.2%} of its members; {counts.missing:,} are missing)"
    if counts.of_steps:
        unfinished = f" of the run's {counts.of_steps:,} (a checkpoint of a run that was not done)"
    if counts.unique_samples is not None:
        distinct = f", {counts.unique_samples:,} of them distinct"
    return (
        f"Trained on {_chosen(manifest)}{lacking}: {counts.pairs:,} pairs, {counts.samples_seen:,} samples seen in "
        f"{counts.steps:,} steps{unfinished}{distinct}{_bad(counts)}. `manifest.json` holds the digests by which the "
        "folders of shards and subsets can be told."
    )


def _bad(counts: TrainCounts) -> str:
    if not counts.bad_samples:
        return ""
    return f"; {counts.bad_samples:,} pairs could not be read, in their places others were seen (`{BAD_SAMPLES_NAME}`)"


def _chosen(manifest: Manifest) -> str:
    shares = data.shares if (data := manifest.trained_on()) else []
    if len(shares) > 1:
        return "a mixture of subsets, " + " + ".join(f"{share:.0%} `{name}`" for name, share in shares)
    return f"the subset `{shares[0][0]}`" if shares else "every downloaded pair"


def _compute(ledger: Ledger) -> str:
    forward = ledger.image_macs + ledger.text_macs
    rows = {
        "parameters": f"{ledger.parameters:,}",
        "forward pass of a pair": f"{forward / 1e9:.3f} GMAC ({2 * forward / 1e9:.3f} GFLOP)",
        "training, a pair": f"{2 * ledger.training_macs / 1e9:.3f} GFLOP",
        "training, in all": _flops(ledger.training_flops),
        "device-hours": f"{ledger.device_hours:.3g} on {ledger.devices} x {ledger.device}",
    }
    return _table(rows, "")


def _flops(count: float) -> str:
    """In the greatest unit of which there is one."""
    unit, scale = next(((u, s) for u, s in (("PFLOP", 1e15), ("TFLOP", 1e12)) if count >= s), ("GFLOP", 1e9))
    return f"{count / scale:,.1f} {unit}"


def _table(rows: dict[str, str], heading: str) -> str:
    return "\n".join([f"| {heading} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
