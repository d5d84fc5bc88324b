"""cross_entropy and nll_loss: the definitions written out, and every rung against the loops."""

import math

import numpy as np
import pytest

from minicnn import Tensor
from minicnn import functional as F
from minicnn.device import module_for
from minicnn.kernels import rungs

LOGITS = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [2.0, 2.0, 2.0], [-1.0, 0.0, 1.0]])
LABELS = np.array([1, 0, 2, 2])
WEIGHT = np.array([0.5, 2.0, 1.5])
LOSSES = -np.log(np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True))  # of every row for every class
OWN = LOSSES[np.arange(4), LABELS]
SOFT = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.25, 0.5, 0.25]])


@pytest.fixture
def loss(tensor, device):
    """cross_entropy of LOGITS, or of others, on the device and in the dtype at hand."""
    xp = module_for(device)

    def compute(target, logits=LOGITS, weight=None, **options):
        weight = None if weight is None else xp.asarray(weight)
        return F.cross_entropy(tensor(logits), xp.asarray(target), weight, **options).numpy()

    return compute


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(loss):
    np.testing.assert_allclose(loss([0, 6], np.zeros((2, 7))), math.log(7), rtol=1e-6)


@pytest.mark.parametrize(("reduction", "expected"), [("none", OWN), ("sum", OWN.sum()), ("mean", OWN.mean())])
def test_reductions(loss, reduction, expected):
    np.testing.assert_allclose(loss(LABELS, reduction=reduction), expected, rtol=1e-6)


def test_mean_with_class_weights_divides_by_the_weights_of_the_targets(loss):
    weights = WEIGHT[LABELS]
    np.testing.assert_allclose(loss(LABELS, weight=WEIGHT), (weights * OWN).sum() / weights.sum(), rtol=1e-6)


def test_smoothing_mixes_in_the_mean_over_all_classes(loss):
    expected = 0.8 * OWN.mean() + 0.2 * LOSSES.mean()
    np.testing.assert_allclose(loss(LABELS, label_smoothing=0.2), expected, rtol=1e-6)


def test_smoothing_with_class_weights_is_torch_s(loss):
    """Both parts are divided by the weights of the targets; in the second every class has its own weight."""
    weights = WEIGHT[LABELS]
    expected = (0.8 * (weights * OWN).sum() + 0.2 / 3 * (WEIGHT * LOSSES).sum()) / weights.sum()
    np.testing.assert_allclose(loss(LABELS, weight=WEIGHT, label_smoothing=0.2), expected, rtol=1e-6)


def test_probabilities_as_target(loss):
    np.testing.assert_allclose(loss(SOFT), (SOFT * LOSSES).sum(1).mean(), rtol=1e-6)


def test_probabilities_with_weights_and_smoothing_divide_by_the_number_of_rows(loss):
    expected = ((0.8 * SOFT + 0.2 / 3) * WEIGHT * LOSSES).sum() / 4
    np.testing.assert_allclose(loss(SOFT, weight=WEIGHT, label_smoothing=0.2), expected, rtol=1e-6)


