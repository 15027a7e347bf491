"""The process and its machine. Nothing here knows of models or data, and no number depends on it but for rounding.

xla          flags of XLA, set before the first computation
caches       the cache of downloads, embeddings and compiled programs
atomic       atomic file writes;   json_files: JSON, written atomically and read with errors that help
surroundings versions, hardware, commit and command line of a result
userfile     executes a user's config or experiment
progress     callbacks and lines for a user who waits
"""
