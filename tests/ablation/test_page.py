"""The page of a report: its sliders, moved in a browser; what they say of a frame; its curves; and how heavy it is."""

import base64
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from diffjax.ablation import page
from diffjax.ablation.cells import Cells
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import Evaluation, Task
from diffjax.config import component
from diffjax.drawing import pictures
from diffjax.host.json_files import write_json

NAMES = ("google-chrome", "chrome", "chromium")
FOUND = [path for path in map(shutil.which, NAMES) if path and "/snap/" not in path]  # a snap cannot read /tmp
BROWSER = FOUND[0] if FOUND else None
in_a_browser = pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(NAMES)} is on the PATH to run the script in")

BACK_NAMES = ("film/0000_of_3_t_1", "film/0001_of_3_t_0.0314382", "film/0002_of_3_t_2.5e-05", "film/0003_of_3_t_0")
FRAMES = ("forward/0001_of_1000", "forward/1000_of_1000", *BACK_NAMES)
THERE = ["t = 1 of 1000, sigma = 0.08", "t = 1000 of 1000, sigma = 80"]
# Karras et al.'s times, ((80^(1/7) + 0.002^(1/7)) / 2)^7 = 2.515 the middle one; and sigma = 80 t.
BACK = [
    "step 0 of 3, t = 1000 of 1000, sigma = 80", "step 1 of 3, t = 31.44 of 1000, sigma = 2.52",
    "step 2 of 3, t = 0.025 of 1000, sigma = 0.002", "step 3 of 3, t = 0 of 1000, sigma = 0",
]  # fmt: skip

LISTEN = "<script>const faults=[];addEventListener('error',fault=>faults.push(fault.message))</script>"
MOVE = """<script>
const seen=[];
try{for(const film of document.querySelectorAll('.film')){
  const images=[...film.querySelectorAll('img')],slider=film.querySelector('input'),said=film.querySelector('output');
  const look=()=>seen.push([said.value,images.map(image=>image.src)]);
  look();
  for(let place=0;place<=slider.max;place++){slider.value=place;slider.dispatchEvent(new Event('input'));look()}
}}catch(fault){faults.push(String(fault))}
const told=document.createElement('pre');told.id='told';
const root=document.documentElement,wide=[root.scrollWidth,root.clientWidth];
told.textContent=JSON.stringify({seen,faults,wide});document.body.append(told)</script>"""


