"""Which share of a machine each process of the local backend has."""

import pytest

from diffjax.ablation.local import MEMORY, slots


@pytest.fixture
def gpus(monkeypatch):
    """A machine of two GPUs, as far as the environment says."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.delenv(MEMORY, raising=False)


def shares(number):
    return [dict(slot.environment) for slot in slots(number)]


@pytest.mark.usefixtures("gpus")
def test_each_slot_has_gpus_of_its_own_while_there_are_enough():
    assert shares(0) == shares(2) == [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert shares(1) == [{"CUDA_VISIBLE_DEVICES": "2,5"}]


@pytest.mark.usefixtures("gpus")
def test_more_slots_than_gpus_share_them_and_their_memory():
    found = shares(5)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in found] == ["2", "5", "2", "5", "2"]
    for gpu in "25":
        assert sum(float(share[MEMORY]) for share in found if share["CUDA_VISIBLE_DEVICES"] == gpu) <= 0.9
    assert len({share[MEMORY] for share in found}) == 1


@pytest.mark.usefixtures("gpus")
def test_a_fraction_of_memory_that_the_user_set_stays(monkeypatch):
    monkeypatch.setenv(MEMORY, "0.2")
    assert [share[MEMORY] for share in shares(4)] == ["0.2"] * 4


def test_without_a_gpu_each_slot_has_cores_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = [slot.cores for slot in slots(1)]
    assert len(cores) == 1 and cores[0]
    assert not slots(1)[0].environment
