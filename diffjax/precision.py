"""The number formats of a run: four explicit switches."""

import os
from dataclasses import dataclass

import jax

from diffjax.errors import UserError

FORMATS = ("float32", "bfloat16", "float64")  # no float16: its small gradients are 0 unless losses are scaled
MATMUL = ("highest", "tensorfloat32", "default")  # of float32 matrix products; all the same on a CPU


@dataclass(frozen=True)
class Precision:
    """Number formats. Parameters, optimiser state, losses and sampling coefficients are always in `params`."""

    compute: str = "float32"  # activations and matrix products in the networks; "bfloat16" suits GPUs and TPUs
    params: str = "float32"  # parameters; "float64" needs JAX_ENABLE_X64=1 and is for tests
    matmul: str = "default"  # "default" lets a GPU or TPU shorten float32 products; "highest" does not
    deterministic: bool = False  # on GPUs: only kernels that sum in a fixed order; slower but repeatable

    def __post_init__(self):
        for field, allowed in (("compute", FORMATS), ("params", ("float32", "float64")), ("matmul", MATMUL)):
            if getattr(self, field) not in allowed:
                raise UserError(f"precision.{field}: {getattr(self, field)!r} must be one of {', '.join(allowed)}")

        for field in ("compute", "params"):
            if getattr(self, field) == "float64" and not jax.config.jax_enable_x64:
                raise UserError(f"precision.{field}: 'float64' needs JAX_ENABLE_X64=1 in the environment")

    @property
    def formats(self) -> dict[str, str]:
        """The formats as keywords of Flax layers: computation and parameters."""
        return {"dtype": self.compute, "param_dtype": self.params}

    def apply(self) -> None:
        """Sets the process-wide switches. Call it before the first computation, when XLA reads its flags."""
        jax.config.update("jax_default_matmul_precision", None if self.matmul == "default" else self.matmul)
        flag = "--xla_gpu_deterministic_ops=true"
        if self.deterministic and flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
