"""How a command can fail in ways that are nobody's bug, each with an exit status of its own."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says when a disk, a quota or a file is full
TAKEN = 75  # the exit status of a run of a table that another process has in hand (EX_TEMPFAIL: try again later)


class UserError(Exception):
    """Something asked for cannot be done: status 2. The message names the field, the value and what would be right."""

    def about(self, field: str, known_as: str) -> "UserError":
        """The same complaint of a field that whoever hears it knows by another name; of other fields it stays."""
        said = str(self)
        return UserError(f"{known_as}{said.removeprefix(field)}") if said.startswith(field) else self


class FieldError(UserError):
    """What is wrong with a field's value, in parts, for whoever knows the field, or the value, by another name."""

    def __init__(self, field: str, value: str, reason: str, remedy: str = ""):
        super().__init__(f"{field}: {value}{reason}{'; ' if remedy else ''}{remedy}")
        self.field, self.value, self.reason = field, value, reason


class Taken(UserError):
    """A run directory is in another live process's hands."""


class Diverged(Exception):
    """A loss, a gradient or a sample is not finite: status 3. The message says when, where, and what is still good."""
