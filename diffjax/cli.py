"""What all commands share: parsing, process set-up, and errors as one line on stderr with an exit status.

Importing this module must stay cheap: `--help` should not wait for JAX.
"""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from diffjax.errors import NO_ROOM, TAKEN, Diverged, Taken, UserError, suggestion

EMPTY = "is empty (an unset shell variable?); give a value or omit the flag"


class Parser(argparse.ArgumentParser):
    """An argument parser that raises a UserError of one line and suggests what the user may have meant."""

    def parse_args(self, args=None, namespace=None):
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {self._describe(unknown)}")
        return namespace

    def _describe(self, unknown: list[str]) -> str:
        """Words that no option accepts, and why: empty, an option of another command, or probably misspelt."""
        text = " ".join(unknown)
        if not text.strip():
            return f"'' {EMPTY}"
        name = (text.split("=")[0].split() or [""])[0]
        commands = {key: p for a in self._actions if isinstance(a.choices, dict) for key, p in a.choices.items()}
        owners = [command for command, parser in commands.items() if name in parser._option_string_actions]
        if owners:
            return f"{text}; it goes with {', '.join(owners)}"
        options = [option for parser in (*commands.values(), self) for option in parser._option_string_actions]
        return text + suggestion(name, options)

    def _check_value(self, action, value):  # argparse calls it for every value of an argument with choices
        if action.choices is not None and value not in action.choices:
            choices = ", ".join(map(repr, action.choices))
            message = f"invalid choice: {value!r} (choose from {choices}){suggestion(value, action.choices)}"
            raise argparse.ArgumentError(action, message)

    def error(self, message):
        raise UserError(f"{message} ({self.prog} --help explains)")


def guarded(name: str, act: Callable[[argparse.Namespace], int]) -> int:
    """Runs a command and returns its exit status; an expected failure becomes one line on stderr and its own status.

    `act` parses its command line into the namespace it receives: its --workdir or --out is named where a file cannot be
    written.
    """
    arguments = argparse.Namespace()

    def fail(status: int, message: object) -> int:
        print(f"{name}: {with_flags(str(message), vars(arguments))}", file=sys.stderr)
        return status

    try:
        return act(arguments)
    except Taken as error:
        return fail(TAKEN if getattr(arguments, "run", None) else 2, error)
    except UserError as error:
        return fail(2, error)
    except Diverged as error:
        return fail(3, error)
    except KeyboardInterrupt:
        return fail(130, "interrupted; what is complete is kept, and the same command makes the rest")
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        path = error.filename or getattr(arguments, "workdir", None) or getattr(arguments, "out", "")
        barred = isinstance(error, PermissionError | NotADirectoryError | FileExistsError | IsADirectoryError)
        if barred or error.errno == errno.EROFS:
            verb = "open" if isinstance(error, PermissionError) else "write"
            return fail(2, f"cannot {verb} {path} ({error.strerror}); choose another path")
        if error.errno not in NO_ROOM:
            raise
        return fail(2, f"no room to write {path} ({error.strerror}); free some space and run it again")


def with_flags(message: str, arguments: Collection[str]) -> str:
    """The message of an error of the library with its fields as flags: "`ema=0.1`: ..." becomes "--ema=0.1: ...".

    Only the command's own `arguments` and keys of its config, such as `config.sampler.steps`, are flags.
    """

    def flag(field: re.Match) -> str:
        name = field[1].partition(".")[0]
        return f"--{field[1]}{field[2] or ''}" if name == "config" or name in arguments else field[0]

    return re.sub(r"`([a-z][\w.]*)(=[^`]*)?`", flag, message)


def set_up() -> None:
    """Prepares the process for its first computation: the compilation cache, XLA's flags, and the other hosts."""
    from diffjax.host.caches import cache_directory

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_directory() / "xla"))  # JAX reads it when imported
    from diffjax import parallel
    from diffjax.host.xla import choose_kernels

    choose_kernels()
    parallel.start()


def given(arguments) -> dict[str, Any]:
    """The flags that the command line sets, also to 0, with their values."""
    return {
        flag: value
        for flag, value in vars(arguments).items()
        if flag != "command" and value not in (None, "", []) and value is not False
    }


def word(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(EMPTY)
    return text


def place(text: str) -> str:
    """A file, folder or data source; a leading ~ is expanded, as shells leave it alone after `--flag=`."""
    return os.path.expanduser(word(text))


def path(text: str) -> Path:
    return Path(place(text))


def split_commas(text: str | None) -> tuple[str, ...]:
    """The items of a list separated by commas, without empty ones."""
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


def split_overrides(words: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Splits a command line into its other words and its overrides.

    An override `--config.a.b=v` or `--config.a.b v` is returned as ("a.b", "v").
    """
    others, overrides, remaining = [], [], iter(words)
    for word in remaining:
        if not word.startswith("--config."):
            others.append(word)
            continue
        path, equals, value = word.removeprefix("--config.").partition("=")
        if not equals and (value := next(remaining, None)) is None:
            raise UserError(f"{word}: no value; write {word}=VALUE")
        overrides.append((path, value))
    return others, overrides
