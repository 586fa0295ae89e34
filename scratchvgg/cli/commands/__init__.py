"""The commands, one file each; see :mod:`scratchvgg.cli.registry`."""
