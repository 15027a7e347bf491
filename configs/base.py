"""The keys of every config, with their defaults and units. A component's own keys stand at its class or function."""

from ml_collections import ConfigDict

from diffjax.config import component


def get_config():
    c = ConfigDict()
    c.seed = 0  # of everything: initial weights, the order of the data, noise, samples

    c.data = component("data", "digits")
    c.method = component("method", "diffusion")
    c.optim = component("optim", "adam")  # or a section with one for each network, as the GANs have
    c.ema = component("ema", "half_life")
    c.sampler = component("sampler", "heun")

    c.train = ConfigDict()
    c.train.steps = 10_000  # updates; of a GAN, generator updates
    c.train.batch_size = 128  # global: over all devices, and over the parts of `accumulate`
    c.train.accumulate = 1  # parts a batch is split into, one after the other, to save memory
    c.train.log_every = 100  # steps; what is logged is the mean since the last line
    c.train.sample_every = 2_000  # steps between pictures in samples/; 0: only at the end
    c.train.checkpoint_every = 2_000  # steps; 0: only at the end
    c.train.keep = 2  # last checkpoints to keep, besides the best
    c.train.init_from = ""  # run directory whose networks to start from
    c.train.profile = 0  # steps to trace for TensorBoard, from the tenth on

    c.precision = ConfigDict()
    c.precision.compute = "float32"  # inside the networks; "bfloat16" on GPU and TPU
    c.precision.params = "float32"
    c.precision.matmul = "default"  # or "tensorfloat32", "highest"
    c.precision.deterministic = False  # on GPU: sums in a fixed order, slower

    c.parallel = ConfigDict()
    c.parallel.mode = "jit"  # or "pmap"
    c.parallel.devices = 0  # 0: all there are
    c.parallel.fsdp = 1  # devices over which parameters are split; jit only

    c.eval = ConfigDict()
    c.eval.every = 0  # steps; 0: only at the end
    c.eval.num = 1_000  # samples drawn
    c.eval.batch_size = 256  # samples drawn at once
    c.eval.metrics = ()  # names in diffjax/measures.py
    c.eval.classifier = ""  # run directory of the classifier that the metric "classifier" asks
    c.eval.best = ""  # logged value whose least one's checkpoint is kept, such as "eval/frechet_pixels"
    return c


def ddpm(**fields):
    """The method of Ho et al. 2020: linear betas over 1,000 steps, eps as target, L_simple."""
    ours = {"process": "ddpm_linear", "target": "eps", "weighting": "simple", "times": "uniform", "clock": "index"}
    return component("method", "diffusion", **ours | fields)
