"""What the peers need before any of them is imported."""

import benchmarks.torchvision_on_cpu  # noqa: F401
