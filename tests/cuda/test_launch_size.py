"""What the faces of elementwise kernels share."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda.launch_size import empty_like


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_empty_like_keeps_shape_type_and_memory_order_and_is_poisoned(order):
    backend = get_backend(Device("emulator"))
    model = backend.empty((2, 3, 4, 5), "float32").transpose(order)
    made = empty_like(backend, model)
    assert (made.shape, made.strides, made.dtype) == (model.shape, model.strides, model.dtype)
    assert np.isnan(made).all()


def test_empty_like_of_a_number_and_of_nothing():
    backend = get_backend(Device("emulator"))
    assert empty_like(backend, backend.empty((), "float64")).shape == ()
    assert empty_like(backend, backend.empty((0, 3), "float16")).shape == (0, 3)
