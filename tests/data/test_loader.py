"""Order, resumption, prefetching, exceptions and the end of the background thread."""

import gc
import threading
import time
import traceback

import numpy as np
import pytest

from scratchvgg.array import Generator, default_generator, manual_seed
from scratchvgg.autograd import Tensor
from scratchvgg.data import DataLoader, SampleShapes, TensorDataset
from scratchvgg.data.batch_info import order_of
from scratchvgg.data.transforms import AlternatingFlip, ColorJitter, Compose, Cutout, Normalize, RandomCrop

SHAPES = SampleShapes(size=50)
AUGMENT = Compose([RandomCrop(32), AlternatingFlip(), Cutout(8), ColorJitter(0.2), Normalize(SHAPES.mean, SHAPES.std)])
depths = pytest.mark.parametrize("prefetch", [0, 1, 3, 100])


def loader(**changes):
    return DataLoader(SHAPES, **{"batch_size": 8, "shuffle": True, "seed": 7, "transform": AUGMENT} | changes)


def arrays(batches):
    return [tuple(part.numpy() for part in batch) for batch in batches]


def same(first, second):
    first, second = arrays(first), arrays(second)
    return [len(batch) for batch in first] == [len(batch) for batch in second] and all(
        np.array_equal(x, y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
    )


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("scratchvgg-data")]


@depths
def test_batches_are_tensors_in_order(prefetch):
    loaded = DataLoader(SHAPES, 8, prefetch=prefetch)
    batches = list(loaded)
    assert len(loaded) == len(batches) == 7
    assert all(isinstance(part, Tensor) for batch in batches for part in batch)
    images, labels = (np.concatenate(parts) for parts in zip(*arrays(batches), strict=True))
    assert np.array_equal(images, SHAPES.images) and np.array_equal(labels, SHAPES.labels)
    assert images.dtype == np.uint8 and labels.dtype == np.int64


def test_torchs_arguments():
    quiet, busy = (DataLoader(SHAPES, batch_size=8, shuffle=True, num_workers=n, pin_memory=True, seed=1) for n in (0, 4))
    assert quiet.prefetch == 0 and busy.prefetch > 0 and same(quiet, busy)
    with pytest.raises(ValueError, match="num_workers"):
        DataLoader(SHAPES, num_workers=-1)


@pytest.mark.parametrize(("size", "drop", "expected"), [
    (8, True, [8] * 6), (8, False, [8] * 6 + [2]), (50, True, [50]), (51, True, []), (51, False, [50]),
])
def test_drop_last(size, drop, expected):
    loaded = DataLoader(SHAPES, size, drop_last=drop)
    assert [len(labels.numpy()) for _, labels in loaded] == expected and len(loaded) == len(expected)


def test_an_empty_dataset_gives_no_batch():
    for shuffle in (False, True):
        assert list(DataLoader(TensorDataset(np.zeros((0, 2))), 4, shuffle)) == []


