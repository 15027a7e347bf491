"""Training: the loop that is the same for every method, and what surrounds it.

loop         `train`: the algorithm box; restores, steps, logs, evaluates, saves
warm_start   the networks that a run starts from
window       means of the metrics since the last log line, on the device
health       watches a run whose numbers are finite, such as a GAN that has collapsed
replay       finds the first bad tensor of a step that was not finite
dry_run      parameters, FLOPs and memory of a config, without running it
stopwatch, profiler, interrupts     speed, profiles of some steps, and signals that stop a run
"""
