"""What a run directory says of where its numbers come from."""

import subprocess

from diffjax.workdir import commit, processor


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
        ("diffjax/code.py", f"{stands}+"),
    ):
        (tmp_path / name).write_text("2")
        assert commit(tmp_path / "diffjax") == said, name


def test_a_processor_has_a_name():
    assert processor().strip()
