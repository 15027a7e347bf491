"""The benchmarks run, and time the same networks as their peer: nothing else would notice if they did not."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.measure import FAIR

ROOT = Path(__file__).parents[1]
BENCHMARKS = {"train_step": "--size=digits", "sampler": "--size=digits", "gan_step": "--game=dcgan"}
BENCHMARKS |= {"embed": "--size=cifar10"}


def printed(name, *options):
    command = [sys.executable, "-m", f"benchmarks.{name}", BENCHMARKS[name], "--count=1", *options]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | FAIR)
    assert not out.returncode, out.stdout + out.stderr
    return out.stdout


def check_figures(text, *names):
    figures = json.loads(text.splitlines()[-1])
    assert all(math.isfinite(value) for value in figures.values())
    assert all(figures[name] > 0 for name in ("seconds", "peak", *names))


@pytest.mark.slow
def test_a_folder_is_embedded_in_every_way_that_is_timed():
    command = [sys.executable, "-m", "benchmarks.embed_folder", "--count=70", "--side=16", "--repeats=1"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | FAIR)
    assert not out.returncode and out.stdout.count("images/s") == 5, out.stdout + out.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_measures_us(name):
    check_figures(printed(name, "--only=ours"), "compile", *(("flops", "parameters") if "step" in name else ()))


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("game", ["dcgan", "r3gan"])
def test_the_gans_are_measured_in_pytorch(game):
    pytest.importorskip("torch", reason="needs the extra `parity`")
    check_figures(printed("gan_step", f"--game={game}", "--only=peer"), "parameters")


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", ["train_step", "embed"])
def test_peers_are_measured_beside_whatever_else_is_installed(name):
    pytest.importorskip("torch", reason="needs the extra `parity`")
    check_figures(printed(name, "--only=peer"), "parameters")


@pytest.mark.slow
@pytest.mark.parity
def test_a_benchmark_shows_both_contenders_and_their_ratio():
    pytest.importorskip("torch", reason="needs the extra `parity`")
    lines = printed("gan_step", "--repeats=1").splitlines()
    assert lines[2].split() == ["diffjax", "PyTorch"]
    assert "ratio" in next(line for line in lines if line.startswith("images/s"))
    assert next(line for line in lines if line.startswith("parameters")).endswith("ratio 1.00")


@pytest.mark.parity
@pytest.mark.parametrize("game", ["dcgan", "r3gan", "r3gan_cifar10"])
def test_a_gan_and_its_peer_have_weights_of_the_same_shapes(game):
    torch = pytest.importorskip("torch", reason="needs the extra `parity`")
    from benchmarks import gan_peer, ours
    from benchmarks.sizes import GAMES

    method = ours.gan(GAMES[game], "float32")
    batch = {"x": np.zeros((2, 1, *method.space.shape), np.uint8), "label": np.zeros((2, 1), np.int32)}
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    with torch.device("meta"):
        theirs = gan_peer.networks(GAMES[game])
    for player, network in zip(("generator", "discriminator"), theirs, strict=True):
        weights, expected = jax.tree.leaves(state.params[player]["params"]), list(network.parameters())
        assert sum(w.size for w in weights) == sum(w.numel() for w in expected)
        # PyTorch has the axes of a kernel in another order.
        assert Counter(tuple(sorted(w.shape)) for w in weights) == Counter(tuple(sorted(w.shape)) for w in expected)
