"""Against diffusers' `UNet2DModel` with random weights: the same output, from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import diffusion
from diffjax.diffusion import target, variance
from diffjax.interop.diffusers import load, unet_fields, unet_variables
from diffjax.models import UNet
from diffjax.parallel import Axis
from diffjax.precision import Precision

diffusers = pytest.importorskip("diffusers", reason="needs the extra `parity`")
torch = pytest.importorskip("torch", reason="needs the extra `parity`")
pytestmark = pytest.mark.parity

SMALL = {
    "sample_size": 16,
    "block_out_channels": (16, 32, 32),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
DDPM = {"flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "norm_eps": 1e-6}
RESIDUAL = {
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_type": "resnet",
    "upsample_type": "resnet",
}
CONFIGS = {
    "the defaults of diffusers": {},
    "those of google/ddpm-cifar10-32": DDPM | {"attention_head_dim": None},
    "sines first, frequencies open": {"flip_sin_to_cos": False},
    "cosines first, frequencies closed": {"freq_shift": 1},
    "scale and shift, a plain middle": {"resnet_time_scale_shift": "scale_shift"},
    "scale and shift, a normalised middle": {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 8},
    "residual resampling": RESIDUAL | {"resnet_time_scale_shift": "scale_shift"},
    "classes": {"num_class_embeds": 5, "layers_per_block": 2},
    "no attention in the middle": {"add_attention": False, "attention_head_dim": 16},
    "a learned variance": {"in_channels": 1, "out_channels": 2},
    "another image beside the noisy one": {"in_channels": 7, "out_channels": 3},
    "oblong images": {"sample_size": (8, 16)},
}


def randomise(model):
    """Nothing is 0 or 1, as some weights are in a new network; larger than new, so that every part is heard."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            one = "norm" in name and name.endswith("weight")
            value.copy_(1 + 0.2 * noise if one else noise * (0.2 if value.ndim == 1 else value[0].numel() ** -0.5))
    return model.eval()


def inputs(config, model):
    numbers = np.random.default_rng(1)
    size = config["sample_size"]
    sides = size if isinstance(size, tuple) else (size, size)
    x = numbers.normal(size=(3, model.config.in_channels, *sides)).astype(np.float32)
    t = np.array([0, 17, 999])
    label = np.array([4, 0, 2]) if model.config.num_class_embeds else None
    return x, t, label


def theirs(model, x, t, label):
    with torch.no_grad():
        y = model(torch.tensor(x), torch.tensor(t), None if label is None else torch.tensor(label)).sample
    return y.numpy().transpose(0, 2, 3, 1)


def ours(network, variables, x, t, label):
    label = None if label is None else jnp.asarray(label)
    return jax.jit(network.apply)(variables, x.transpose(0, 2, 3, 1), jnp.asarray(t, jnp.float32), label)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_unet_of_diffusers_gives_the_same_output_here(name):
    config = SMALL | CONFIGS[name]
    model = randomise(diffusers.UNet2DModel(**config))
    x, t, label = inputs(config, model)
    expected = theirs(model, x, t, label)
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    network = UNet(**unet_fields(dict(model.config)), precision=Precision(), axis=Axis())
    y = ours(network, unet_variables(weights, network, dict(model.config)), x, t, label)
    assert expected.std() > 0.3  # there is something to compare
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)  # measured: 3e-6


def test_a_saved_folder_is_loaded(tmp_path):
    model = randomise(diffusers.UNet2DModel(**SMALL))
    model.save_pretrained(tmp_path)
    x, t, label = inputs(SMALL, model)
    network, variables = load(tmp_path)
    np.testing.assert_allclose(ours(network, variables, x, t, label), theirs(model, x, t, label), rtol=1e-5, atol=1e-5)


def test_a_saved_model_draws_what_it_draws_in_diffusers(tmp_path):
    """DDIM from the same noise: at t = 1000, 900, ..., 100, their "trailing" time steps, counted from 0."""
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(**SMALL | DDPM)  # as new, so that ten steps do not blow up
    model.save_pretrained(tmp_path)
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(10)
    x_T, _, _ = inputs(SMALL, model)
    x = torch.tensor(x_T)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t).sample, t, x).prev_sample

    network, variables = load(tmp_path)
    process = diffusion.ddpm_linear()
    parts = diffusion.Parametrisation(process, target.Eps(), variance.Small())

    def predict(x_t, t, label):
        t = jnp.broadcast_to(t, len(x_t))
        return parts.prediction(network.apply(variables, x_t, diffusion.clock.index(process, t)), x_t, t)

    sampler, keys = diffusion.DDIM(steps=10), jax.random.split(jax.random.key(0), len(x_T))
    times = sampler.grid(process, sampler.steps)
    samples = sampler(process, diffusion.Denoiser(predict), jnp.asarray(x_T.transpose(0, 2, 3, 1)), times, keys)
    expected = x.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(samples.x0, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