def run(root, name="abc", frames=FRAMES, lines=(), **config):
    """A run with both films, whose config.json has these components, and which logged these lines."""
    task = Task(name, 0, "", source="configs/x.py", evaluations=[Evaluation("e", {"eta": name}, {}, "")])
    for grey, frame in enumerate(frames):
        pictures.save_png(task.workdir(root) / f"{frame}.png", np.full((60, 600), grey, np.uint8))
    write_json(task.workdir(root) / "config.json", {"config": config})
    if lines:
        (task.workdir(root) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return task


def files(root):
    """The frames of both films, as they lie in the run's directory."""
    return [(root / "abc" / f"{name}.png").read_bytes() for name in FRAMES]


def edm(**changes):
    """What a run of EDM says of how it was drawn."""
    sampler = component("sampler", "heun", steps=3).to_dict() | changes
    return {"method": {"name": "diffusion", "process": component("process", "edm").to_dict()}, "sampler": sampler}


def predicts(target):
    """Likewise of a run on a cosine schedule, whose network predicts this."""
    parts = {"process": component("process", "vp_cosine"), "target": component("target", target)}
    return edm() | {"method": {"name": "diffusion"} | {name: part.to_dict() for name, part in parts.items()}}


def written(tmp_path, *tasks):
    experiment = read(Path(__file__).with_name("moons.py"))
    path = tmp_path / "page.html"
    page.write(path, [(experiment, "hour", Cells(experiment.paper, []), tasks)], tmp_path)
    return path


def films(path):
    """What the page says of each frame of each of its films, and which frame it is."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', path.read_text())
    return [json.loads(data) for data in found]


def words(path):
    return [[said for said, _ in film] for film in films(path)]


@in_a_browser
def test_a_slider_shows_its_frame_and_caption(tmp_path):
    told = opened(written(tmp_path, run(tmp_path, **edm())).read_text(), tmp_path)
    assert told["faults"] == []
    frames = list(zip(THERE + BACK, files(tmp_path), strict=True))
    there, back = frames[: len(THERE)], frames[len(THERE) :]
    seen = [(said, {base64.b64decode(source.partition(",")[2]) for source in blocks}) for said, blocks in told["seen"]]
    expected = (there[-1], *there, back[-1], *back)  # each film at its end before anybody moves it
    assert seen == [(said, {frame}) for said, frame in expected]


@in_a_browser
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("step.oninput=show;", ""),  # deaf
        ("frames[step.value][1]", "frames[0][1]"),
        ("film.querySelector('output')", "null"),
        ("const image of images", "const image of [images[0]]"),
        ("step.max=frames.length-1;", "step.max=frames.length-1);"),  # no JavaScript
    ],
)
def test_the_browser_check_fails_if_the_script_is_broken(right, wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "SLIDE", page.SLIDE.replace(right, wrong))
    with pytest.raises(AssertionError):
        test_a_slider_shows_its_frame_and_caption(tmp_path)


@in_a_browser
@pytest.mark.parametrize("width", [500, 1280])  # a window is no narrower
def test_only_tables_may_be_wider_than_the_window(width, tmp_path):
    losses = [{"step": step, "d_loss": 1.0, "g_loss": float(step)} for step in range(1, 9)]
    names = ("abc", "a_name_without_a_space_in_it")
    path = written(tmp_path, *(run(tmp_path, name, lines=losses, **edm()) for name in names))
    told = opened(path.read_text(), tmp_path, f"--window-size={width},800")
    content, window = told["wide"]
    assert told["faults"] == [] and content == window <= width


def opened(text, tmp_path, *more):
    """What a browser makes of a copy of the page in which each slider is moved to each of its places."""
    copy = tmp_path / "moved.html"
    copy.write_text(text.replace("<style>", f"{LISTEN}<style>", 1).replace("</html>", f"{MOVE}</html>"))
    words = (
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        *more, "--dump-dom", copy.as_uri(),
    )  # fmt: skip
    dom = subprocess.run(words, capture_output=True, text=True, timeout=200, check=True).stdout
    told = re.search(r'<pre id="told">(.*?)</pre>', dom)
    assert told, "the page's end was never reached"
    return json.loads(told[1])


def test_each_film_has_the_elements_that_its_script_uses(tmp_path):
    path = written(tmp_path, run(tmp_path, **edm()))
    parts = path.read_text().split("<div class=film>")[1:]
    for part, blocks in zip(parts, (3, 2), strict=True):
        part = part.partition("</script>")[0]
        assert [part.count(f"<{tag}") for tag in ("img", "input", "output", "script")] == [blocks, 1, 1, 1]
        assert part.count("object-position:0%") == part.count("object-position:100%") == 1
        assert f"--w:{600 // blocks};--h:60" in part
    sources = [source for film in films(path) for _, source in film]
    assert [base64.b64decode(source.partition(",")[2]) for source in sources] == files(tmp_path)


def test_both_sliders_show_time_and_noise_level(tmp_path):
    assert words(written(tmp_path, run(tmp_path, **edm()))) == [THERE, BACK]


def test_discrete_processes_count_their_own_timesteps(tmp_path):
    process, sampler = component("process", "ddpm_linear", timesteps=40), component("sampler", "ddim", steps=3)
    config = {"method": {"name": "diffusion", "process": process.to_dict()}, "sampler": sampler.to_dict()}
    frames = [f"film/{step:04}_of_3_t_{t:.6g}" for step, t in enumerate((1, 27 / 40, 13 / 40, 0))]
    (back,) = words(written(tmp_path, run(tmp_path, frames=frames, **config)))
    assert [said.rpartition(",")[0] for said in back] == [
        f"step {step} of 3, t = {t} of 40" for step, t in enumerate((40, 27, 13, 0))
    ]
    assert back[-1].endswith("sigma = 0")


@pytest.mark.parametrize(
    "config",
    [
        {"method": {"name": "gan"}, "sampler": {"name": "heun", "steps": 3}},
        {"method": {"name": "diffusion", "process": {"name": "learned_log_snr"}}, "sampler": edm()["sampler"]},
        edm() | {"method": {"name": "diffusion", "process": {"name": "edm", "fuel": "a field that it had once"}}},
    ],
)
def test_captions_have_no_noise_level_if_the_config_gives_none(config, tmp_path):
    assert words(written(tmp_path, run(tmp_path, **config))) == [
        [said.partition(", sigma")[0] for said in film] for film in (THERE, BACK)
    ]


def test_frames_of_older_runs_without_a_time_are_counted(tmp_path):
    frames = [f"film/{number:02}" for number in range(3)]
    (back,) = words(written(tmp_path, run(tmp_path, frames=frames, **edm())))
    assert back == [f"frame {number} of 3" for number in (1, 2, 3)]


def test_identical_forward_films_are_shown_once(tmp_path):
    first, second = (run(tmp_path, name, **edm()) for name in ("first", "second"))
    path = written(tmp_path, first, second)
    assert words(path) == [THERE, BACK, BACK] and "the same as eta first, above" in path.read_text()
    pictures.save_png(second.workdir(tmp_path) / f"{FRAMES[0]}.png", np.full((60, 600), 99, np.uint8))
    assert words(written(tmp_path, first, second)) == [THERE, BACK, THERE, BACK]


def heavy(root, names):
    """The bytes that these frames of a run take in the page."""
    return sum(len(base64.b64encode((root / "first" / f"{name}.png").read_bytes())) for name in names)


def test_heavy_films_lose_frames_but_neither_the_first_nor_the_last(tmp_path, monkeypatch):
    tasks = [run(tmp_path, name, **edm()) for name in ("first", "second")]
    there, back = heavy(tmp_path, FRAMES[:2]), heavy(tmp_path, BACK_NAMES)
    ends = heavy(tmp_path, (BACK_NAMES[0], BACK_NAMES[3]))
    assert there <= ends
    for most, kept in ((back, BACK), (back - 1, [BACK[0], BACK[2], BACK[3]]), (ends, [BACK[0], BACK[3]])):
        monkeypatch.setattr(page, "BYTES", there + 2 * most)  # the way to noise, once, and two ways back
        path = written(tmp_path, *tasks)
        assert words(path) == [THERE, kept, kept] and "left out" not in path.read_text()


def test_a_film_of_which_two_frames_are_too_heavy_is_left_out_with_a_note(tmp_path, monkeypatch):
    tasks = [run(tmp_path, name, **edm()) for name in ("first", "second")]
    monkeypatch.setattr(page, "BYTES", 3 * (heavy(tmp_path, FRAMES[:2]) - 1))
    path = written(tmp_path, *tasks)
    assert words(path) == [] and "some films or pictures are left out" in path.read_text()
    assert "above</p>" not in path.read_text(), "nothing is there"


def test_samples_too_heavy_for_a_page_are_replaced_by_their_thumbnail(tmp_path, monkeypatch):
    experiment, task = read(Path(__file__).with_name("moons.py")), run(tmp_path, frames=())
    noise = np.random.RandomState(0).randint(0, 256, (40, 40), np.uint8)
    large, small = task.workdir(tmp_path) / "samples" / "00000014.png", tmp_path / "kept" / "abc.png"
    pictures.save_png(large, noise)
    pictures.save_png(small, noise[::4, ::4])
    monkeypatch.setattr(page, "picture_of", lambda _, id: small.with_stem(id))
    experiment = [experiment, "hour", Cells(experiment.paper, []), [task]]
    for most, shown, said in ((10**4, large, ", step 14<"), (10**3, small, "training<"), (10, None, "left out")):
        monkeypatch.setattr(page, "BYTES", most)
        page.write(tmp_path / "page.html", [experiment], tmp_path)
        text = (tmp_path / "page.html").read_text()
        sources = re.findall(r'<img [^>]*src="data:image/png;base64,(.*?)"', text)
        assert sources == ([base64.b64encode(shown.read_bytes()).decode()] if shown else []) and said in text
        assert ("left out" in text) == (shown != large)


def test_a_page_of_many_runs_stays_within_its_bytes(tmp_path, monkeypatch):
    """Of three budgets, with samples, both films and a long curve each, and what was kept of runs not at hand."""
    experiment = read(Path(__file__).with_name("moons.py"))
    generator, lines = np.random.RandomState(0), [{"step": n, "loss": 1.0 + n % 7} for n in range(5_000)]
    picture = tmp_path / "kept.png"
    pictures.save_png(picture, generator.randint(0, 256, (90, 90), np.uint8))
    monkeypatch.setattr(page, "picture_of", lambda *_: picture)
    monkeypatch.setattr(page, "pictures_of", lambda _, gone: [(seeds[0], picture) for seeds in gone])
    plans = {}
    for table in ("minute", "hour", "day"):
        plans[table] = [run(tmp_path, f"{table}_{n}", lines=lines, **edm()) for n in range(5)]
        for task in plans[table]:
            for path in [*task.workdir(tmp_path).rglob("*.png"), task.workdir(tmp_path) / "samples" / "00000014.png"]:
                pictures.save_png(path, generator.randint(0, 256, (60, 60), np.uint8))
        plans[table].append(Task(f"{table}_gone", 0, "", evaluations=[Evaluation("e", {"eta": "gone"}, {}, "")]))

    def written_with(most):
        monkeypatch.setattr(page, "BYTES", most)
        sections = [(experiment, name, Cells(experiment.paper, []), plan) for name, plan in plans.items()]
        page.write(tmp_path / "page.html", sections, tmp_path)
        return (tmp_path / "page.html").read_text()

    bare = written_with(0)
    curves = sum(map(len, re.findall(r"<div><p class=what><b class=loss>.*?</svg></div>", bare)))
    assert "data:image" not in bare and curves < 15 * 8_000
    said = len(bare) - curves  # tables and headings
    whole = len(written_with(10**8)) - said
    assert whole > 6 * curves
    for share in (0.2, 0.4, 0.6, 0.8, 0.9):
        size = len(written_with(int(share * whole))) - said
        assert size <= 1.02 * share * whole, "but for what is said of frames, and that some are left out"
    assert size > 0.8 * share * whole


def test_a_forward_film_is_in_the_page_once_across_tables(tmp_path):
    tasks = [run(tmp_path, name, **edm()) for name in ("first", "second")]
    experiment, names = read(Path(__file__).with_name("moons.py")), ("minute", "hour")
    sections = [
        (experiment, name, Cells(experiment.paper, []), [task]) for name, task in zip(names, tasks, strict=True)
    ]
    page.write(path := tmp_path / "page.html", sections, tmp_path)
    assert words(path) == [THERE, BACK, BACK]
    assert "the same as moons, minute, eta first, above" in path.read_text()


def test_the_note_on_noisy_x0_appears_once_and_only_if_it_applies(tmp_path):
    tasks = [run(tmp_path, name, **predicts("eps")) for name in ("first", "second")]
    assert written(tmp_path, *tasks).read_text().count("salt") == 1
    for target in ("x0", "v", "velocity"):
        assert "salt" not in written(tmp_path, run(tmp_path, **predicts(target))).read_text()


def curve(tmp_path, *lines):
    """The points of each loss on the page, in pixels, and what stands beside them."""
    drawn = written(tmp_path, run(tmp_path, lines=lines)).read_text()
    points = {
        name: [tuple(map(float, spot.split(","))) for spot in spots.split()]
        for name, spots in re.findall(r'<polyline class=(\w+) points="(.*?)"', drawn)
    }
    return points, re.findall(r"<text .*?>(.*?)</text>", drawn), "log scale" in drawn


def test_two_losses_share_one_labelled_scale(tmp_path):
    lines = [
        {"step": step, "d_loss": d, "g_loss": g} for step, d, g in ((10, 1.0, 3.0), (20, 2.0, 2.0), (40, 0.0, 4.0))
    ]
    points, said, log = curve(tmp_path, *lines)
    d, g = points["d_loss"], points["g_loss"]
    assert said == ["4", "0", "step 10", "40"] and not log
    assert d[1] == g[1] and d[2][1] - d[1][1] == pytest.approx(d[1][1] - g[2][1], abs=0.11), "equal losses are one spot"
    assert (d[1][0] - d[0][0]) * 2 == pytest.approx(d[2][0] - d[1][0], abs=0.21)


def test_losses_over_decades_use_a_log_scale(tmp_path):
    points, said, log = curve(tmp_path, *({"step": step, "loss": 10.0**-step} for step in (1, 2, 3)))
    high, middle, low = (y for _, y in points["loss"])
    assert log and middle - high == pytest.approx(low - middle, abs=0.11) and said[:2] == ["0.1", "0.001"]


def test_curves_survive_equal_steps_and_values_that_are_not_finite(tmp_path):
    points, said, _ = curve(tmp_path, {"step": 5, "loss": 1.0}, {"step": 5, "loss": 2.0}, {"step": 5, "loss": None})
    assert len(points["loss"]) == 2 and len({x for x, _ in points["loss"]}) == 1 and said[2:] == ["step 5", "5"]
    points, *_ = curve(tmp_path, {"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": 2.0})
    assert len(points["loss"]) == 2
    assert curve(tmp_path, {"step": 1, "loss": 2.0})[0] == {}


def test_a_long_curve_has_no_more_points_than_pixels_and_keeps_its_ends_and_extremes(tmp_path):
    values = 2 + np.random.RandomState(0).uniform(-1, 1, 10_000)
    values[[0, 5_003, 7_500, -1]] = 2.5, 9.0, 0.95, 1.5
    points, said, _ = curve(tmp_path, *({"step": n + 1, "loss": value} for n, value in enumerate(values.tolist())))
    x, y = np.array(points["loss"]).T
    assert len(x) <= 400 and said == ["9", "0.95", "step 1", "10,000"]
    assert (np.diff(x) >= 0).all() and (x[0], x[-1]) == (58, 458)
    heights = np.interp([2.5, 1.5], [0.95, 9.0], [148, 8])
    np.testing.assert_allclose([y[0], y[-1]], heights, atol=0.06)
    assert x[y.argmin()] == pytest.approx(58 + 400 * 0.5003, abs=0.2) and y.min() == 8
    assert x[y.argmax()] == pytest.approx(58 + 400 * 0.75, abs=0.2) and y.max() == 148
    few = values[:400].tolist()
    assert len(curve(tmp_path, *({"step": n, "loss": value} for n, value in enumerate(few)))[0]["loss"]) == 400


def test_the_heading_names_sampler_and_innermost_guidance(tmp_path):
    inner = component("guidance", "classifier_free", scale=3.0).to_dict()
    outer = component("guidance", "interval").to_dict() | {"guidance": inner}
    text = written(tmp_path, run(tmp_path, **edm(guidance=outer))).read_text()
    assert "seed 0, drawn in 3 steps of heun, guidance 3, configs/x.py" in text


def test_a_page_is_written_atomically(tmp_path, monkeypatch):
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
