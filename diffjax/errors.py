"""Expected failures of a command, each with its own exit status; every other exception is a bug."""

import difflib
import errno
from collections.abc import Iterable

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, an exhausted quota, or a file at its size limit
TAKEN = 75  # exit status of a table's run that another process holds (EX_TEMPFAIL: try again later)


class UserError(Exception):
    """A mistake of the user's: status 2. The message names the field, its value, and what would be right.

    Arguments stand in backticks, as `guidance` or `guidance=3`, and so do keys of a config that overrides set, as
    `config.sampler.steps`. A command prints them as its flags (diffjax/cli.py).
    """

    def about(self, field: str, known_as: str) -> "UserError":
        """The same error with `field` renamed to `known_as`; unchanged if it is about another field."""
        message = str(self)
        return UserError(f"{known_as}{message.removeprefix(field)}") if message.startswith(field) else self


class FieldError(UserError):
    """A UserError whose parts are kept, so that a caller can rename the field or replace the value."""

    def __init__(self, field: str, value: str, reason: str, remedy: str = ""):
        super().__init__(f"{field}: {value}{reason}{'; ' if remedy else ''}{remedy}")
        self.field, self.value, self.reason = field, value, reason


def suggestion(word: str, words: Iterable[str]) -> str:
    """The end of an error message about a word: "; did you mean ...?", or nothing."""
    matches = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


class Taken(UserError):
    """A run directory is held by another live process."""


class Diverged(Exception):
    """A loss, a gradient or a sample is not finite: status 3. The message names what, when, and what is still good."""
