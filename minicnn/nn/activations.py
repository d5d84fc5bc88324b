"""Activation layers: each applies the function of its name in minicnn.functional, where the formulas are."""

from minicnn import functional as F
from minicnn.nn.module import Module
from minicnn.tensor import Tensor


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.relu(x)


class LeakyReLU(Module):
    """x where it is positive, else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.leaky_relu(x, self.negative_slope)

    def __repr__(self) -> str:
        return f"LeakyReLU({self.negative_slope:g})"


class RReLU(Module):
    """Leaky ReLU with a random slope in [lower, upper] for each element in training, their mean in evaluation."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.rrelu(x, self.lower, self.upper, self.training)

    def __repr__(self) -> str:
        return f"RReLU({self.lower:.3g}, {self.upper:.3g})"


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.tanh(x)


class GELU(Module):
    """Gaussian error linear unit, in its tanh form."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.gelu(x)


class Softmax(Module):
    """Probabilities along an axis."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.softmax(x, self.axis)


class LogSoftmax(Module):
    """Logarithm of the probabilities along an axis."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to `x`, of any shape."""
        return F.log_softmax(x, self.axis)
