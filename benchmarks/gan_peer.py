"""`benchmarks.gan_step` in plain PyTorch (extra `parity`): our networks, losses and penalties, with autograd.

Not compiled: torch.compile cannot differentiate twice, as the penalties require. Each image passes through the
discriminator once per update, and its penalty uses the same logit.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sizes import Game
from benchmarks.torch_clock import device, parameters, products, timed

SMALLEST = 4  # side of the smallest feature maps


class Logit(nn.Linear):
    """Features [b, n] -> logits [b], always in float32."""

    def forward(self, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            return super().forward(h.float())[:, 0]


# ---------------------------------------------------------------------------------------------------------- DCGAN


def dcgan(game: Game, width: int) -> tuple[nn.Module, nn.Module]:
    widths = [width * 2**i for i in range(4)]
    generator = [
        nn.Linear(game.latent, SMALLEST**2 * widths[-1], bias=False),
        nn.Unflatten(1, (widths[-1], SMALLEST, SMALLEST)),
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(),
    ]
    for above, below in pairwise(reversed(widths)):
        conv = nn.Conv2d(above, below, 3, padding=1, bias=False)
        generator += [nn.Upsample(scale_factor=2), conv, nn.BatchNorm2d(below), nn.ReLU()]
    generator += [nn.Conv2d(width, 3, 3, padding=1), nn.Tanh()]

    discriminator = [nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2)]
    for above, below in pairwise(widths):
        discriminator += [nn.AvgPool2d(2), nn.Conv2d(above, below, 3, padding=1), nn.LeakyReLU(0.2)]
    discriminator += [nn.Flatten(), Logit(SMALLEST**2 * widths[-1], 1)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


# ---------------------------------------------------------------------------------------------------------- R3GAN


class Block(nn.Module):
    def __init__(self, width: int, group: int):
        super().__init__()
        hidden = 2 * width
        self.expand = nn.Conv2d(width, hidden, 1)
        self.grouped = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden // group)
        self.contract = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.grouped(F.leaky_relu(self.expand(x), 0.2)), 0.2)
        return x + self.contract(h)


class Resample(nn.Module):
    """Doubles or halves the side, with the filter [1, 3, 3, 1] / 8 along rows and columns."""

    def __init__(self, up: bool):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.resample = F.conv_transpose2d if up else F.conv2d
        self.register_buffer("taps", torch.outer(taps, taps) * (4 if up else 1))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return self.resample(x, self.taps.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


class FromBasis(nn.Module):
    """z [b, latent] -> a learned map [b, c, 4, 4] whose channels are scaled by a linear function of z."""

    def __init__(self, latent: int, width: int):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, SMALLEST, SMALLEST))
        self.modulate = nn.Linear(latent, width, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return self.modulate(z)[:, :, None, None] * self.basis


class ToBasis(nn.Module):
    """Sums over the pixels, weighted for each channel by a learned map: [b, c, 4, 4] -> [b, c]."""

    def __init__(self, width: int):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, SMALLEST, SMALLEST) / SMALLEST)

    def forward(self, h: Tensor) -> Tensor:
        return (h.float() * self.basis).sum((2, 3))


def r3gan(game: Game, widths: tuple[int, ...], blocks: tuple[int, ...], group: int) -> tuple[nn.Module, nn.Module]:
    def stage(width, count):
        return [Block(width, group) for _ in range(count)]

    def projection(width_in, width_out):
        return [nn.Conv2d(width_in, width_out, 1, bias=False)] if width_in != width_out else []

    generator = [FromBasis(game.latent, widths[0]), *stage(widths[0], blocks[0])]
    for (above, below), count in zip(pairwise(widths), blocks[1:], strict=True):
        generator += [*projection(above, below), Resample(up=True), *stage(below, count)]
    generator.append(nn.Conv2d(widths[-1], 3, 1, bias=False))

    discriminator = [nn.Conv2d(3, widths[-1], 1, bias=False), *stage(widths[-1], blocks[-1])]
    for (above, below), count in zip(pairwise(reversed(widths)), reversed(blocks[:-1]), strict=True):
        discriminator += [Resample(up=False), *projection(above, below), *stage(below, count)]
    discriminator += [ToBasis(widths[0]), Logit(widths[0], 1, bias=False)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


# ----------------------------------------------------------------------------------------------------------- step


def networks(game: Game) -> tuple[nn.Module, nn.Module]:
    """The generator and the discriminator of a game, with PyTorch's initial weights."""
    return {"dcgan": dcgan, "r3gan": r3gan}[game.kind](game, **game.networks)


def squared_gradient(logit: Tensor, x: Tensor) -> Tensor:
    """The batch mean of |grad_x D(x)|^2, differentiable again."""
    (gradient,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
    return gradient.square().sum() / len(x)


def gan_step(game: Game, compute: str, count: int) -> dict[str, float]:
    """Updates the discriminator with its penalty, the generator, and the average of its weights, as ours does."""
    torch.backends.cudnn.benchmark = True
    products(compute)
    generator, discriminator = (network.to(device()) for network in networks(game))
    average = copy.deepcopy(generator)
    adam_g, adam_d = (torch.optim.Adam(n.parameters(), 2e-4, betas=(0.5, 0.999)) for n in (generator, discriminator))
    stored = torch.randint(0, 256, (2, game.batch, 3, 32, 32), dtype=torch.uint8, device=device())
    relativistic = game.kind == "r3gan"  # also with R2

    def in_precision(network, x):
        with torch.autocast(device(), torch.bfloat16, enabled=compute == "bfloat16"):
            return network(x).float()

    def draw():
        return in_precision(generator, torch.randn(game.batch, game.latent, device=device()))

    def update_d(real):
        discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = draw()
        real.requires_grad_()
        fake.requires_grad_(relativistic)
        d_real, d_fake = in_precision(discriminator, real), in_precision(discriminator, fake)
        if relativistic:
            loss, penalty = F.softplus(d_fake - d_real), squared_gradient(d_real, real) + squared_gradient(d_fake, fake)
        else:
            loss, penalty = F.softplus(-d_real) + F.softplus(d_fake), squared_gradient(d_real, real)
        adam_d.zero_grad()
        (loss.mean() + game.gamma / 2 * penalty).backward(inputs=list(discriminator.parameters()))
        adam_d.step()

    def update_g(real):
        discriminator.requires_grad_(False)
        logit = in_precision(discriminator, draw())
        if relativistic:
            logit = logit - in_precision(discriminator, real)
        adam_g.zero_grad()
        F.softplus(-logit).mean().backward()
        adam_g.step()

    def weights(network):
        """The tensors that are averaged, including BatchNorm's statistics."""
        return [value for value in network.state_dict().values() if value.is_floating_point()]

    def step():
        first, second = (x.float() / 127.5 - 1 for x in stored)
        update_d(first)
        update_g(second)
        torch._foreach_lerp_(weights(average), weights(generator), 1e-4)

    return timed(step, count) | {"parameters": parameters(generator, discriminator)}
