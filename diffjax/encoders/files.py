"""The directory of an encoder, as Hugging Face's libraries write it: found, checked and hashed without any of them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from diffjax.errors import UserError

# The model types that a kind reads, where their width stands in config.json, and where the longest text they read.
KINDS = {
    "t5": (("t5",), "d_model", ""),
    "clip": (("clip", "clip_text_model"), "hidden_size", "max_position_embeddings"),
}
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first form that is there is the one that is read
WORDS = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "spiece.model",
)  # fmt: skip
UNSAID = {"d_model": 512, "hidden_size": 512, "max_position_embeddings": 77}  # what a config.json means by saying none
INSTALL = 'pip install "diffjax[encoders]"'


@dataclass(frozen=True)
class Found:
    """An encoder's directory, how wide its embeddings are, and the hash of what they depend on."""

    directory: Path
    width: int
    identity: str


def find(kind: str, place: str, tokens: int) -> Found:
    """The encoder at `place`, a directory or the name it has on Hugging Face's hub (OWNER/NAME).

    The identity is 16 digits of the SHA-256 of its weights, its config, its tokenizer, and the tokens it is to read.
    Raises UserError, naming the field, for what is no encoder of this kind, or reads fewer tokens.
    """
    if kind not in KINDS:
        raise UserError(f"text.kind: {kind!r} is unknown; it is one of {', '.join(KINDS)}")
    if tokens < 2:
        raise UserError(f"text.tokens: {tokens} is too few; at least 2, one of which ends the text")
    if not place:
        raise UserError("text.encoder: is empty; give a directory in Hugging Face's format, or a name on its hub")
    directory = Path(place).expanduser()
    directory = directory if directory.is_dir() else _fetched(place)
    types, width, longest = KINDS[kind]
    config = _config(directory)
    if config.get("model_type") not in types:
        has = f"config.json says {config.get('model_type')!r}, not {' or '.join(map(repr, types))}"
        raise UserError(f"text.encoder: {place} is no {kind} ({has}); give another, or another text.kind")
    config = config.get("text_config") or config  # of a CLIP with both towers
    if longest and tokens > (most := int(config.get(longest, UNSAID[longest]))):
        raise UserError(f"text.tokens: {tokens} is more than the {most} tokens that {place} reads")
    weights = next((found for form in WEIGHTS if (found := sorted(directory.glob(form)))), None)
    if not weights:
        raise UserError(f"text.encoder: {place} has no weights ({' or '.join(WEIGHTS)})")
    words = [directory / name for name in WORDS if (directory / name).is_file()]
    digest = hashlib.sha256(json.dumps([kind, tokens]).encode())
    for file in (*weights, *words):
        digest.update(f"{file.name} {_hash(file)}\n".encode())
    return Found(directory, int(config.get(width, UNSAID[width])), digest.hexdigest()[:16])


def _config(directory: Path) -> dict:
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(f"text.encoder: {directory} is no encoder in Hugging Face's format; it has no config.json")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"text.encoder: {path} cannot be read: {error}") from error
    return config if isinstance(config, dict) else {}


def _fetched(name: str) -> Path:
    """The directory in which Hugging Face's library keeps what its hub has by this name; fetched if it is not there."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"text.encoder: there is no directory {name}; nor is it a name on Hugging Face's hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"text.encoder: there is no directory {name}; to fetch it from a hub, {INSTALL}") from error
    complete = [*WORDS, WEIGHTS[0]]
    try:
        try:
            found = Path(snapshot_download(name, allow_patterns=complete, local_files_only=True))
        except Exception:  # not there yet; its own kinds of error come from several libraries
            found = Path(snapshot_download(name, allow_patterns=complete))
        if not any(list(found.glob(form)) for form in WEIGHTS):
            found = Path(snapshot_download(name, allow_patterns=[*WORDS, WEIGHTS[1]]))
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"text.encoder: there is no directory {name}, and it could not be fetched from a hub ({reason})"
        ) from error
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
