"""The process and its machine. Nothing here knows of models or data, and no number depends on it.

xla          flags of XLA, set before the first computation
caches       the cache of downloads, embeddings and compiled programs
whole        atomic file writes
userfile     executes a user's config or experiment
progress     lines for a user who waits
"""
