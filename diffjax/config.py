"""Turns configs into objects, applies strict overrides, and decides which changes a continued run allows.

A *component* is a sub-dict {name, hyper-parameters} at a *slot*, the key that selects the table its name is looked up
in. Its hyper-parameters are the fields of the table's dataclass (or the keywords of its function) that have a default.
Defaults are defined there alone, and the config shows them all. The components themselves never see a ConfigDict.
"""

import ast
import contextlib
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffjax import data, diffusion, methods, models
from diffjax.adversarial import LOSSES, PENALTIES, Watchman
from diffjax.augment import AUGMENTS
from diffjax.errors import UserError, suggestion
from diffjax.host.userfile import executed
from diffjax.optim import ema, optimizers

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
    "optim": optimizers.OPTIMIZERS,
    "ema": ema.AVERAGES,
}
ALSO_CALLED = {  # names that papers use -> ours
    "gan": "minimax", "ns": "non_saturating", "lsgan": "least_squares", "wgan": "wasserstein", "rpgan": "relativistic",
}  # fmt: skip
FREE = (  # keys that change no network: intervals, which checkpoints are kept, how many samples are drawn at once
    # (The health of a game is looked at when it is logged: train.log_every may decide when a lost one is ended.)
    "train.log_every", "train.sample_every", "train.checkpoint_every", "train.keep", "train.profile", "eval.every",
    "eval.batch_size", "ema.snapshot_every",
)  # fmt: skip
PLACES = {"data.data_dir": "data.name", ".text.encoder": ".text.identity"}  # suffix of a path -> of what identifies it
Overrides = Mapping[str, Any] | Iterable[tuple[str, Any]]  # {path: value}, or pairs of them
FLAX_FIELDS = ("parent", "name", "outputs", "augment_dim")  # no hyper-parameters: Flax's, and two that methods set


def component(slot: str, name: str, **fields: Any) -> ConfigDict:
    """The sub-dict of one component: its name, and all its defaults overridden by `fields`, which must exist."""
    defaults, _ = _parameters(*_look_up(slot, name))
    node = {"name": name} | {key: _describe(key, value) for key, value in defaults.items()}
    for key, value in fields.items():
        if key not in node:
            raise UserError(f"{slot}.{key}: {name!r} has no such field{did_you_mean(key, node)}")
        node[key] = _describe(key, value)
    return ConfigDict(node)


def build(slot: str, node: ConfigDict) -> Any:
    """Builds the object of a component; or, if its factory has arguments without default, a partial awaiting them."""
    factory, member = _look_up(slot, node.name)
    _, required = _parameters(factory, member)
    fields = {
        key: _build_nested(slot, key, value) if isinstance(value, ConfigDict) else plain(value)
        for key, value in node.items()
        if key != "name"
    }
    make = partial(factory, *member, **fields)
    return make if required else make()


def _build_nested(slot: str, key: str, node: ConfigDict) -> Any:
    """Builds a component that is a field of another one."""
    with errors_at(f"{slot}.{key}", key):
        return build(key, node)


@contextlib.contextmanager
def errors_at(path: str, slot: str) -> Iterator[None]:
    """Lets errors name a field by its path in the config instead of by its slot ("penalty.gamma")."""
    try:
        yield
    except UserError as error:
        raise error.about(f"{slot}.", f"{path}.") from None


def _look_up(slot: str, name: str) -> tuple[Callable, tuple[str, ...]]:
    """The factory of a name, and its first argument if the name is "family:member" such as "tfds:mnist"."""
    family, colon, member = str(name).partition(":")
    table = TABLES[slot]
    if family not in table:
        raise UserError(
            f"{slot}.name: {name!r} is unknown; must be one of {', '.join(table)}{did_you_mean(family, table)}"
        )
    takes_member = table[family] in data.FAMILIES
    if takes_member and not member:
        raise UserError(f"{slot}.name: {name!r} lacks a member; write {family}:NAME")
    if colon and not takes_member:
        raise UserError(f"{slot}.name: {name!r} has no members; write {family}")
    return table[family], (member,) if colon else ()


