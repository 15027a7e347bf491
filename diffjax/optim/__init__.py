"""What a step of training changes, and how: the state, optimisers, and averages of the weights.

state        `TrainState`, and `update`: the optimiser step of one network, shared by all methods
accumulation processes a batch in parts
optimizers   Adam and RMSProp from optax, with schedules counted in images
ema          averages of the weights, from which samples are drawn
"""