def test_each_epoch_is_another_order_of_everything():
    loaded = DataLoader(TensorDataset(np.arange(50)), 8, True, seed=1)
    orders = [np.concatenate([part.numpy() for part, in loaded]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(map(tuple, orders))) == 3 and list(range(50)) not in orders
    assert orders == [order_of(1, epoch, 50).tolist() for epoch in range(3)]


@depths
def test_the_batches_depend_on_seed_and_epoch_alone(prefetch):
    reference = loader(prefetch=2)
    epochs = [list(reference) for _ in range(3)]
    manual_seed(123)
    again = loader(prefetch=prefetch)
    again.set_epoch(2)
    assert same(again, epochs[2])
    again.set_epoch(1)
    assert same(again, epochs[1])
    assert not same(epochs[0], epochs[1]) and not same(loader(seed=8), epochs[0])


@depths
@pytest.mark.parametrize("start", [0, 1, 4, 6, 7])
def test_resuming_in_the_middle_of_an_epoch(prefetch, start):
    first = loader()
    list(first)
    state = first.state_dict()
    epoch = list(first)
    resumed = loader(seed=0, prefetch=prefetch)
    resumed.load_state_dict(state)
    assert same(resumed.iterate(start_batch=start), epoch[start:])
    assert same(resumed, first)


def test_the_epoch_moves_when_an_iteration_starts():
    loaded = loader()
    assert loaded.epoch == 0
    next(iter(loaded))
    assert loaded.epoch == 1 and loaded.state_dict() == {"seed": 7, "epoch": 1}


def test_two_iterations_at_once_do_not_disturb_each_other():
    loaded = loader()
    together = [(a, b) for a, b in zip(loaded.iterate(), loaded.iterate(), strict=True)]
    loaded.set_epoch(0)
    assert same([a for a, _ in together], loaded) and same([b for _, b in together], loaded)


def test_without_a_seed_the_default_generator_gives_one():
    manual_seed(5)
    first = DataLoader(SHAPES).seed
    assert default_generator.offset > 0 and DataLoader(SHAPES).seed != first
    manual_seed(5)
    assert DataLoader(SHAPES).seed == first
    assert DataLoader(SHAPES, generator=Generator(5)).seed == first


def test_the_transform_knows_the_batch():
    seen = []

    def note(images, info):
        seen.append((info.epoch, info.indices.tolist()))
        return images

    loaded = DataLoader(SHAPES, 20, transform=note, seed=1)
    list(loaded)
    list(loaded)
    assert seen == [(epoch, list(range(start, min(start + 20, 50)))) for epoch in (0, 1) for start in (0, 20, 40)]


def test_dtype_casts_the_images():
    images, labels = next(iter(DataLoader(SHAPES, 4, dtype="float64")))
    assert images.numpy().dtype == np.float64 and labels.numpy().dtype == np.int64


def test_items_and_whole_batches_agree():
    plain = [SHAPES[index] for index in range(len(SHAPES))]
    assert same(DataLoader(plain, 8, True, seed=3), DataLoader(SHAPES, 8, True, seed=3))


class Broken:
    """Fails on item 13."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 13:
            raise KeyError("item thirteen is broken")
        return np.zeros(2, np.float32), index


@depths
def test_a_workers_exception_reaches_the_caller(prefetch):
    seen = []
    with pytest.raises(KeyError, match="item thirteen is broken") as caught:
        for _, labels in DataLoader(Broken(), 4, prefetch=prefetch):
            seen += labels.numpy().tolist()
    assert seen == list(range(12))
    assert "__getitem__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    del caught
    assert not workers()


@pytest.mark.parametrize("leave", ["break", "exception", "interrupt", "forgotten", "closed"])
def test_no_thread_is_left_behind(leave):
    loaded = loader(prefetch=2)
    try:
        if leave == "forgotten":
            batches = iter(loaded)
            next(batches)
            assert workers()
            del batches
        elif leave == "closed":
            batches = iter(loaded)
            next(batches)
            batches.close()
        else:
            for _ in loaded:
                assert workers()
                if leave == "break":
                    break
                raise ValueError if leave == "exception" else KeyboardInterrupt
    except (ValueError, KeyboardInterrupt):
        pass
    gc.collect()
    assert not workers()


def test_the_thread_works_ahead_and_no_further():
    made = []

    def note(images, info):
        made.append(info.indices[0])
        return images

    batches = iter(DataLoader(SHAPES, 1, transform=note, prefetch=3, seed=0))
    next(batches)
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert made == [0, 1, 2, 3]
    batches.close()


def test_no_thread_starts_before_the_first_batch_is_asked_for():
    batches = iter(loader())
    assert not workers()
    next(batches)
    batches.close()


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": True}, {"prefetch": -1}, {"seed": -1},
                                     {"seed": 1.5}])
def test_unusable_arguments_are_rejected(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        loader(**changes)


@pytest.mark.parametrize("call", [
    lambda x: x.set_epoch(-1), lambda x: x.set_epoch(1.5), lambda x: x.iterate(8), lambda x: x.iterate(-1),
    lambda x: x.load_state_dict({"seed": 1, "epoch": -1}), lambda x: x.load_state_dict({"seed": -1, "epoch": 1}),
])
def test_a_refused_change_changes_nothing(call):
    loaded = loader()
    with pytest.raises(ValueError):
        call(loaded)
    assert loaded.state_dict() == {"seed": 7, "epoch": 0}
