"""One global order, whatever path the data takes, on any devices and processes, and after any restart."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from diffjax.data import Digits, Folder, Order, Space, Stream, Toy2D
from diffjax.data.pipeline import columns_of
from diffjax.data.source import in_memory
from diffjax.errors import UserError
from diffjax.parallel import layout

PATHS = {"resident": 2**31, "streamed": 0}


@dataclass(frozen=True)
class Numbered:
    """n images, number i being [[i, 0, 0], [0, 0, 0]]: image and mirrored twin can be told apart."""

    n: int = 20
    flip: bool = False

    space = Space("images", (2, 3, 1), num_classes=200)

    def split(self, name):
        x = np.zeros((self.n, 2, 3, 1), np.uint8)
        x[:, 0, 0, 0] = np.arange(self.n)
        return in_memory(x, np.arange(self.n))


def take(stream, steps):
    return jax.device_get([next(stream) for _ in range(steps)])


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


def test_every_epoch_visits_every_example_once_in_another_order():
    order = Order(101, seed=3)
    epochs = order(np.arange(5 * 101)).reshape(5, 101)
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(101), (5, 101)))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_the_order_is_a_function_of_seed_and_position_alone():
    order = Order(101, seed=3)
    walked = order(np.arange(1000))
    asked = np.random.RandomState(0).permutation(1000)
    np.testing.assert_array_equal(order(asked), walked[asked])
    np.testing.assert_array_equal(order(asked.reshape(10, 100)), walked[asked].reshape(10, 100))
    np.testing.assert_array_equal(Order(101, seed=3)(np.array([777])), walked[[777]])


def test_no_epoch_of_one_seed_is_an_epoch_of_another():
    orders = {tuple(Order(50, seed)(np.arange(50 * e, 50 * (e + 1)))) for seed in range(8) for e in range(8)}
    assert len(orders) == 64


def test_the_order_stays_the_same_for_ever():
    # A run continued with a newer NumPy must see the rest of its epoch, so these numbers may never change.
    np.testing.assert_array_equal(
        Order(10, seed=7)(np.arange(20)), [0, 1, 5, 7, 6, 9, 4, 3, 2, 8, 9, 8, 5, 6, 2, 3, 7, 0, 1, 4]
    )


def test_first_examples_are_spread_evenly():
    first = np.bincount([Order(10, seed)(np.array([0]))[0] for seed in range(2000)], minlength=10)
    assert np.sum((first - 200) ** 2 / 200) < 9 + 4 * np.sqrt(18)


@pytest.mark.parametrize("path", PATHS)
def test_a_step_takes_consecutive_blocks_of_the_order(path):
    stream = Stream(Numbered(), 5, 8, 3, layout(), resident_bytes=PATHS[path])
    labels = np.stack([batch["label"] for batch in take(stream, 4)])
    np.testing.assert_array_equal(labels.ravel(), Order(20, 5)(np.arange(4 * 3 * 8)))


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(
    "source",
    [Digits(), Toy2D("ring", num_train=500, labelled=True), Numbered(flip=True)],
    ids=["digits", "ring", "flip"],
)
def test_the_resident_and_the_streamed_path_give_the_same_bits(source, devices):
    resident, streamed = (
        take(Stream(source, 1, 16, 2, layout(devices=devices), resident_bytes=size), 6) for size in PATHS.values()
    )
    assert_same(resident, streamed)
    assert resident[0]["x"].shape == (2, 16, *source.space.shape)
    assert resident[0]["x"].dtype == (np.uint8 if source.space.kind == "images" else np.float32)
    assert resident[0]["label"].dtype == resident[0]["position"].dtype == np.int32


@pytest.mark.parametrize("path", PATHS)
def test_the_number_and_the_layout_of_devices_change_nothing_but_the_place(path):
    layouts = [layout(devices=1), layout(), layout(fsdp=4), layout("pmap")]
    streams = [Stream(Digits(), 1, 16, 1, where, resident_bytes=PATHS[path]) for where in layouts]
    batches = [next(stream) for stream in streams]
    for batch, where in zip(batches, layouts, strict=True):
        for value in batch.values():
            assert value.sharding.is_equivalent_to(where.batch, value.ndim)
        assert_same(jax.device_get([batch]), jax.device_get(batches[:1]))
    np.testing.assert_array_equal(batches[1]["position"], [np.arange(16)])


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_continues_identically_from_a_saved_position(path):
    def stream(**options):
        return Stream(Numbered(flip=True), 5, 8, 2, layout(), resident_bytes=PATHS[path], **options)

    walked = stream()
    take(walked, 3)
    position = walked.position
    assert position == {"next_position": 3 * 2 * 8}
    rest = take(walked, 5)
    sought = stream()
    take(sought, 1)
    sought.seek(position)
    assert sought.position == position
    assert_same(take(sought, 5), rest)
    assert_same(take(stream(start_step=3), 5), rest)


def test_a_position_within_a_step_is_an_error():
    with pytest.raises(UserError, match=r"train\.batch_size: 8"):
        Stream(Numbered(), 5, 8, 2, layout()).seek({"next_position": 24})


def test_a_batch_that_the_devices_cannot_share_is_an_error():
    with pytest.raises(UserError, match=r"train\.batch_size: 12"):
        Stream(Numbered(), 5, 12, 1, layout())


@pytest.mark.parametrize("path", PATHS)
def test_with_flip_an_epoch_holds_every_image_and_its_mirrored_twin_once(path):
    n = 20
    stream = Stream(Numbered(n, flip=True), 2, 8, 1, layout(), resident_bytes=PATHS[path])
    batches = take(stream, 2 * n // 8)
    x = np.concatenate([batch["x"][0] for batch in batches])
    label = np.concatenate([batch["label"][0] for batch in batches])
    index = Order(2 * n, 2)(np.arange(2 * n))
    upright = Numbered(n).split("train").arrays()["x"]
    np.testing.assert_array_equal(x, np.concatenate([upright, upright[:, :, ::-1]])[index])
    np.testing.assert_array_equal(label, index % n)


@pytest.mark.parametrize("path", PATHS)
def test_the_next_batch_is_asked_for_without_an_implicit_transfer(path):
    stream = Stream(Numbered(flip=True), 5, 8, 2, layout(), resident_bytes=PATHS[path])
    next(stream)
    with jax.transfer_guard("disallow"):
        next(stream)


@pytest.mark.parametrize("shares", [(8,), (4, 4), (2, 6), (1,) * 8, (3, 5)])
@pytest.mark.parametrize("fsdp", [1, 4])
def test_the_shares_of_the_processes_are_disjoint_and_cover_the_global_batch(shares, fsdp):
    where = layout(fsdp=fsdp)
    devices = iter(jax.devices())
    columns = [columns_of([next(devices) for _ in range(share)], where, 24) for share in shares]
    np.testing.assert_array_equal(np.sort(np.concatenate(columns)), np.arange(24))
    assert [len(part) for part in columns] == [3 * share for share in shares]


def test_a_damaged_image_ends_a_streamed_run_with_its_name(tmp_path):
    for i in range(20):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "07.png").write_bytes((tmp_path / "07.png").read_bytes()[:45])
    stream = Stream(Folder(str(tmp_path), heldout=0.01), 0, 8, 1, layout(), resident_bytes=0)
    with pytest.raises(UserError, match=r"07\.png cannot be read"):
        take(stream, 3)


PROCESS = """
import sys
from diffjax import parallel
parallel.start()
import jax, numpy as np
from diffjax.data import Digits, Stream
assert jax.process_count() == 2 and jax.device_count() == 4
for size in (2**31, 0):
    stream = Stream(Digits(), 1, 16, 2, parallel.layout(fsdp=2), resident_bytes=size)
    for step in range(3):
        batch = next(stream)
        for name, value in batch.items():
            for shard in value.addressable_shards:
                np.save(f"{sys.argv[1]}/{size}-{step}-{name}-{shard.index[1].start or 0}.npy", np.asarray(shard.data))
"""


@pytest.mark.slow
def test_two_processes_together_hold_the_batch_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"DIFFJAX_COORDINATOR": f"127.0.0.1:{port}", "DIFFJAX_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    shared["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path)],
            cwd=Path(__file__).parents[2],
            env=os.environ | shared | {"DIFFJAX_PROCESS": str(i)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    expected = take(Stream(Digits(), 1, 16, 2, layout(devices=1)), 3)
    for size in (2**31, 0):
        for step, batch in enumerate(expected):
            for name, value in batch.items():
                parts = [np.load(tmp_path / f"{size}-{step}-{name}-{start}.npy") for start in (0, 4, 8, 12)]
                np.testing.assert_array_equal(np.concatenate(parts, 1), value)
