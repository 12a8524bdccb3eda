"""`python -m clipsieve.pipelines.verify RUN_FOLDER`"""

from __future__ import annotations

import sys

from clipsieve.pipelines.verify.job import run
from clipsieve.schemas.errors import ClipsieveError


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m clipsieve.pipelines.verify RUN_FOLDER", file=sys.stderr)
        return 2
    try:
        for check in run(arguments[0]):
            print(f"ok  {check.what}: {check.detail}")
    except ClipsieveError as error:
        print(f"clipsieve.pipelines.verify: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
