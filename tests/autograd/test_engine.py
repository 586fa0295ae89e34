"""The walk back over the tape."""

import scratchvgg as sv


def test_gradients_of_a_number_add_up():
    """Arrays of no dimension become NumPy scalars on the way, which += does not change in place."""
    x = sv.tensor(3.0, requires_grad=True)
    (x * x * x + x * x).backward()
    assert x.grad.item() == 27 + 6
    y = sv.tensor(2.0, requires_grad=True)
    doubled = y * 2
    (doubled * doubled + doubled + doubled).backward()
    assert y.grad.item() == 16 + 4
