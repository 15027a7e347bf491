"""Frozen text encoders: embeddings of captions by a pretrained T5 or CLIP, computed once and cached.

    encoder = Encoder.open("t5", "/models/t5-small", tokens=64)
    encoded = encoder(["a red circle", ""])  # Encoded; encoded[np.array([0, 1])] is float32 [2, 1 + 64, 1 + width]

encoder    an encoder's identity, and its embeddings of texts: from memory, from the cache, or computed
files      the directory of an encoder: checks its contents, and hashes them to an identity
cache      files of embeddings: reading, checking, writing
towers     the PyTorch models; the only module that imports PyTorch, and only when needed
packed     one array for the embedding of a text: token embeddings, the pooled embedding, and the mask

An encoder is never trained, nor stored in a checkpoint: a network sees its embeddings as array-valued labels.
"""

from diffjax.encoders.encoder import Encoded, Encoder

__all__ = ["Encoder", "Encoded"]
