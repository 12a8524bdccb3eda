"""What the packages share: tables, identities, recipes, stages, manifests, shards, models. Imports no other package."""

from __future__ import annotations

import os

# GNU OpenMP's threads spin for milliseconds at the end of every operation for one that decoding threads, or others on
# the machine, keep from its core: on a busy one more than half of a step's CPU time (docs/measurements.md). After so
# many turns they sleep. It is read when torch is first imported, and every package imports this one before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
