"""An encoder without PyTorch: its directory is as Hugging Face's libraries write them, its numbers are of the texts."""

import json
import zlib

import numpy as np

from diffjax.encoders.cache import Embeddings
from diffjax.encoders.packed import pack

WIDTH = 6


def directory(path, weights=b"some weights", **config):
    """What `files.find` looks at."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": WIDTH} | config))
    (path / "model.safetensors").write_bytes(weights)
    (path / "tokenizer.json").write_text("{}")
    return path


def said(text: str, n: int):
    """Of each word numbers of its own, and a token that ends the text; n tokens at most."""
    words = text.split()
    kept = words[: n - 1]
    numbers = [np.random.RandomState(zlib.crc32(word.encode())).standard_normal(WIDTH) for word in [*kept, ""]]
    places = np.cumsum([0, *(len(word) + 1 for word in kept)])
    spans = [(place, place + len(word)) for place, word in zip(places, kept, strict=False)]
    return np.array(numbers), np.array([*spans, (0, 0)]), len(words) > len(kept)


class Stub:
    """In place of `towers.embed`; counts how often it is asked, and what."""

    def __init__(self):
        self.asked = []

    def __call__(self, tower, texts, tokens, progress):
        self.asked.append(list(texts))
        k = len(texts)
        numbers, spans = np.zeros((k, tokens, WIDTH), np.float32), np.zeros((k, tokens, 2), np.int32)
        there, cut = np.zeros((k, tokens), bool), np.zeros(k, bool)
        for i, text in enumerate(texts):
            words, of, cut[i] = said(text, tokens)
            numbers[i, : len(words)], spans[i, : len(words)], there[i, : len(words)] = words, of, True
        pooled = numbers.sum(axis=1) / there.sum(axis=1)[:, None]
        return Embeddings(pack(numbers, pooled, there), spans, cut)
