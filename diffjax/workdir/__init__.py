"""Run directories: everything that a run leaves on disk.

directory    creates run directories, locks them, records how they were made, and reads their configs
checkpoint   saves and restores checkpoints; the only module that uses Orbax
writer       metrics.jsonl, TensorBoard events, and the progress lines on stdout
"""
