"""Activations, softmax and dropout."""

from tests.harness import Case, array, distinct, normal, off_zero, tied

x, kinked = normal(2, 3, 4, 5), off_zero(2, 3, 4, 5)
wide = array([-800.0, -90.0, -20.0, -1.0, 0.0, 1e-6, 1.0, 20.0, 90.0, 800.0])
infinite = array([[float("-inf"), 0.0, 1.0], [1000.0, 1000.0, 999.0]], grad=False)

CASES = [
    Case("relu", "", (kinked,), lambda F, x: F.relu(x), half=True),
    Case("relu", "zeros: slope 0", (tied(4, 5),), lambda F, x: F.relu(x), differences=False),
    Case("relu", "in place", (kinked,), lambda F, x: F.relu(x * 1, inplace=True) ** 2),
    Case("relu", "special values", (array([float("nan"), float("inf"), float("-inf"), -0.0], grad=False),), lambda F, x: F.relu(x)),
    Case("leaky_relu", "", (kinked,), lambda F, x: F.leaky_relu(x), half=True),
    Case("leaky_relu", "slope 0.2", (kinked,), lambda F, x: F.leaky_relu(x, 0.2)),
    Case("leaky_relu", "zeros", (tied(4, 5),), lambda F, x: F.leaky_relu(x), differences=False),
    Case("gelu", "", (x,), lambda F, x: F.gelu(x), half=True),
    Case("gelu", "far out", (wide,), lambda F, x: F.gelu(x)),
    Case("gelu", "tanh", (x,), lambda F, x: F.gelu(x, approximate="tanh"), half=True),
    Case("gelu", "tanh, far out", (array([-30.0, -5.0, 0.0, 5.0, 30.0]),), lambda F, x: F.gelu(x, approximate="tanh")),
    Case("sigmoid", "", (x,), lambda F, x: F.sigmoid(x), half=True),
    Case("sigmoid", "far out", (wide,), lambda F, x: F.sigmoid(x)),
    Case("tanh", "", (x,), lambda F, x: F.tanh(x), half=True),
    Case("tanh", "far out", (wide,), lambda F, x: F.tanh(x)),
    Case("softmax", "", (x,), lambda F, x: F.softmax(x, 1), half=True),
    Case("softmax", "last", (normal(6, 7, std=10),), lambda F, x: F.softmax(x, -1)),
    Case("softmax", "-inf and large", (infinite,), lambda F, x: F.softmax(x, 1)),
    Case("softmax", "into float64", (normal(3, 4),), lambda F, x: F.softmax(x, 0, dtype=F.float64)),
    Case("log_softmax", "", (x,), lambda F, x: F.log_softmax(x, 1), half=True),
    Case("log_softmax", "last", (normal(6, 7, std=10),), lambda F, x: F.log_softmax(x, dim=-1)),
    Case("log_softmax", "-inf and large", (infinite,), lambda F, x: F.log_softmax(x, 1)),
    Case("dropout", "evaluation", (x,), lambda F, x: F.dropout(x, 0.5, training=False)),
    Case("dropout", "p = 0 and p = 1", (x,), lambda F, x: [F.dropout(x, 0.0), F.dropout(x, 1.0)]),
    Case("dropout", "random: kept ones are scaled", (array([[1.0] * 200] * 60, grad=False),), lambda F, x: F.dropout(x, 0.3), moments=True),
    Case("dropout", "in place", (array([[1.0] * 200] * 60, grad=False),), lambda F, x: F.dropout(x * 1, 0.7, inplace=True), moments=True),
    Case("dropout", "gradient is masked alike", (array([1.0] * 9000),), lambda F, x: _gradient_where_kept(F.dropout(x, 0.4), x), moments=True),
    Case("dropout2d", "evaluation", (x,), lambda F, x: F.dropout2d(x, 0.5, training=False)),
    Case("dropout2d", "random: whole channels", (array([[[[1.0] * 2] * 3] * 90] * 30, grad=False),), lambda F, x: F.dropout2d(x, 0.3)[:, :, 1, 1],
         moments=True),
    Case("dropout2d", "channels fall as one", (array([[[[1.0] * 2] * 3] * 90] * 30, grad=False),),
         lambda F, x: (lambda y: (y == y[:, :, :1, :1]).all())(F.dropout2d(x, 0.3))),
    Case("elu", "", (kinked,), lambda F, x: [F.elu(x), F.elu(x, 0.5)]),
    Case("silu", "", (x,), lambda F, x: F.silu(x)),
    Case("softplus", "", (x,), lambda F, x: F.softplus(x)),
    Case("softplus", "beta, threshold", (distinct(30),), lambda F, x: F.softplus(x, 2, 5)),
    Case("hardtanh", "", (distinct(4, 5),), lambda F, x: [F.hardtanh(x), F.hardtanh(x, -2, 0.5)]),
    Case("relu6", "", (distinct(8, 9),), lambda F, x: F.relu6(x)),
]


def _gradient_where_kept(y, x):
    """d(Σy)/dx: 1 / (1 − p) where kept, 0 elsewhere; must equal y for x = 1."""
    y.sum().backward()
    gradient, x.grad = x.grad, None
    assert (gradient == y.detach()).all()
    return gradient
