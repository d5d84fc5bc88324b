"""minicnn: a deep-learning engine from scratch, small enough to read in an afternoon.

`Tensor` and `functional` are the engine, `nn` the layers, `optim` and `schedule` what trains them, `models` the
networks. Importing it loads NumPy alone.
"""

from minicnn.rng import manual_seed
from minicnn.tensor import Tensor

from minicnn.function import Function, is_grad_enabled, no_grad, op_hook  # isort: skip
from minicnn import functional, models, nn, optim, schedule  # isort: skip

__all__ = [
    "Function", "Tensor", "functional", "is_grad_enabled", "manual_seed", "models", "nn", "no_grad", "op_hook", "optim",
    "schedule",
]  # fmt: skip
__version__ = "0.1.0"
