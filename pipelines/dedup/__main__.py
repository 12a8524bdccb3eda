"""`python -m clipsieve.pipelines.dedup`"""

from clipsieve.pipelines.command import run_command
from clipsieve.pipelines.dedup.job import run
from clipsieve.schemas.options import DedupOptions

if __name__ == "__main__":
    raise SystemExit(run_command(run, ("shards", "scores", "out"), DedupOptions))
