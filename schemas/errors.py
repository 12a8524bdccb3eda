"""Errors that a user sees: one line that names the file, row and field and what to do, and an exit status."""

from __future__ import annotations


class ClipsieveError(Exception):
    """A failed job (exit status 1). The message is one line, fit to be shown without a traceback."""

    exit_status = 1


class InputError(ClipsieveError):
    """Bad input: a file, row, field, recipe or option that the user can mend (exit status 2)."""

    exit_status = 2


class BudgetError(ClipsieveError):
    """More rows failed than the recipe allows; the work done is kept (exit status 3)."""

    exit_status = 3