def test_certain_probabilities_are_labels(loss):
    np.testing.assert_allclose(loss(np.eye(3)[LABELS]), loss(LABELS), rtol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_logits_with_positions_are_rows_of_their_own(loss, random, soft, reduction):
    logits = random.normal(size=(2, 3, 4, 5))
    target = random.random(logits.shape) if soft else random.integers(0, 3, (2, 4, 5))
    rows = logits.transpose(0, 2, 3, 1).reshape(-1, 3)
    row_target = target.transpose(0, 2, 3, 1).reshape(-1, 3) if soft else target.reshape(-1)
    got = loss(target, logits, reduction=reduction)
    expected = loss(row_target, rows, reduction=reduction)
    np.testing.assert_allclose(got, expected.reshape(2, 4, 5) if reduction == "none" else expected, rtol=1e-5)


def test_large_logits_do_not_overflow(loss):
    np.testing.assert_allclose(loss([0, 1], [[5000.0, 0.0], [5000.0, 0.0]], reduction="none"), [0, 5000])


def test_gradient_is_softmax_minus_target_over_the_number_of_rows(tensor, device, gradients):
    logits = tensor(LOGITS)
    (grad,) = gradients(F.cross_entropy(logits, module_for(device).asarray(LABELS)), 1.0, logits)
    np.testing.assert_allclose(grad, (np.exp(-LOSSES) - np.eye(3)[LABELS]) / 4, atol=1e-6)


def test_dtype_is_kept(tensor, dtype, device):
    xp, logits = module_for(device), tensor(LOGITS)
    y = F.cross_entropy(logits, xp.asarray(SOFT), xp.asarray(WEIGHT), 0.1)
    y.backward()
    assert y.dtype == logits.grad.dtype == dtype


def test_target_stays_as_it_was():
    target = SOFT.copy()
    F.cross_entropy(Tensor(LOGITS), target, WEIGHT, 0.1)
    np.testing.assert_array_equal(target, SOFT)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nll_loss_of_log_softmax_is_cross_entropy(tensor, device, loss, reduction):
    xp = module_for(device)
    y = F.nll_loss(F.log_softmax(tensor(LOGITS)), xp.asarray(LABELS), xp.asarray(WEIGHT), reduction)
    np.testing.assert_allclose(y.numpy(), loss(LABELS, weight=WEIGHT, reduction=reduction), rtol=1e-6)


def test_nll_loss_does_not_see_the_probability_0_of_other_classes():
    assert F.nll_loss(Tensor(np.array([[0.0, -np.inf]])), np.array([0])).item() == 0


@pytest.mark.parametrize("rung", rungs("cross_entropy"))
def test_a_class_ruled_out_by_a_logit_of_minus_infinity_costs_nothing(use_rung, rung):
    use_rung("cross_entropy", rung)
    logits = Tensor(np.array([[1.0, -np.inf, 1.0]]), requires_grad=True)
    y = F.cross_entropy(logits, np.array([0]))
    y.backward()
    np.testing.assert_allclose(y.item(), math.log(2))
    np.testing.assert_allclose(logits.grad, [[-0.5, 0, 0.5]])


@pytest.mark.parametrize("rung", rungs("cross_entropy")[1:])
@pytest.mark.parametrize("target", [LABELS, SOFT], ids=["labels", "soft"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_every_rung_agrees_with_the_reference(agrees_with_reference, rung, target, weight, smoothing, reduction):
    agrees_with_reference(
        "cross_entropy", rung, lambda x: F.cross_entropy(x, target, weight, smoothing, reduction), [LOGITS]
    )


@pytest.mark.parametrize("rung", rungs("cross_entropy")[1:])
def test_every_rung_agrees_with_the_reference_on_one_row_of_large_logits(agrees_with_reference, rung):
    one = np.array([[800.0, -800.0, 790.0]])
    agrees_with_reference("cross_entropy", rung, lambda x: F.cross_entropy(x, np.array([1])), [one])


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ([0, 1], {}, r"cross_entropy: expected target \(4,\) of class numbers, got \(2,\)"),
        ([0, 1, 2, 3], {}, "expected class numbers 0 to 2, got 0 to 3"),
        ([-1, 1, 2, 0], {}, "expected class numbers 0 to 2, got -1 to 2"),
        ([True, False, True, True], {}, "expected integer class numbers or probabilities as target, got bool"),
        ([0.1, 0.2, 0.3, 0.4], {}, r"expected probabilities \(4, 3\) as target, got \(4,\)"),
        (LABELS, {"weight": np.ones(2)}, r"expected class weights \(3,\), got \(2,\)"),
        (LABELS, {"label_smoothing": 1.5}, "expected label smoothing from 0 to 1, got 1.5"),
        (LABELS, {"reduction": "average"}, 'expected reduction "mean", "sum" or "none", got \'average\''),
    ],
)
def test_targets_that_do_not_fit_are_refused(target, options, message):
    with pytest.raises(ValueError, match=message):
        F.cross_entropy(Tensor(LOGITS), np.array(target), **options)


@pytest.mark.parametrize("shape", [(3,), (0, 3)])
def test_logits_without_rows_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected logits \(N, C\) with N of at least 1"):
        F.cross_entropy(Tensor(np.zeros(shape)), np.zeros(shape[:1], int))


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_logits_are_a_tensor_and_targets_are_none(loss):
    with pytest.raises(TypeError, match=r"expected logits as a Tensor, got a ndarray: wrap it, Tensor\(array\)"):
        loss(np.zeros((2, 3)), np.zeros(2, int))
    with pytest.raises(TypeError, match=r"expected a plain array as target, got a Tensor: use its \.data"):
        loss(Tensor(np.zeros((2, 3))), Tensor(np.ones((2, 3)) / 3))
