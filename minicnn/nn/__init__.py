"""Layers: they hold parameters and buffers, and call the operations of minicnn.functional."""

from minicnn.nn.activations import GELU, LeakyReLU, LogSoftmax, ReLU, RReLU, Sigmoid, Softmax, Tanh
from minicnn.nn.avg_pool2d import AvgPool2d, GlobalAvgPool2d
from minicnn.nn.batch_norm import BatchNorm1d, BatchNorm2d
from minicnn.nn.containers import Residual, Sequential
from minicnn.nn.conv2d import Conv2d
from minicnn.nn.conv_block import ConvBlock
from minicnn.nn.dropout import Dropout
from minicnn.nn.flatten import Flatten
from minicnn.nn.linear import Linear
from minicnn.nn.losses import CrossEntropyLoss, NLLLoss
from minicnn.nn.max_pool2d import MaxPool2d
from minicnn.nn.module import Module, Parameter

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "ConvBlock",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "NLLLoss",
    "Parameter",
    "RReLU",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
