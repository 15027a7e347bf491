"""What a run directory says of where its numbers come from, and that it is one process's at a time."""

import errno
import fcntl
import json
import os
import subprocess

import pytest

from diffjax.errors import UserError
from diffjax.host import surroundings
from diffjax.host.surroundings import commit, cores, processor
from diffjax.workdir.directory import PLACE, Lock, is_locked, record_config
from tests import tiny


def test_a_commit_is_marked_where_code_was_changed_since_and_not_where_the_ledger_was(tmp_path):
    def git(*words):
        own = ("-c", "user.name=nobody", "-c", "user.email=nobody@nowhere")
        return subprocess.run(["git", "-C", str(tmp_path), *own, *words], check=True, capture_output=True, text=True)

    assert commit(tmp_path) == "unknown"
    for name in ("diffjax/code.py", "experiments/results/table.json", "experiments/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    stands = git("rev-parse", "HEAD").stdout.strip()
    for name, said in (
        ("experiments/results/table.json", stands),
        ("experiments/README.md", stands),
        ("experiments/results/new.json", stands),
        ("script.py", stands),
        ("experiments/new.py", f"{stands}+"),
        ("diffjax/code.py", f"{stands}+"),
    ):
        (tmp_path / name).write_text("2")
        assert commit(tmp_path / "diffjax") == said, name
        if name == "experiments/new.py":
            (tmp_path / name).unlink()


def test_a_processor_has_a_name():
    assert processor().strip()


@pytest.fixture
def sits(tmp_path, monkeypatch):
    """A run of 14 steps, gone on with after so many on a processor: the places that its directory says."""

    def sit(done, name):
        monkeypatch.setattr(surroundings, "processor", lambda: name)
        record_config(tmp_path, tiny.points(train__steps=14), done)
        said = json.loads((tmp_path / "config.json").read_text())
        return said["processor"], [place["after"] for place in said["places"]]

    return sit


def test_a_run_says_where_each_of_its_steps_was_made(sits, tmp_path):
    assert sits(0, "laptop") == ("laptop", [0])
    assert sits(5, "laptop") == ("laptop", [0]), "the same place"
    assert sits(7, "server") == ("mixed: laptop, server after step 7", [0, 7])
    assert sits(12, "laptop") == ("mixed: laptop, server after step 7, laptop after step 12", [0, 7, 12])
    assert sits(10, "server") == ("mixed: laptop, server after step 7", [0, 7]), "steps that were lost are not told of"
    assert sits(14, "tablet") == ("mixed: laptop, server after step 7", [0, 7]), "it had nothing left to make"
    assert json.loads((tmp_path / "config.json").read_text())["cores"] == cores(), "alike everywhere"
    assert sits(0, "tablet") == ("tablet", [0]), "from the beginning"


def test_a_run_that_says_only_where_it_was_last_goes_on(sits, tmp_path):
    sits(0, "laptop")
    old = json.loads((tmp_path / "config.json").read_text())
    del old["places"], old["cores"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert sits(7, "server") == ("mixed: laptop, server after step 7", [0, 7])
    said = json.loads((tmp_path / "config.json").read_text())
    assert said["cores"] == f"mixed: unknown, {cores()} after step 7" and set(PLACE) < set(said)


def test_whether_a_directory_is_in_hand(tmp_path):
    assert not is_locked(tmp_path / "run")
    with Lock(tmp_path / "run"):
        assert is_locked(tmp_path / "run")
    assert not is_locked(tmp_path / "run")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_that_locks_no_files_is_one_line(tmp_path, monkeypatch, number):
    def refuses(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(UserError, match=rf"`workdir`: {tmp_path} is on a file system .* \({os.strerror(number)}\)"):
        Lock(tmp_path).__enter__()
