"""open_clip's own trainer on a tower of ours: ``python -m benchmarks.open_clip_train_peer TOWER OUT FLAGS …``.

FLAGS are open_clip_train's. The tower's tokenizer takes the place of the one by its name, whose vocabulary is larger,
and newer webdatasets' mark of a tar's end, which open_clip_train does not know, is left out.
OUT gets each step's seconds, one a line, from the trainer's own log; OUT with the suffix .cpu the CPU seconds that the
process had taken when each step's backward pass ended.
"""

from __future__ import annotations

import json
import re
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
from open_clip_train import data as peer_data
from open_clip_train import main as peer
from open_clip_train import train as peer_train

from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.towers.tower import load_tower


def main(tower_name: str, out: str, flags: list[str]) -> None:
    tower = load_tower(tower_name)
    with TemporaryDirectory() as folder:
        Path(folder, "peer.json").write_text(json.dumps(tower.model_cfg))
        open_clip.add_model_config(folder)
        peer_data.tar_file_expander = partial(peer_data.tar_file_expander, eof_value=None)
        peer.get_tokenizer = lambda *_, **__: tokenizer_for(tower.model_cfg["text_cfg"])
        cpu, backward = Path(out).with_suffix(".cpu"), peer_train.backward

        def counted(*given: Any) -> None:
            backward(*given)
            with cpu.open("a") as stream:
                print(time.process_time(), file=stream)

        peer_train.backward = counted
        logs = ["--logs", folder, "--name", "run", "--log-every-n-steps", "1"]
        peer.main(["--model", "peer", "--dataset-type", "webdataset", *logs, *flags])
        log = Path(folder, "run", "out.log").read_text()
    Path(out).write_text("\n".join(re.findall(r"Batch \(t\): ([0-9.]+)", log)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
