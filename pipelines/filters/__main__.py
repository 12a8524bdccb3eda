"""`python -m pipelines.filters`"""

from pipelines.command import run_command
from pipelines.filters import run
from schemas.options import FilterOptions

if __name__ == "__main__":
    raise SystemExit(run_command(run, ("scores", "out"), FilterOptions))
