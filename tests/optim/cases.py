"""Optimisers and schedules with their options; each is compared with torch's of the same name and arguments."""

from __future__ import annotations

from math import exp

OPTIMIZERS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
        {"lr": 0.1, "weight_decay": 0.05},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True},
        {"lr": 0.01, "momentum": 0.8, "nesterov": True, "maximize": True},
        {"lr": 0.01, "maximize": True},
        {"lr": 0.01, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.05, "maximize": True},
        {"lr": 0.0},
    ],
    "Adam": [
        {},
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4},
        {"lr": 0.01, "weight_decay": 0.1},
        {"lr": 0.01, "amsgrad": True},
        {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.01, "maximize": True},
        {"lr": 0.01, "betas": (0.3, 0.9)},
        {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "AdamW": [
        {},
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.2},
        {"lr": 0.01, "amsgrad": True},
        {"lr": 0.01, "maximize": True, "amsgrad": True, "weight_decay": 0.0},
        {"lr": 0.01, "maximize": True},
    ],
}

# Constructions of schedules: functions of the module lr_scheduler (ours or torch's) and an optimiser with two groups.
SCHEDULES = {
    "LambdaLR": [
        lambda m, o: m.LambdaLR(o, lambda t: 0.95**t),
        lambda m, o: m.LambdaLR(o, [lambda t: exp(-t / 7), lambda t: 1 / (1 + t)]),
    ],
    "StepLR": [lambda m, o: m.StepLR(o, 7), lambda m, o: m.StepLR(o, step_size=1, gamma=0.9)],
    "MultiStepLR": [lambda m, o: m.MultiStepLR(o, [3, 10, 10, 40]), lambda m, o: m.MultiStepLR(o, [30, 5], gamma=0.5)],
    "ExponentialLR": [lambda m, o: m.ExponentialLR(o, 0.9)],
    "ConstantLR": [lambda m, o: m.ConstantLR(o), lambda m, o: m.ConstantLR(o, factor=0.25, total_iters=20)],
    "LinearLR": [
        lambda m, o: m.LinearLR(o),
        lambda m, o: m.LinearLR(o, start_factor=0.01, end_factor=0.7, total_iters=33),
        lambda m, o: m.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=100),
    ],
    "CosineAnnealingLR": [
        lambda m, o: m.CosineAnnealingLR(o, 20),
        lambda m, o: m.CosineAnnealingLR(o, T_max=90, eta_min=0.003),
        lambda m, o: m.CosineAnnealingLR(o, 1),
    ],
    "OneCycleLR": [
        lambda m, o: m.OneCycleLR(o, 0.5, total_steps=60),
        lambda m, o: m.OneCycleLR(o, [0.5, 0.1], epochs=10, steps_per_epoch=6, pct_start=0.2, anneal_strategy="linear"),
        lambda m, o: m.OneCycleLR(o, 0.5, total_steps=61, three_phase=True, div_factor=10, final_div_factor=100),
        lambda m, o: m.OneCycleLR(o, 0.5, total_steps=70, three_phase=True, anneal_strategy="linear", pct_start=0.4),
        lambda m, o: m.OneCycleLR(o, 0.5, total_steps=60, cycle_momentum=False),
        lambda m, o: m.OneCycleLR(o, 0.5, total_steps=60, base_momentum=[0.8, 0.7], max_momentum=0.99, pct_start=0.0),
        lambda m, o: m.OneCycleLR(o, 0.5, total_steps=60, pct_start=0.9),
    ],
    "SequentialLR": [
        lambda m, o: m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=10), m.CosineAnnealingLR(o, 50)], [10]),
        lambda m, o: m.SequentialLR(o, [m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.9), m.StepLR(o, 5)], [5, 30]),
        lambda m, o: m.SequentialLR(o, [m.LambdaLR(o, lambda t: 0.9**t), m.MultiStepLR(o, [3, 9])], milestones=[0]),
        lambda m, o: m.SequentialLR(
            o, [m.SequentialLR(o, [m.ConstantLR(o, 0.5), m.ExponentialLR(o, 0.8)], [4]), m.CosineAnnealingLR(o, 30)], [12]
        ),
    ],
    "ReduceLROnPlateau": [
        lambda m, o: m.ReduceLROnPlateau(o),
        lambda m, o: m.ReduceLROnPlateau(o, "max", factor=0.5, patience=2, cooldown=3, min_lr=[0.01, 1e-4]),
        lambda m, o: m.ReduceLROnPlateau(o, "min", patience=0, threshold=0.1, threshold_mode="abs", min_lr=1e-3, eps=0.01),
        lambda m, o: m.ReduceLROnPlateau(o, "max", patience=1, threshold=0.2, threshold_mode="rel"),
        lambda m, o: m.ReduceLROnPlateau(o, "max", patience=1, threshold=0.05, threshold_mode="abs"),
    ],
    # Several at once on the same optimiser, stepped in this order.
    "chained": [
        lambda m, o: [m.ExponentialLR(o, 0.97), m.CosineAnnealingLR(o, 25, eta_min=1e-3)],
        lambda m, o: [m.LinearLR(o, 0.1, total_iters=8), m.StepLR(o, 9, 0.5), m.ConstantLR(o, 0.3, 12)],
        lambda m, o: [m.MultiStepLR(o, [5, 20]), m.ReduceLROnPlateau(o, patience=3)],
    ],
}

OPTIMIZER_CASES = [(name, options) for name, rows in OPTIMIZERS.items() for options in rows]
SCHEDULE_CASES = [(name, make) for name, rows in SCHEDULES.items() for make in rows]
NOT_IN_TORCH = {"PiecewiseLinearLR": "tests/optim/test_lr_scheduler.py", "EMA": "tests/optim/test_ema.py", "Lookahead": "tests/optim/test_ema.py"}
