"""Frozen text encoders: what a T5 or a CLIP that others have trained says of a caption, computed once and kept.

    encoder = Encoder.open("t5", "/models/t5-small", tokens=64)
    encoded = encoder(["a red circle", ""])  # Encoded; encoded[np.array([0, 1])] is float32 [2, 1 + 64, 1 + width]

encoder    which encoder it is, and its embeddings of texts: remembered, read from the cache, or computed
files      the directory of an encoder: what is in it, and the hash that says which encoder it is
cache      embeddings in files: read, checked, written
towers     the PyTorch models themselves; nothing else here imports PyTorch, nor is it imported before it is needed
packed     one array for what is said of a text: its tokens, the whole, and which tokens there are

Nothing of an encoder is trained, or stands in a checkpoint: to a network its embeddings are a label that is an array.
"""

from diffjax.encoders.encoder import Encoded, Encoder

__all__ = ["Encoder", "Encoded"]
