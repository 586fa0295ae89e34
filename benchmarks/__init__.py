"""Scenarios that measure scratchvgg beside PyTorch, each ``python -m benchmarks.NAME --help``.

``results/`` keeps what they found, with the machine it was found on.
"""
