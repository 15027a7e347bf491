"""In which number formats a run computes: four stated switches, nothing implicit."""

import os
from dataclasses import dataclass

import jax

from diffjax.errors import UserError

FORMATS = ("float32", "bfloat16", "float16", "float64")
MATMUL = ("highest", "tensorfloat32", "default")  # of products of float32; on a CPU they are all the same


@dataclass(frozen=True)
class Precision:
    """Number formats. Parameters, optimiser state, losses and sampling coefficients stay in `params` always."""

    compute: str = "float32"  # activations and matrix products inside the networks; "bfloat16" on GPU and TPU
    params: str = "float32"  # parameters; "float64" needs JAX_ENABLE_X64=1 and is meant for tests
    matmul: str = "default"  # "default" lets a GPU or TPU use fewer bits inside float32 products; "highest" does not
    deterministic: bool = False  # on GPU, only kernels that sum in a fixed order: slower, repeatable

    def __post_init__(self):
        for field, allowed in (("compute", FORMATS), ("params", ("float32", "float64")), ("matmul", MATMUL)):
            if getattr(self, field) not in allowed:
                raise UserError(f"precision.{field}: {getattr(self, field)!r} is not one of {', '.join(allowed)}")

        if "float64" in (self.compute, self.params) and not jax.config.jax_enable_x64:
            raise UserError("precision.params: 'float64' needs JAX_ENABLE_X64=1 in the environment")

    @property
    def formats(self) -> dict[str, str]:
        """What a layer is told: in which format it computes, and in which its parameters are."""
        return {"dtype": self.compute, "param_dtype": self.params}

    def apply(self) -> None:
        """Sets the process-wide switches. XLA reads its flags once: call this before the first computation."""
        jax.config.update("jax_default_matmul_precision", None if self.matmul == "default" else self.matmul)
        flag = "--xla_gpu_deterministic_ops=true"
        if self.deterministic and flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
