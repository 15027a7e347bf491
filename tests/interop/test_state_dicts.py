"""Files of weights of other libraries."""

import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffjax.errors import UserError
from diffjax.interop.state_dicts import read

STATE = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2, np.float32)}


def test_a_state_dict_comes_back_as_it_was_saved(tmp_path):
    np.savez(tmp_path / "x.npz", **STATE)
    save_file(STATE, tmp_path / "x.safetensors")
    for name in ("x.npz", "x.safetensors"):
        found = read(tmp_path / name)
        assert found.keys() == STATE.keys()
        for key, value in STATE.items():
            np.testing.assert_array_equal(found[key], value)


def test_what_reads_a_file_is_named_when_it_is_not_installed(monkeypatch, tmp_path):
    for module, reader, name in (("torch", "PyTorch", "x.pth"), ("safetensors", "safetensors", "x.safetensors")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=rf"needs {reader}; pip install -e '\.\[weights\]'"):
            read(tmp_path / name)
