"""What a protocol says of the data."""

from types import SimpleNamespace

import numpy as np

from diffjax.config import component
from diffjax.data import Folder
from diffjax.drawing.pictures import save_png
from diffjax.evaluation.evidence import Evidence


def test_a_folder_is_the_same_data_wherever_it_lies_and_others_of_its_name_are_not(tmp_path):
    def protocol(*place, names=("a/0.png", "b/0.png")):
        root = tmp_path.joinpath(*place)
        for name in names:
            save_png(root / name, np.zeros((4, 4, 3), np.uint8))
        config = SimpleNamespace(data=component("data", f"folder:{root}", flip=True))
        experiment = SimpleNamespace(config=config, source=Folder(str(root)))
        return Evidence(experiment, None, 1, 0).data_protocol

    here, there = protocol("here", "faces"), protocol("there", "faces")
    assert here == there and here["data.name"] == "folder:faces" and "data.flip" not in here
    assert protocol("here", "cats") | {"data.name": "folder:faces"} == here
    assert protocol("elsewhere", "faces", names=("a/0.png", "b/1.png")) != here
