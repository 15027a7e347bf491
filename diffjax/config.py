"""From a config to objects and back: components, strict overrides, and what may change when a run is continued.

A *component* is a sub-dict {name, hyper-parameters} at a *slot*, a key that says which table its name is looked up in.
Its hyper-parameters are the fields of the dataclass (or the keywords of the function) in that table that have a
default: they stand there once, and the config shows them all. Nothing below this file ever sees a ConfigDict.
"""

import ast
import contextlib
import difflib
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffjax import data, diffusion, ema, methods, models, optim
from diffjax.adversarial import LOSSES, PENALTIES, Watchman
from diffjax.augment import AUGMENTS
from diffjax.errors import UserError
from diffjax.userfile import executed

TABLES: dict[str, dict[str, Callable]] = {
    "data": data.SOURCES,
    "method": methods.METHODS,
    "network": models.NETWORKS,
    "text": models.TEXTS,
    "generator": models.NETWORKS,
    "discriminator": models.NETWORKS,
    "process": diffusion.PROCESSES,
    "kernel": diffusion.KERNELS,
    "target": diffusion.TARGETS,
    "reverse_variance": diffusion.VARIANCES,
    "weighting": diffusion.WEIGHTINGS,
    "times": diffusion.TIMES,
    "clock": diffusion.CLOCKS,
    "sampler": methods.SAMPLERS,
    "grid": diffusion.GRIDS,
    "guidance": diffusion.GUIDANCE,
    "loss": LOSSES,
    "penalty": PENALTIES,
    "augment": AUGMENTS,
    "watchman": {"watchman": Watchman},
    "optim": optim.OPTIMIZERS,
    "ema": ema.AVERAGES,
}
ALSO_CALLED = {  # by papers
    "gan": "minimax", "ns": "non_saturating", "lsgan": "least_squares", "wgan": "wasserstein", "rpgan": "relativistic",
}  # fmt: skip
FREE = (  # keys that change nothing that is trained, drawn or measured: intervals, what is kept, samples drawn at once
    "train.log_every", "train.sample_every", "train.checkpoint_every", "train.keep", "train.profile", "eval.every",
    "eval.batch_size", "ema.snapshot_every",
)  # fmt: skip
PLACES = {"data.data_dir": "data.name", ".text.encoder": ".text.identity"}  # by the ends of keys: what identifies them
FLAX_FIELDS = ("parent", "name", "outputs", "hints")  # Flax's own two, and what a method says: no hyper-parameters


def component(slot: str, name: str, **fields: Any) -> ConfigDict:
    """The sub-dict of one component: its name, all its defaults, and `fields` laid over them, strictly."""
    defaults, _ = _parameters(*_look_up(slot, name))
    node = {"name": name} | {key: _describe(key, value) for key, value in defaults.items()}
    for key, value in fields.items():
        if key not in node:
            raise UserError(f"{slot}.{key}: {name!r} has no such field{did_you_mean(key, node)}")
        node[key] = _describe(key, value)
    return ConfigDict(node)


def build(slot: str, node: ConfigDict) -> Any:
    """The object a component stands for; or, if it still needs arguments, a partial that awaits them."""
    factory, member = _look_up(slot, node.name)
    _, missing = _parameters(factory, member)
    own = {key: value for key, value in node.items() if key != "name"}
    fields = {key: _inside(slot, key, v) if isinstance(v, ConfigDict) else plain(v) for key, v in own.items()}
    made = partial(factory, *member, **fields)
    return made if missing else made()


def _inside(slot: str, key: str, node: ConfigDict) -> Any:
    """A component's component."""
    with _placed(f"{slot}.{key}", key):
        return build(key, node)


@contextlib.contextmanager
def _placed(path: str, slot: str) -> Iterator[None]:
    """What a component says of its fields by its table's name ("penalty.gamma") is said by its place in the config."""
    try:
        yield
    except UserError as error:
        raise error.about(f"{slot}.", f"{path}.") from None


