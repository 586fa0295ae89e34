"""The doctor's checks, a small family in each file. See :mod:`scratchvgg.study.doctor.registry`."""
