"""The text encoders in PyTorch: embeds texts by a model in Hugging Face's format.

For T5 (Raffel et al. 2020) only the encoder is used, and the pooled embedding is the mean over tokens. For CLIP
(Radford et al. 2021) the text transformer is used, after the last norm and before any projection, and the pooled
embedding is that of the end-of-text token. Embeddings are computed in float32 on the CPU, so that the same files give
the same numbers wherever training runs.
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

BATCH = 32  # texts, of similar length


class Tower(NamedTuple):
    """An encoder loaded into memory."""

    kind: str
    tokenizer: Any
    model: Any


def embed(tower: Tower, texts: list[str], tokens: int, progress: Callable[[int, int], None]) -> Embeddings:
    """The embeddings of texts, truncated to `tokens` tokens; calls `progress(done, total)` after each batch."""
    import torch

    kind, tokenizer, model = tower
    width, count = model.config.hidden_size, len(texts)
    token_embeddings, pooled = np.zeros((count, tokens, width), np.float32), np.zeros((count, width), np.float32)
    masks, spans, cut = np.zeros((count, tokens), bool), np.zeros((count, tokens, 2), np.int32), np.zeros(count, bool)
    order = sorted(range(count), key=lambda i: len(texts[i]))
    for first in range(0, count, BATCH):
        rows = order[first : first + BATCH]
        batch = tokenizer(
            [texts[i] for i in rows], padding=True, truncation=True, max_length=tokens, return_tensors="pt",
            return_offsets_mapping=True,
        )  # fmt: skip
        ids, mask = batch["input_ids"], batch["attention_mask"]
        length = ids.shape[1]
        with torch.inference_mode():
            outputs = model(input_ids=ids, attention_mask=mask)
        hidden, valid = outputs.last_hidden_state.numpy(), mask.numpy() > 0
        token_embeddings[rows, :length], masks[rows, :length] = hidden, valid
        pooled[rows] = outputs.pooler_output.numpy() if kind == "clip" else _mean(hidden, valid)
        spans[rows, :length] = batch["offset_mapping"].numpy()
        cut[rows] = [bool(encoding.overflowing) for encoding in batch.encodings]
        progress(min(first + BATCH, count), count)
    return Embeddings(pack(token_embeddings, pooled, masks), spans, cut)


def forget() -> None:
    """Frees the memory of the last encoder that was used."""
    opened.cache_clear()


def _mean(tokens: np.ndarray, there: np.ndarray) -> np.ndarray:
    return (tokens * there[..., None]).sum(axis=1) / np.maximum(there.sum(axis=1), 1)[:, None]


@lru_cache(maxsize=1)  # a command may need it twice: for prompts and for negative prompts
def opened(kind: str, directory: Path, identity: str) -> Tower:
    """Loads the tokenizer and the model. `identity` is part of the cache key, for files that change on disk.

    Raises UserError if PyTorch or transformers are missing, or the directory does not match its config.json.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise it warns about every later fork
    try:
        import torch
        from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel
        from transformers.utils import logging
    except ImportError as error:  # also if a dependency of theirs is missing
        reason = " ".join(str(error).split())
        raise UserError(
            f"text.encoder: a frozen encoder is computed by PyTorch and transformers: {INSTALL} ({reason})"
        ) from error
    try:
        with _quiet(logging):
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model, loading_info = {"t5": T5EncoderModel, "clip": CLIPTextModel}[kind].from_pretrained(
                directory, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # several libraries raise several types
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"text.encoder: {directory} cannot be opened as a {kind}: {reason}") from error
    if missing := sorted(loading_info["missing_keys"]):  # they would be initialised at random
        raise UserError(f"text.encoder: the weights of {directory} lack {len(missing)} arrays, such as {missing[0]}")
    if not tokenizer.is_fast:
        raise UserError(f"text.encoder: {directory} must have a tokenizer.json, or a tokenizer convertible to one")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return Tower(kind, tokenizer, model.eval())


@contextlib.contextmanager
def _quiet(logging: Any):
    """Silences warnings about unused weights of other towers, and progress bars."""
    level, show_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if show_bars:
            logging.enable_progress_bar()