def _look_up(slot: str, name: str) -> tuple[Callable, tuple[str, ...]]:
    """The factory a name stands for. In "family:member" the member is the family's first argument ("tfds:mnist")."""
    family, colon, member = str(name).partition(":")
    table = TABLES[slot]
    if family not in table:
        raise UserError(
            f"{slot}.name: {name!r} is unknown; it is one of {', '.join(table)}{did_you_mean(family, table)}"
        )
    takes_member = table[family] in data.FAMILIES
    if takes_member and not member:
        raise UserError(f"{slot}.name: {name!r} needs to say which; write {family}:NAME")
    if colon and not takes_member:
        raise UserError(f"{slot}.name: {name!r} has no members; write {family}")
    return table[family], (member,) if colon else ()


def _parameters(factory: Callable, member: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str]]:
    """A factory's hyper-parameters with their defaults, and the names of the arguments it still needs."""
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.name not in FLAX_FIELDS]
    defaults = {
        p.name: p.default
        for p in parameters
        if p.default is not p.empty and (inspect.isclass(factory) or p.kind is p.KEYWORD_ONLY)
    }
    missing = [p.name for p in parameters if p.default is p.empty]
    return defaults, missing[len(member) :]


def _describe(slot: str, value: Any) -> Any:
    """A default as it stands in a config: a component's object by its name and fields, anything else as it is."""
    if slot not in TABLES or isinstance(value, ConfigDict | int | float):
        return value  # a number is no component, whatever its field is called
    if isinstance(value, str):
        return component(slot, value)
    factory, fields = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    for name, candidate in TABLES[slot].items():
        if factory is candidate:
            return component(slot, name, **fields)
        if type(value) is candidate:
            return component(slot, name, **{key: getattr(value, key) for key in _parameters(candidate)[0]})
    raise UserError(f"{slot}: {value!r} is in no table of components; it is one of {', '.join(TABLES[slot])}")


def plain(value: Any) -> Any:
    """Tuples as JSON and ConfigDict may return them: lists, nested or not, become tuples again."""
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def from_json(node: Any) -> Any:
    """A ConfigDict from what JSON made of it: lists are tuples again."""
    return ConfigDict({key: from_json(value) for key, value in node.items()}) if isinstance(node, dict) else plain(node)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """What a complaint about a word ends in: "; did you mean ...?", or nothing."""
    word = ALSO_CALLED.get(word.lower(), word)
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


# ---------------------------------------------------------------------------------------------------- files and flags


def load(path: str) -> ConfigDict:
    """The config of `FILE.py` or `FILE.py:variant`: what its `get_config(variant)` returns, locked."""
    file, _, variant = path.partition(":")
    if not file.endswith(".py") or not Path(file).is_file():
        raise UserError(f"--config: no config file {file!r}; give a path such as configs/digits.py")
    with executed(Path(file), f"--config: {path}") as module:
        if not hasattr(module, "get_config"):
            raise UserError("there is no function get_config() in it")
        config = module.get_config(variant) if variant else module.get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config: get_config() of {file} returned {type(config).__name__}, not a ConfigDict")
    return config.lock()


def override(config: ConfigDict, overrides: Iterable[tuple[str, str]]) -> ConfigDict:
    """`config` with ("sampler.steps", "25")-like overrides laid over it, each checked against what it replaces.

    Overriding a component's name resets its sub-dict to the new component's defaults, before all other overrides.
    """
    config = config.copy_and_resolve_references().unlock()
    names = [item for item in overrides if item[0].endswith(".name")]
    others = [item for item in overrides if not item[0].endswith(".name")]
    for path, text in sorted(names, key=lambda item: item[0].count(".")):
        parent, slot = _parent(config, path.removesuffix(".name"))
        if not isinstance(parent[slot], ConfigDict) or "name" not in parent[slot]:
            raise UserError(f"--config.{path}: {slot!r} is no component; it has no name to choose")
        with _placed(path.removesuffix(".name"), slot_of(path)):
            parent[slot] = component(slot_of(path), text)
    for path, text in others:
        parent, key = _parent(config, path)
        parent[key] = _parse(path, text, parent[key])
    return config.lock()


