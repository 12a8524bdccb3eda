"""`python -m pipelines.dedup`"""

from pipelines.command import run_command
from pipelines.dedup import run
from schemas.options import DedupOptions

if __name__ == "__main__":
    raise SystemExit(run_command(run, ("shards", "scores", "out"), DedupOptions))
