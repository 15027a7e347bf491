"""The front door as a user meets it: a command that must fail, and one that must succeed."""

import launch
from tests import tiny


def one_line(capsys, *words) -> str:
    """What a command that must fail says: status 2, one line on stderr."""
    capsys.readouterr()
    assert launch.main([str(word) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("launch.py: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


def finished(*words: str, timeout: float = 250) -> str:
    """The output of a command that must succeed, in a process of its own, within so many seconds."""
    process = tiny.launch(*words)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out
