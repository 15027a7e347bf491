"""Feature networks with random weights, in our form and in the published one."""

import jax
import numpy as np


def random_variables(tree, seed=0):
    """Kernels that keep the size of what passes, and statistics and scales that differ from channel to channel."""
    rng = np.random.default_rng(seed)

    def leaf(path, spec):
        name = path[-1].key
        if name == "kernel":
            return rng.standard_normal(spec.shape, np.float32) * np.sqrt(2 / np.prod(spec.shape[:-1]), dtype=np.float32)
        low, high = {"var": (0.5, 2), "scale": (0.5, 1.5), "bias": (-0.3, 0.3), "mean": (-0.3, 0.3)}[name]
        return rng.uniform(low, high, spec.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, tree)


def inception_state_dict(variables):
    """Our variables under the published keys: kernels [out, in, h, w], and what nobody uses beside them."""
    state_dict = {"fc.weight": variables["params"]["fc"]["kernel"].T, "fc.bias": np.ones(1008, np.float32)}

    def add(module, parameters, statistics):
        state_dict[f"{module}.conv.weight"] = parameters["kernel"].transpose(3, 2, 0, 1)
        state_dict[f"{module}.bn.weight"] = parameters["scale"]
        state_dict[f"{module}.bn.bias"] = parameters["bias"]
        state_dict[f"{module}.bn.running_mean"] = statistics["mean"]
        state_dict[f"{module}.bn.running_var"] = statistics["var"]
        state_dict[f"{module}.bn.num_batches_tracked"] = np.zeros((), np.int64)

    params, stats = variables["params"], variables["batch_stats"]
    for name in stats:
        if "var" in stats[name]:
            add(name, params[name], stats[name])
        else:
            for branch in stats[name]:
                add(f"{name}.{branch}", params[name][branch], stats[name][branch])
    return state_dict
