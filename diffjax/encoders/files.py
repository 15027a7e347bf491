"""Encoder directories in Hugging Face's format: finds, checks and hashes them without Hugging Face's libraries."""

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from diffjax.errors import UserError

# kind -> (model types, key of the width in config.json, key of the maximum number of tokens)
KINDS = {
    "t5": (("t5",), "d_model", ""),
    "clip": (("clip", "clip_text_model"), "hidden_size", "max_position_embeddings"),
}
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first pattern with a match is used
INDEX = ".index.json"  # ends the name of the index of weights in several parts, after what ends theirs
PART = re.compile(r"-of-(\d+)\.")  # in the name of a part; the number of parts
WORDS = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "spiece.model",
)  # fmt: skip
UNSAID = {"d_model": 512, "hidden_size": 512, "max_position_embeddings": 77}  # defaults of config.json
INSTALL = 'pip install "diffjax[encoders]"'


@dataclass(frozen=True)
class Found:
    """An encoder's directory, the width of its embeddings, and the hash of all that they depend on."""

    directory: Path
    width: int
    identity: str


def find(kind: str, place: str, tokens: int) -> Found:
    """Finds the encoder at `place`, a directory or a name on Hugging Face's hub (OWNER/NAME).

    The identity is 16 digits of the SHA-256 of weights, config, tokenizer, kind and number of tokens. Raises UserError,
    naming the field, if there is no encoder of this kind, or it reads fewer tokens.
    """
    if kind not in KINDS:
        raise UserError(f"text.kind: {kind!r} is unknown; must be one of {', '.join(KINDS)}")
    if tokens < 2:
        raise UserError(f"text.tokens: {tokens}; must be at least 2, one of which ends the text")
    if not place:
        raise UserError("text.encoder: is empty; must be a directory in Hugging Face's format, or a name on its hub")
    directory = Path(place).expanduser()
    directory = directory if directory.is_dir() else _fetched(place)
    types, width_key, limit_key = KINDS[kind]
    config = _config(directory)
    if config.get("model_type") not in types:
        mismatch = f"config.json says {config.get('model_type')!r}, not {' or '.join(map(repr, types))}"
        raise UserError(f"text.encoder: {place} is no {kind} ({mismatch}); give another, or another text.kind")
    config = config.get("text_config") or config  # of a CLIP with both encoders
    if limit_key and tokens > (limit := int(config.get(limit_key, UNSAID[limit_key]))):
        raise UserError(f"text.tokens: {tokens} is more than the {limit} tokens that {place} reads")
    weights = _weights(directory)
    if not weights:
        parts = "of weights in several parts all, and their index"
        raise UserError(f"text.encoder: {place} has no weights; must have {' or '.join(WEIGHTS)}, {parts}")
    tokenizer_files = [directory / name for name in WORDS if (directory / name).is_file()]
    digest = hashlib.sha256(json.dumps([kind, tokens]).encode())
    for file in (*weights, *tokenizer_files):
        digest.update(f"{file.name} {_hash(file)}\n".encode())
    return Found(directory, int(config.get(width_key, UNSAID[width_key])), digest.hexdigest()[:16])


def _config(directory: Path) -> dict:
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(f"text.encoder: {directory} has no config.json; must be an encoder in Hugging Face's format")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"text.encoder: {path} cannot be read: {error}") from error
    return config if isinstance(config, dict) else {}


def _weights(directory: Path) -> list[Path]:
    """The files of weights, by the first of WEIGHTS with a match; [] if there are none, or only some of their parts."""
    for pattern in WEIGHTS:
        if files := sorted(directory.glob(pattern)):
            counts = [int(part[1]) for file in files if (part := PART.search(file.name))]
            whole = not counts or (len(counts) == counts[0] and any(directory.glob(pattern + INDEX)))
            return files if whole else []
    return []


def _fetched(name: str) -> Path:
    """The directory in which Hugging Face's library caches a model, after downloading it if necessary."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"text.encoder: there is no directory {name}; must be one, or OWNER/NAME on Hugging Face's hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"text.encoder: there is no directory {name}; to fetch it from a hub, {INSTALL}") from error
    wanted = [[*WORDS, pattern, pattern + INDEX] for pattern in WEIGHTS]
    with contextlib.suppress(Exception):  # not downloaded yet; several libraries raise several types
        directory = Path(snapshot_download(name, allow_patterns=[*wanted[0], *wanted[1]], local_files_only=True))
        if _weights(directory):  # other programs may have downloaded the tokenizer alone
            return directory
    try:
        for patterns in wanted:  # only the weights that are used: many models have them in both formats
            directory = Path(snapshot_download(name, allow_patterns=patterns))
            if _weights(directory):
                break
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"text.encoder: there is no directory {name}, and it could not be fetched from a hub ({reason})"
        ) from error
    return directory


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
