"""Every kernel on its examples: NumPy's numbers in every order of threads, and nothing that the emulator's sanitizer finds.

The examples are small problems that each face registers with a reference in float64 (``scratchvgg/cuda/registry.py``); the same ones are run on
a GPU by ``benchmarks/gpu_report``.
"""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, registry
from tests.harness import DEVICES

KERNELS = registry.with_examples()
ELSEWHERE = [pytest.param(d, marks=[pytest.mark.gpu] if d == "cuda" else []) for d in DEVICES if d != "cpu"]


def template(entry):
    """The entry without the element type at its end: what one template makes."""
    return entry.rpartition("_")[0]


def host(backend, results):
    return {name: np.asarray(backend.to_numpy(array)) for name, array in results.items()}


def error(got, expected):
    """RMS of the difference, relative to the RMS of what is expected."""
    difference = np.asarray(got, np.float64) - np.asarray(expected, np.float64)
    return np.sqrt(np.mean(difference**2)) / (np.sqrt(np.mean(np.square(expected, dtype=np.float64))) or 1.0)


def test_every_file_has_examples():
    assert set(registry.kernel_files()) == set(KERNELS)


@pytest.mark.parametrize("device", ELSEWHERE)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_reference_s_numbers(device, kernel):
    backend = get_backend(Device(device))
    for _, example in registry.examples(backend, "small", kernel):
        got, expected = host(backend, example.run()), example.expected()
        assert set(got) >= set(expected) > set(), example.title
        for name, value in expected.items():
            assert got[name].shape == np.shape(value), f"{example.title}: {name}"
            assert error(got[name], value) <= example.tolerance, f"{example.title}: {name} is off by {error(got[name], value):.1e}"
        again = host(backend, example.run())
        assert all(np.array_equal(got[n], again[n], equal_nan=got[n].dtype.kind == "f") for n in got), f"{example.title}: other bits the second time"


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_bits_in_every_order_of_threads(kernel):
    backend = get_backend(Device("emulator"))
    for place, (_, example) in enumerate(registry.examples(backend, "small", kernel)):
        first = host(backend, example.run())
        with emulator.order("reverse" if place % 2 else 1 + place):
            other = host(backend, example.run())
        for name, value in first.items():
            assert value.tobytes() == other[name].tobytes(), f"{example.title}: {name} depends on the order of threads"


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_for_the_sanitizer_to_find(kernel, monkeypatch):
    """The first example of each entry, and no entry of the file is left out."""
    backend, launched, seen = get_backend(Device("emulator")), set(), set()
    launch = backend.launch
    monkeypatch.setattr(backend, "launch", lambda entry, *args, **options: launched.add(entry) or launch(entry, *args, **options), raising=False)
    for _, example in registry.examples(backend, "small", kernel):
        if example.entry in seen:
            example.run()
            continue
        seen.add(example.entry)
        with emulator.sanitize():
            example.run()
    entries = emulator.load(registry.kernel_files()[kernel].file).names
    assert {template(e) for e in entries} == {template(e) for e in launched if e in entries}, "an entry that no example runs, in any type"
    assert seen <= set(entries)
