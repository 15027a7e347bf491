"""The page of a report: its sliders, moved in a browser; what they say of a frame; and that it is written whole."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from diffjax import pictures
from diffjax.ablation import page
from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import Evaluation, Task
from diffjax.config import component
from diffjax.writer import write_json

NAMES = ("google-chrome", "chrome", "chromium")
FOUND = [path for path in map(shutil.which, NAMES) if path and "/snap/" not in path]  # a snap cannot read /tmp
BROWSER = FOUND[0] if FOUND else None
in_a_browser = pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(NAMES)} is on the PATH to run the script in")

FRAMES = ("forward/0001_of_1000", "forward/1000_of_1000", "film/00", "film/01", "film/02")
THERE = ["t = 1 of 1000, sigma = 0.08", "t = 1000 of 1000, sigma = 80"]
# Karras et al.'s times, ((80^(1/7) + 0.002^(1/7)) / 2)^7 = 2.515 the middle one; and sigma = 80 t.
BACK = [
    "step 1 of 3, t = 1000 of 1000, sigma = 80", "step 2 of 3, t = 31.44 of 1000, sigma = 2.52",
    "step 3 of 3, t = 0.025 of 1000, sigma = 0.002",
]  # fmt: skip

LISTEN = "<script>const faults=[];addEventListener('error',fault=>faults.push(fault.message))</script>"
MOVE = """<script>
const seen=[];
try{for(const film of document.querySelectorAll('.film')){
  const image=film.querySelector('img'),slider=film.querySelector('input'),said=film.querySelector('output');
  const look=()=>seen.push([said.value,image.src]);
  look();
  for(let place=0;place<=slider.max;place++){slider.value=place;slider.dispatchEvent(new Event('input'));look()}
}}catch(fault){faults.push(String(fault))}
const told=document.createElement('pre');told.id='told';told.textContent=JSON.stringify({seen,faults});
document.body.append(told)</script>"""


def run(root, **config):
    """A run with both films, whose config.json has these components."""
    task = Task("abc", 0, "", source="configs/x.py", evaluations=[Evaluation("e", {"eta": "0.0"}, {}, "")])
    for grey, name in enumerate(FRAMES):
        pictures.save_png(task.workdir(root) / f"{name}.png", np.full((1, 1), grey, np.uint8))
    write_json(task.workdir(root) / "config.json", {"config": config})
    return task


def files(root):
    """The frames of both films, as they lie in the run's directory."""
    return [(root / "abc" / f"{name}.png").read_bytes() for name in FRAMES]


def edm(**changes):
    """What a run of EDM says of how it was drawn."""
    sampler = component("sampler", "heun", steps=3).to_dict() | changes
    return {"method": {"name": "diffusion", "process": component("process", "edm").to_dict()}, "sampler": sampler}


def written(tmp_path, task):
    experiment = read(Path(__file__).with_name("moons.py"))
    path = tmp_path / "page.html"
    page.write(path, [(experiment, "hour", Cells(experiment.paper, []), [task])], tmp_path)
    return path


def films(path):
    """What the page says of each frame of each of its films, and which frame it is."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', path.read_text())
    return [json.loads(data) for data in found]


def words(path):
    return [[said for said, _ in film] for film in films(path)]


@in_a_browser
def test_a_slider_shows_the_frame_it_stands_at_and_says_which_it_is(tmp_path):
    told = opened(written(tmp_path, run(tmp_path, **edm())).read_text(), tmp_path)
    assert told["faults"] == []
    frames = list(zip(THERE + BACK, files(tmp_path), strict=True))
    there, back = frames[: len(THERE)], frames[len(THERE) :]
    seen = [(said, base64.b64decode(source.removeprefix("data:image/png;base64,"))) for said, source in told["seen"]]
    assert seen == [there[-1], *there, back[-1], *back]  # each film at its end before anybody moves it


@in_a_browser
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("step.oninput=show;", ""),  # deaf
        ("frames[step.value]", "frames[0]"),
        ("film.querySelector('output')", "null"),
        ("step.max=frames.length-1;", "step.max=frames.length-1);"),  # no JavaScript
    ],
)
def test_the_check_in_a_browser_fails_where_the_script_is_broken(right, wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "SLIDE", page.SLIDE.replace(right, wrong))
    with pytest.raises(AssertionError):
        test_a_slider_shows_the_frame_it_stands_at_and_says_which_it_is(tmp_path)


def opened(text, tmp_path):
    """What a browser makes of a copy of the page in which each slider is moved to each of its places."""
    copy = tmp_path / "moved.html"
    copy.write_text(text.replace("<style>", f"{LISTEN}<style>", 1).replace("</html>", f"{MOVE}</html>"))
    words = (
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom", copy.as_uri(),
    )  # fmt: skip
    dom = subprocess.run(words, capture_output=True, text=True, timeout=200, check=True).stdout
    told = re.search(r'<pre id="told">(.*?)</pre>', dom)
    assert told, "the page's end was never reached"
    return json.loads(told[1])


def test_without_a_browser_each_film_still_has_all_that_its_script_asks_for(tmp_path):
    path = written(tmp_path, run(tmp_path, **edm()))
    parts = re.findall(r"<div class=film>(.*?)</div>", path.read_text())
    assert len(parts) == 2
    for part in parts:
        assert [part.count(f"<{tag}") for tag in ("img", "input", "output", "script")] == [1, 1, 1, 1]
    sources = [source for film in films(path) for _, source in film]
    assert [base64.b64decode(source.partition(",")[2]) for source in sources] == files(tmp_path)


def test_both_sliders_say_when_and_how_noisy(tmp_path):
    assert words(written(tmp_path, run(tmp_path, **edm()))) == [THERE, BACK]


def test_a_table_counts_its_own_steps(tmp_path):
    process, sampler = component("process", "ddpm_linear", timesteps=40), component("sampler", "ddim", steps=3)
    config = {"method": {"name": "diffusion", "process": process.to_dict()}, "sampler": sampler.to_dict()}
    _, back = words(written(tmp_path, run(tmp_path, **config)))
    assert [said.rpartition(",")[0] for said in back] == [
        "step 1 of 3, t = 40 of 40", "step 2 of 3, t = 27 of 40", "step 3 of 3, t = 13 of 40",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        {"method": {"name": "gan"}, "sampler": {"name": "heun", "steps": 3}},
        {"method": {"name": "diffusion", "process": {"name": "learned_log_snr"}}, "sampler": edm()["sampler"]},
        edm(fuel="a field that samplers had once"),
    ],
)
def test_a_run_whose_noise_its_config_does_not_tell_says_the_step_alone(config, tmp_path):
    there, back = words(written(tmp_path, run(tmp_path, **config)))
    assert there == ["t = 1 of 1000", "t = 1000 of 1000"] and back == [f"step {i} of 3" for i in (1, 2, 3)]


def test_frames_that_are_not_those_of_the_sampler_are_only_counted(tmp_path):
    assert words(written(tmp_path, run(tmp_path, **edm(steps=9))))[1] == [f"frame {i} of 3" for i in (1, 2, 3)]
    assert words(written(tmp_path, run(tmp_path)))[1] == [f"frame {i} of 3" for i in (1, 2, 3)]


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = written(tmp_path, task := run(tmp_path))
    before, there = path.read_text(), sorted(tmp_path.iterdir())
    real = Path.write_text

    def full(self, text, **options):
        real(self, text[:100], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError):
        written(tmp_path, task)
    assert path.read_text() == before and sorted(tmp_path.iterdir()) == there
