"""The UNets of score SDEs, written anew in PyTorch from Song et al. 2021 and from the code of Karras et al. 2022."""

import math

from tests.parity.networks import F, filter_of_pixels, torch, torch_down, torch_up


class ScoreUNet:
    """DDPM++ and NCSN++: what a network with these weights, and the sizes of `network`, gives in PyTorch.

    With a style [b, z] every norm of the residual blocks is that of Xiao et al. 2021.
    """

    def __init__(
        self, weights, network, taps, encoder="standard", decoder="standard", frequencies="closed", style=None
    ):
        self.weights, self.network, self.taps, self.style = weights, network, taps, style
        self.encoder, self.decoder, self.frequencies = encoder, decoder, frequencies

    def __call__(self, x, t, label=None, augment_labels=None):
        self.condition = self.embedded(t, label, augment_labels)
        levels = range(len(self.network.multipliers))
        pyramid = x
        x = self.weights.conv(x, "input")
        skips = [x]
        for level in levels:
            if level:
                x = self.block(x, f"down_{level - 1}_sample", torch_down)
                x, pyramid = self.injected(x, pyramid, f"input_{level}")
                skips.append(x)
            for i in range(self.network.blocks):
                x = self.block(x, f"down_{level}_{i}", attended=x.shape[2] in self.network.attention)
                skips.append(x)

        x = self.block(self.attention(self.block(x, "middle_1"), "middle_attention"), "middle_2")
        output = None
        for level in reversed(levels):
            if level != levels[-1]:
                x = self.block(x, f"up_{level + 1}_sample", torch_up)
            for i in range(self.network.blocks + 1):
                attended = i == self.network.blocks and x.shape[2] in self.network.attention
                x = self.block(torch.cat([x, skips.pop()], dim=1), f"up_{level}_{i}", attended=attended)
            if self.decoder == "skip" or level == 0:
                name = f"output_{level}" if level else "output"
                image = self.weights.conv(F.silu(self.norm(x, f"{name}_norm")), name)
                output = image if output is None else torch_up(output, self.taps) + image
        return output

    def embedded(self, t, label, augment_labels):
        if self.frequencies == "random":
            frequencies = 2 * math.pi * self.weights.at("embedding", "frequencies", collection="constants")
        else:
            half = self.network.channels // 2
            frequencies = 10_000.0 ** (-torch.arange(half, dtype=t.dtype) / (half - 1))
        angles = torch.outer(t, frequencies)
        h = torch.cat([angles.sin(), angles.cos()], dim=1)
        if label is not None:
            h = h + self.weights.at("embedding", "label")[label]
        if augment_labels is not None:
            h = h + self.weights.linear(augment_labels, "embedding", "hints")
        for i in (1, 2):
            h = F.silu(self.weights.linear(h, "embedding", f"time_{i}"))
        return h

    def block(self, x, name, change=None, attended=False):
        """conv(swish(norm(conv(swish(norm(x))) + time))) + x, both branches resized, over sqrt(2)."""
        h = F.silu(self.norm(x, name, "norm_1"))
        skip = x
        if change is not None:
            h, skip = change(h, self.taps), change(skip, self.taps)
        time = self.weights.linear(self.condition, name, "condition")
        h = self.weights.conv(h, name, "conv_1") + time[..., None, None]
        h = self.weights.conv(F.silu(self.norm(h, name, "norm_2")), name, "conv_2")
        if change is not None or h.shape[1] != skip.shape[1]:
            skip = self.weights.conv(skip, name, "shortcut")
        x = (h + skip) / 2**0.5
        return self.attention(x, f"{name}_attention") if attended else x

    def norm(self, x, *path):
        scale, shift = self.weights.at(*path, "scale"), self.weights.at(*path, "bias")
        y = F.group_norm(x, min(x.shape[1] // 4, 32), scale, shift, eps=1e-6)
        if self.style is None or len(path) == 1 or "attention" in path[0]:
            return y
        *block, norm = path
        gamma, beta = self.weights.linear(self.style, *block, f"{norm}_style")[..., None, None].chunk(2, dim=1)
        return (1 + gamma) * y + beta  # their gamma is this one with 1 added to its bias before training

    def attention(self, x, name):
        h = self.norm(x, name, "norm").flatten(2).transpose(1, 2)
        q, k, v = (self.weights.linear(h, name, part) for part in ("q", "k", "v"))
        h = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v
        return (x + self.weights.linear(h, name, "out").transpose(1, 2).reshape(x.shape)) / 2**0.5

    def injected(self, x, pyramid, name):
        """x with what its level is shown of the input, and what the next level will begin with."""
        if self.encoder == "skip":
            pyramid = torch_down(pyramid, self.taps)
            return x + self.weights.conv(pyramid, name), pyramid
        if self.encoder == "residual":
            kernel, bias = self.weights.kernel(name), self.weights.at(name, "bias")
            h = F.conv2d(pyramid, kernel, padding=len(self.taps) // 2)  # zeros around are also filtered
            h = F.conv2d(h, filter_of_pixels(h.shape[1], self.taps, h.dtype), stride=2, groups=h.shape[1])
            x = (x + h + bias[:, None, None]) / 2**0.5
            return x, x
        return x, None
