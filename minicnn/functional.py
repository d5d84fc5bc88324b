"""The public operations, by their names in torch.nn.functional. Each is at home in a file of minicnn/ops."""

from minicnn.ops.arithmetic import add, div, mul, neg, pow, sub
from minicnn.ops.avg_pool2d import avg_pool2d, global_avg_pool2d
from minicnn.ops.batch_norm import batch_norm
from minicnn.ops.conv2d import conv2d
from minicnn.ops.conv_block import conv_block
from minicnn.ops.cross_entropy import cross_entropy, nll_loss
from minicnn.ops.dropout import dropout
from minicnn.ops.exp import exp
from minicnn.ops.gelu import gelu
from minicnn.ops.leaky_relu import leaky_relu
from minicnn.ops.linear import linear
from minicnn.ops.log import log
from minicnn.ops.matmul import matmul
from minicnn.ops.max_pool2d import max_pool2d
from minicnn.ops.reduce import max, mean, sum
from minicnn.ops.relu import relu
from minicnn.ops.rrelu import rrelu
from minicnn.ops.shape import concatenate, flatten, getitem, pad, reshape, transpose
from minicnn.ops.sigmoid import sigmoid
from minicnn.ops.softmax import log_softmax, softmax
from minicnn.ops.tanh import tanh

__all__ = [
    "add", "avg_pool2d", "batch_norm", "concatenate", "conv2d", "conv_block", "cross_entropy", "div", "dropout",
    "exp", "flatten", "gelu", "getitem", "global_avg_pool2d", "leaky_relu", "linear", "log", "log_softmax",
    "matmul", "max", "max_pool2d", "mean", "mul", "neg", "nll_loss", "pad", "pow", "relu", "reshape", "rrelu",
    "sigmoid", "softmax", "sub", "sum", "tanh", "transpose",
]  # fmt: skip
