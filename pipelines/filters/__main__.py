"""`python -m clipsieve.pipelines.filters`"""

from clipsieve.pipelines.command import run_command
from clipsieve.pipelines.filters.job import run
from clipsieve.schemas.options import FilterOptions

if __name__ == "__main__":
    raise SystemExit(run_command(run, ("scores", "out"), FilterOptions))
