"""Where in the image a diffusion model with captions attends to each word."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from diffjax.methods.diffusion import Diffusion
from diffjax.optim.state import Tree


def attention_maps(method: Diffusion, variables: dict[str, Tree], x_t: Array, t: Array, cond: Array) -> Array:
    """Each pixel's attention to its caption: x_t [b, h, w, c], t [], captions [b, n] -> [b, h, w, 1 + n].

    The last axis is over the caption's bytes, or over tokens if `cond` [b, 1 + n, d + 1] is the embedding by a frozen
    encoder; its first entry belongs to no byte, and it sums to 1. Maps are enlarged to the size of the image and
    averaged over heads and layers.
    """
    process, t = method.process_of(variables), jnp.broadcast_to(t, len(x_t))
    network_input = method.network_input(method.target.input(x_t, t, process))
    _, collected = method.make(method.network).apply(
        variables["denoiser"], network_input, method.clock(process, t), cond, mutable="intermediates"
    )
    layers = [_enlarged(weights, *x_t.shape[1:3]) for weights in jax.tree.leaves(collected["intermediates"])]
    return sum(layers) / len(layers)


def _enlarged(weights: Array, height: int, width: int) -> Array:
    """A layer's weights [b, heads, cells, 1 + n], averaged over heads: [b, h, w, 1 + n]. Each cell is a square."""
    side = round((height * width / weights.shape[2]) ** 0.5)
    grid = weights.mean(axis=1).reshape(len(weights), height // side, width // side, -1)
    return grid.repeat(side, axis=1).repeat(side, axis=2)
