"""The text towers in PyTorch: a directory in Hugging Face's format and texts in, their embeddings out.

T5 (Raffel et al. 2020) is its encoder alone, and the whole of a text the mean of its tokens; CLIP (Radford et al. 2021)
its text transformer after the last norm, before any projection, and the whole the token that ends the text. Computed
in float32 on the CPU, so that the same files give the same numbers wherever training runs; once is enough.
"""

import contextlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffjax.encoders.cache import Embeddings
from diffjax.encoders.files import INSTALL
from diffjax.encoders.packed import pack
from diffjax.errors import UserError

BATCH = 32  # texts, of about the same length


class Tower(NamedTuple):
    """An encoder in memory."""

    kind: str
    tokenizer: Any
    model: Any


def embed(tower: Tower, texts: list[str], tokens: int, progress: Callable[[int, int], None]) -> Embeddings:
    """What the encoder says of texts, of at most so many tokens each; `progress(done, total)` is how far it is."""
    import torch

    kind, tokenizer, model = tower
    width, count = model.config.hidden_size, len(texts)
    said, whole = np.zeros((count, tokens, width), np.float32), np.zeros((count, width), np.float32)
    there, spans, cut = np.zeros((count, tokens), bool), np.zeros((count, tokens, 2), np.int32), np.zeros(count, bool)
    order = sorted(range(count), key=lambda i: len(texts[i]))
    for first in range(0, count, BATCH):
        rows = order[first : first + BATCH]
        read = tokenizer(
            [texts[i] for i in rows], padding=True, truncation=True, max_length=tokens, return_tensors="pt",
            return_offsets_mapping=True,
        )  # fmt: skip
        ids, mask = read["input_ids"], read["attention_mask"]
        length = ids.shape[1]
        with torch.inference_mode():
            out = model(input_ids=ids, attention_mask=mask)
        of_tokens, present = out.last_hidden_state.numpy(), mask.numpy() > 0
        said[rows, :length], there[rows, :length] = of_tokens, present
        whole[rows] = out.pooler_output.numpy() if kind == "clip" else _mean(of_tokens, present)
        spans[rows, :length] = read["offset_mapping"].numpy()
        cut[rows] = [bool(encoding.overflowing) for encoding in read.encodings]
        progress(min(first + BATCH, count), count)
    return Embeddings(pack(said, whole, there), spans, cut)


def forget() -> None:
    """Gives up the memory of the last encoder that was used."""
    opened.cache_clear()


def _mean(tokens: np.ndarray, there: np.ndarray) -> np.ndarray:
    return (tokens * there[..., None]).sum(axis=1) / np.maximum(there.sum(axis=1), 1)[:, None]


@lru_cache(maxsize=1)  # one command may ask twice: for prompts, and for what to be guided away from
def opened(kind: str, directory: Path, identity: str) -> Tower:
    """The tokenizer and the model, ready to be used; files of another `identity` are another encoder.

    Raises UserError if PyTorch or transformers are missing, or the directory is not what its config.json says.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns of every process that is forked afterwards
    try:
        import torch
        from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel
        from transformers.utils import logging
    except ImportError as error:  # also what a package that it needs lacks
        reason = " ".join(str(error).split())
        raise UserError(
            f"text.encoder: a frozen encoder is computed by PyTorch and transformers: {INSTALL} ({reason})"
        ) from error
    try:
        with _quiet(logging):
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model, loading = {"t5": T5EncoderModel, "clip": CLIPTextModel}[kind].from_pretrained(
                directory, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # of several libraries, and as many kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"text.encoder: {directory} cannot be opened as a {kind}: {reason}") from error
    if lacking := sorted(loading["missing_keys"]):  # it would be drawn at random
        raise UserError(f"text.encoder: the weights of {directory} lack {len(lacking)} arrays, such as {lacking[0]}")
    if not tokenizer.is_fast:
        raise UserError(f"text.encoder: {directory} has no tokenizer.json, nor can one be made of its tokenizer")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return Tower(kind, tokenizer, model.eval())


@contextlib.contextmanager
def _quiet(logging: Any):
    """Without the reports of weights that belong to another tower, and bars of what takes a moment."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