def _parameters(factory: Callable, member: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str]]:
    """A factory's hyper-parameters with their defaults, and the names of its arguments without one."""
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.name not in FLAX_FIELDS]
    defaults = {
        p.name: p.default
        for p in parameters
        if p.default is not p.empty and (inspect.isclass(factory) or p.kind is p.KEYWORD_ONLY)
    }
    required = [p.name for p in parameters if p.default is p.empty]
    return defaults, required[len(member) :]


def _describe(slot: str, value: Any) -> Any:
    """A default as the config shows it: the sub-dict of a component's object, or any other value unchanged."""
    if slot not in TABLES or isinstance(value, ConfigDict | int | float):
        return value  # a number is never a component, even where its field has the name of a slot
    if isinstance(value, str):
        return component(slot, value)
    factory, fields = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    for name, candidate in TABLES[slot].items():
        if factory is candidate:
            return component(slot, name, **fields)
        if type(value) is candidate:
            return component(slot, name, **{key: getattr(value, key) for key in _parameters(candidate)[0]})
    raise UserError(f"{slot}: {value!r} is not a component; must be one of {', '.join(TABLES[slot])}")


def plain(value: Any) -> Any:
    """Converts lists, which JSON and ConfigDict make of tuples, back to tuples at every depth."""
    return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value


def from_json(node: Any) -> Any:
    """Restores a ConfigDict from its JSON, lists as tuples."""
    return ConfigDict({key: from_json(value) for key, value in node.items()}) if isinstance(node, dict) else plain(node)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The end of an error message about a key or component, which papers may call by another name."""
    return suggestion(ALSO_CALLED.get(word.lower(), word), words)


# ------------------------------------------------------------------------------------------------ files and overrides


def load(path: str) -> ConfigDict:
    """Loads the config of `FILE.py` or `FILE.py:variant`: what its `get_config(variant)` returns, locked."""
    file, _, variant = path.partition(":")
    if not file.endswith(".py") or not Path(file).is_file():
        siblings = [str(path) for path in Path(file).parent.glob("*.py")]
        hint = suggestion(file, siblings) or "; give the path of one from here, such as configs/digits.py"
        raise UserError(f"`config`: no config file {file!r}{hint}")
    with executed(Path(file), f"`config`: {path}") as module:
        if not hasattr(module, "get_config"):
            raise UserError("has no function get_config()")
        config = module.get_config(variant) if variant else module.get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(f"`config`: get_config() of {file} returned {type(config).__name__}; must be a ConfigDict")
    return config.lock()


def override(config: ConfigDict, overrides: Overrides) -> ConfigDict:
    """Applies overrides such as {"sampler.steps": 25}, each checked against the value it replaces.

    A value may also be the text of a command line. Overriding a component's name replaces its sub-dict by the new
    component's defaults. Names are overridden first.
    """
    config = config.copy_and_resolve_references().unlock()
    items = [(path, str(value)) for path, value in pairs(overrides)]
    names = [item for item in items if item[0].endswith(".name")]
    others = [item for item in items if not item[0].endswith(".name")]
    for path, text in sorted(names, key=lambda item: item[0].count(".")):
        parent, slot = _parent(config, path.removesuffix(".name"))
        if not isinstance(parent[slot], ConfigDict) or "name" not in parent[slot]:
            raise UserError(f"`config.{path}`: {slot!r} is not a component, so it has no name")
        with errors_at(path.removesuffix(".name"), slot_of(path)):
            parent[slot] = component(slot_of(path), text)
    for path, text in others:
        parent, key = _parent(config, path)
        parent[key] = _parse(path, text, parent[key])
    return config.lock()


def pairs(overrides: Overrides) -> list[tuple[str, Any]]:
    """The paths and values of overrides, in order."""
    return list(overrides.items() if isinstance(overrides, Mapping) else overrides)


def slot_of(path: str) -> str:
    """The slot of the component whose name has this path: its key, or "optim" for the optimiser of one network.

    "sampler.name" -> "sampler", "optim.generator.name" -> "optim".
    """
    *_, above, key, _name = ["", *path.split(".")]
    return above if above == "optim" else key


def _parent(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """The sub-dict that holds the last key of a dotted path, and that key; both must exist."""
    node = config
    keys = path.split(".")
    for depth, key in enumerate(keys):
        prefix = ".".join(keys[:depth])
        if not isinstance(node, ConfigDict):
            raise UserError(f"`config.{path}`: {prefix!r} is a value, not a section")
        if key not in node:
            siblings = f"{prefix!r} has {', '.join(node)}" if prefix else f"must be one of {', '.join(node)}"
            raise UserError(f"`config.{path}`: no key {key!r}{did_you_mean(key, node) or '; ' + siblings}")
        parent, node = node, node[key]
    return parent, keys[-1]


def _parse(path: str, text: str, old: Any) -> Any:
    """Parses `text` as a value of the type of `old`: 1e5 may be an integer; (1,2), [1,2] and 1,2 are tuples."""
    if isinstance(old, ConfigDict):
        if "name" in old:
            raise UserError(
                f"`config.{path}`: {text!r} cannot replace a component; choose one with `config.{path}.name={text}`"
            )
        raise UserError(f"`config.{path}`: {text!r} cannot replace a section; set one of {', '.join(old)} in it")
    of_names = isinstance(old, tuple) and old and isinstance(old[0], str)
    items = "names separated by commas" if of_names else "a tuple such as 1,2,4"
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "text", tuple: items}
    mismatch = UserError(f"`config.{path}`: {text!r} must be {kinds.get(type(old), type(old).__name__)} (now {old!r})")
    if isinstance(old, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise mismatch
        return text.lower() in ("true", "1")
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        if not isinstance(old, tuple) or any(not isinstance(item, str) for item in old):
            raise mismatch from None
        value = tuple(item.strip() for item in text.strip("()[] ").split(","))  # strings without quotes
    if isinstance(old, tuple):
        value = tuple(value) if isinstance(value, list | tuple) else (value,)
        types = {type(item) for item in old} or {type(item) for item in value}
        allowed = types | {int} if types == {float} else types
        if len(types) == 1 and any(type(item) not in allowed for item in value):
            raise mismatch
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise mismatch
    if isinstance(old, int):
        if isinstance(value, float) and not value.is_integer():
            raise mismatch
        return int(value)
    return float(value)


# ------------------------------------------------------------------------------------------------------ continued runs


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Every leaf by its dotted path: {"train.steps": 1000, ...}."""
    leaves = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        leaves |= flatten(value, f"{path}.") if isinstance(value, ConfigDict) else {path: plain(value)}
    return leaves


