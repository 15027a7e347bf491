"""How a command can fail in ways that are nobody's bug, each with an exit status of its own."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says when a disk, a quota or a file is full
TAKEN = 75  # the exit status of a run of a table that another process has in hand (EX_TEMPFAIL: try again later)


class UserError(Exception):
    """Something asked for cannot be done: status 2. The message names the field, the value and what would be right."""


class Taken(UserError):
    """A run directory is in another live process's hands."""


class Diverged(Exception):
    """A loss, a gradient or a sample is not finite: status 3. The message says when, where, and what is still good."""