def slot_of(path: str) -> str:
    """The table of a component: its key, or for one of several (`optim.generator`) the key above it."""
    *_, above, key, _name = ["", *path.split(".")]
    return above if above == "optim" else key


def _parent(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """The sub-dict that holds the last key of a dotted path, and that key; both must exist."""
    node, seen = config, []
    keys = path.split(".")
    for key in keys:
        if not isinstance(node, ConfigDict):
            raise UserError(f"--config.{path}: {'.'.join(seen)!r} is a value, not a section")
        if key not in node:
            where = ".".join(seen)
            known = f"{where!r} has {', '.join(node)}" if where else f"there is {', '.join(node)}"
            raise UserError(f"--config.{path}: no key {key!r}{did_you_mean(key, node) or '; ' + known}")
        parent, node = node, node[key]
        seen.append(key)
    return parent, keys[-1]


def _parse(path: str, text: str, old: Any) -> Any:
    """`text` as a value of the type of `old`; 1e5 is an integer where it is one; (1,2), [1,2] and 1,2 are tuples."""
    if isinstance(old, ConfigDict):
        if "name" in old:
            raise UserError(f"--config.{path}: is a component; choose it with --config.{path}.name={text}")
        raise UserError(f"--config.{path}: is a section with {', '.join(old)}; set one of these")
    wanted = {bool: "true or false", int: "an integer", float: "a number", str: "text", tuple: "a tuple such as 1,2,4"}
    wrong = UserError(f"--config.{path}: {text!r} is not {wanted.get(type(old), type(old).__name__)} (now {old!r})")
    if isinstance(old, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise wrong
        return text.lower() in ("true", "1")
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        if not isinstance(old, tuple) or any(not isinstance(item, str) for item in old):
            raise wrong from None
        value = tuple(word.strip() for word in text.strip("()[] ").split(","))  # names need no quotes
    if isinstance(old, tuple):
        value = tuple(value) if isinstance(value, list | tuple) else (value,)
        kinds = {type(item) for item in old} or {type(item) for item in value}
        if len(kinds) == 1 and any(type(item) not in kinds | {int} for item in value):
            raise wrong
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if isinstance(old, int):
        if value != int(value):
            raise wrong
        return int(value)
    return float(value)


# ------------------------------------------------------------------------------------------------------ continued runs


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """{"train.steps": 1000, ...}: every leaf by its dotted path."""
    leaves = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        leaves |= flatten(value, f"{path}.") if isinstance(value, ConfigDict) else {path: plain(value)}
    return leaves


def decisive(config: ConfigDict) -> dict[str, Any]:
    """The leaves that decide a result, in this the same for all who ask whether two are one.

    Not those in FREE, nor devices; and of a place, where something lies, only if nothing else says what lies there.
    """
    leaves = flatten(config)
    return {path: value for path, value in leaves.items() if not (_is_free(path) or _is_identified(path, leaves))}


def _is_free(path: str) -> bool:
    return path in FREE or path.startswith("parallel.")


def is_place(path: str) -> bool:
    """Whether a key says only where something lies that another identifies: data by a name, an encoder by its hash."""
    return path.endswith(tuple(PLACES))


def _is_identified(path: str, leaves: dict[str, Any]) -> bool:
    """Whether this is a place, and it is known what lies there: the hash of an encoder is "" until it is opened."""
    return any(path.endswith(end) and leaves.get(path.removesuffix(end) + key) for end, key in PLACES.items())


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """What keeps `new` from continuing a run of `old`, as "key: old -> new" strings; empty when nothing does.

    A run may become longer.
    """
    before, after = decisive(old), decisive(new)
    changed = [path for path in before | after if before.get(path, "absent") != after.get(path, "absent")]
    changed = [path for path in changed if path != "train.steps"]
    return [f"{p}: {before.get(p, 'absent')!r} -> {after.get(p, 'absent')!r}" for p in changed]


def fingerprint(config: ConfigDict) -> str:
    """Ten hexadecimal digits that change with whatever may change a run's result; not with intervals or devices."""
    return hashlib.sha256(json.dumps(decisive(config), sort_keys=True).encode()).hexdigest()[:10]
