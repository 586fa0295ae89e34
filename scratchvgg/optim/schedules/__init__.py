"""Learning-rate schedules, one family per file; :mod:`scratchvgg.optim.lr_scheduler` gathers them under torch's name."""