def decisive(config: ConfigDict) -> dict[str, Any]:
    """The leaves that determine a run's result; two runs are the same run if these are equal.

    They are all leaves except FREE keys, devices, and file paths whose content another key identifies.
    """
    leaves = flatten(config)
    return {path: value for path, value in leaves.items() if not (_is_free(path) or _is_identified(path, leaves))}


def _is_free(path: str) -> bool:
    return path in FREE or path.startswith("parallel.")


def is_place(path: str) -> bool:
    """Whether a key is a file path whose content another key identifies: data by name, a text encoder by its hash."""
    return path.endswith(tuple(PLACES))


def _is_identified(path: str, leaves: dict[str, Any]) -> bool:
    """Whether a key is a file path and its content is identified; an encoder's hash is "" until it is opened."""
    return any(path.endswith(end) and leaves.get(path.removesuffix(end) + key) for end, key in PLACES.items())


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """The changes that keep `new` from continuing a run of `old`, each as "key: old -> new".

    `train.steps` may change: a run may become longer, which `decays_to_the_end` may make another one.
    """
    before, after = decisive(old), decisive(new)
    changed = [path for path in before | after if before.get(path, "absent") != after.get(path, "absent")]
    changed = [path for path in changed if path != "train.steps"]
    return [f"{p}: {before.get(p, 'absent')!r} -> {after.get(p, 'absent')!r}" for p in changed]


def decays_to_the_end(config: ConfigDict) -> bool:
    """Whether rates depend on `train.steps`: a run that is lengthened is then not the longer run from the start."""
    recipes = [config.optim] if "name" in config.optim else config.optim.values()
    return any(recipe.decay != "constant" and not recipe.decay_images for recipe in recipes)


def fingerprint(config: ConfigDict, lengths: Iterable[int] = ()) -> str:
    """A hash, ten hexadecimal digits, of everything in a config that determines a run's result (`decisive`).

    `lengths` are the earlier `train.steps` of a run that was lengthened; they count if rates decay to the end.
    """
    parts = decisive(config) | ({"lengths": list(lengths)} if lengths and decays_to_the_end(config) else {})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
