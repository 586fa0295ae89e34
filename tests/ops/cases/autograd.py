"""What the tape itself offers under a public name."""

from tests.harness import Case, normal


def backward(F, x):
    leaf = (x.detach() * 1).requires_grad_()
    F.backward((leaf * leaf).sum())
    return leaf.grad


CASES = [Case("backward", "fills .grad of a leaf", (normal(3, 4).frozen(),), backward)]
