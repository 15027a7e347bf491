"""`benchmarks.train_step` and `sampler` with diffusers' `UNet2DModel` (extra `parity`), like its training example."""

# isort: off
import benchmarks.torchvision_on_cpu  # noqa: F401  (before diffusers)

# isort: on
import copy

import diffusers
import torch

from benchmarks.sizes import Size
from benchmarks.torch_clock import device, parameters, products, timed


def unet(size: Size) -> diffusers.UNet2DModel:
    """A UNet with our widths, blocks and attention, and its own initialisation and group sizes."""
    kinds = ["Attn" if level in size.attention else "" for level in range(len(size.multipliers))]
    widths = tuple(size.channels * m for m in size.multipliers)
    return diffusers.UNet2DModel(
        sample_size=size.side,
        in_channels=size.colours,
        out_channels=size.colours,
        layers_per_block=size.blocks,
        block_out_channels=widths,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        norm_num_groups=min(32, size.channels // 4),
        attention_head_dim=None,
    ).to(device())


def train_step(size: Size, compute: str, count: int) -> dict[str, float]:
    """Noise, forward, backward, Adam and an average of the weights, as in ours."""
    products(compute)
    model = unet(size)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    schedule = diffusers.DDPMScheduler(1000)
    x = torch.rand(size.batch, size.colours, size.side, size.side, device=device()) * 2 - 1
    compiled = torch.compile(model) if device() == "cuda" else model

    def step():
        noise = torch.randn_like(x)
        t = torch.randint(0, 1000, (size.batch,), device=device())
        noisy = schedule.add_noise(x, noise, t)
        with torch.autocast(device(), torch.bfloat16, enabled=compute == "bfloat16"):
            loss = torch.nn.functional.mse_loss(compiled(noisy, t).sample.float(), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1e-4)

    return timed(step, count) | {"parameters": parameters(model)}


@torch.no_grad()
def sampler(size: Size, compute: str, steps: int) -> dict[str, float]:
    """DDIM with `steps` steps."""
    products(compute)
    model, schedule = unet(size).eval(), diffusers.DDIMScheduler(1000, clip_sample=False)
    schedule.set_timesteps(steps)

    def draw():
        x = torch.randn(size.batch, size.colours, size.side, size.side, device=device())
        with torch.autocast(device(), torch.bfloat16, enabled=compute == "bfloat16"):
            for t in schedule.timesteps:
                x = schedule.step(model(x, t).sample, t, x).prev_sample

    return timed(draw, 1, warm=0)
