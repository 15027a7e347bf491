"""The one exception that means "you, not the code": it ends in one line on stderr and exit status 2."""


class UserError(Exception):
    """Something the user asked for cannot be done. The message names the field, the value and what would be right."""
