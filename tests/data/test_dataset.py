"""Data sets of arrays, subsets, and stacking items."""

import numpy as np
import pytest

import scratchvgg.autograd as autograd
from scratchvgg.data import Dataset, SampleShapes, Subset, TensorDataset
from scratchvgg.data.dataset import collate, read_batch


def test_tensor_dataset_gives_rows():
    first, second = np.arange(12.0).reshape(4, 3), autograd.from_numpy(np.arange(4))
    dataset = TensorDataset(first, second)
    assert len(dataset) == 4
    assert dataset[2][0].tolist() == [6, 7, 8] and dataset[2][1] == 2
    rows, numbers = dataset.batch(np.array([3, 0]))
    assert rows.tolist() == [[9, 10, 11], [0, 1, 2]] and numbers.tolist() == [3, 0]


@pytest.mark.parametrize("arrays", [(), (np.zeros(3), np.zeros(4)), (np.float32(1),)])
def test_tensor_dataset_rejects(arrays):
    with pytest.raises(ValueError, match="TensorDataset"):
        TensorDataset(*arrays)


def test_subset_maps_indices():
    dataset = SampleShapes(size=30)
    part = Subset(dataset, [7, 3, 29])
    assert len(part) == 3 and part.classes == dataset.classes and part.mean == dataset.mean
    assert part.labels.tolist() == [7, 3, 9]
    assert np.array_equal(part[1][0], dataset.images[3]) and part[1][1] == 3
    images, labels = part.batch(np.array([2, 0]))
    assert np.array_equal(images, dataset.images[[29, 7]]) and labels.tolist() == [9, 7]
    nested = Subset(part, [1])
    assert nested.batch(np.array([0]))[1].tolist() == [3]


@pytest.mark.parametrize("index", [-1, 30])
def test_subset_rejects_an_index_outside(index):
    with pytest.raises(IndexError, match=f"index {index} is outside a data set of 30"):
        Subset(SampleShapes(size=30), [0, index])


def test_a_subclass_needs_two_methods():
    class Squares(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return np.full(2, index, np.float32), index * index

    values, squares = Squares().batch(np.array([1, 3]))
    assert values.tolist() == [[1, 1], [3, 3]] and squares.tolist() == [1, 9] and squares.dtype == np.int64
    with pytest.raises(TypeError, match="__len__"):
        len(Dataset())
    with pytest.raises(TypeError, match="__getitem__"):
        Dataset()[0]


def test_any_indexable_object_is_a_dataset():
    assert read_batch([10, 20, 30], np.array([2, 0]))[0].tolist() == [30, 10]


def test_collate_makes_no_float64():
    pixels, scores, labels, flags = collate([(np.zeros(2, np.uint8), 0.5, 3, True), (np.ones(2, np.uint8), 1.5, 4, False)])
    assert (pixels.dtype, scores.dtype, labels.dtype, flags.dtype) == (np.uint8, np.float32, np.int64, np.bool_)
    assert pixels.tolist() == [[0, 0], [1, 1]] and flags.tolist() == [True, False]


def test_collate_takes_tensors():
    stacked, = collate([autograd.from_numpy(np.ones(2, np.float32))] * 3)
    assert isinstance(stacked, np.ndarray) and stacked.shape == (3, 2)


def test_collate_names_the_shapes_that_differ():
    with pytest.raises(RuntimeError, match=r"\(2,\), \(3,\)"):
        collate([(np.zeros(2), 1), (np.zeros(3), 1)])
