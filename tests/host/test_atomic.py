"""Files are whole, or as they were."""

import errno

import pytest

from diffjax.host.atomic import atomic_write


def test_a_file_is_there_once_all_of_it_is_and_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "folder" / "numbers.txt"
    with atomic_write(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists() and not list(path.parent.glob("*.txt"))
    assert path.read_text() == "first"
    with pytest.raises(OSError, match="no room"), atomic_write(path) as unfinished:
        unfinished.write_text("sec")
        raise OSError("no room")
    assert path.read_text() == "first" and [file.name for file in path.parent.iterdir()] == ["numbers.txt"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "numbers.txt"),
        (OSError(errno.ENOENT, "No such file or directory", "another.txt"), "another.txt"),
        (OSError("cannot write mode F as PNG"), "cannot write mode F as PNG"),
    ],
)
def test_what_failed_is_told_with_the_file_that_was_asked_for(tmp_path, error, told):
    """A disk that is full names no file; what names another, or has words of its own, keeps them."""
    with pytest.raises(OSError, match=told), atomic_write(tmp_path / "numbers.txt"):
        raise error
