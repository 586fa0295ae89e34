"""curves.png: loss, accuracy and learning rate of a run."""

from __future__ import annotations

from ..weights.atomic import atomic_write
from . import metrics


def draw(metrics_path, png_path, title: str = "") -> None:
    """Draw the curves of a metrics file into a PNG.

    Raises:
        ImportError: without matplotlib; the message names the extra.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("curves need matplotlib: pip install 'scratchvgg[plots]'") from None
    steps, epochs = metrics.read(metrics_path, "step"), metrics.read(metrics_path, "epoch")
    tested = [e for e in epochs if e.get("test_accuracy") is not None]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rate = figure.subplots(1, 3)
    train, test = "#3b6ea8", "#d1603d"
    loss.plot([s["epoch_progress"] for s in steps], [s["loss"] for s in steps], color=train, alpha=0.35, lw=1, label="train, by interval")
    loss.plot([e["epoch"] for e in epochs], [e["train_loss"] for e in epochs], color=train, marker="o", ms=3, label="train")
    loss.plot([e["epoch"] for e in tested], [e["test_loss"] for e in tested], color=test, marker="o", ms=3, label="test")
    accuracy.plot([e["epoch"] for e in epochs], [100 * e["train_accuracy"] for e in epochs], color=train, marker="o", ms=3, label="train (augmented)")
    accuracy.plot([e["epoch"] for e in tested], [100 * e["test_accuracy"] for e in tested], color=test, marker="o", ms=3, label="test")
    if tested:
        best = max(tested, key=lambda e: e["test_accuracy"])
        accuracy.annotate(f"{100 * best['test_accuracy']:.2f} %", (best["epoch"], 100 * best["test_accuracy"]), (0, 5), textcoords="offset points",
                          ha="center", color=test)
    rate.plot([s["epoch_progress"] for s in steps], [s["lr"] for s in steps], color="#666666", lw=1.5)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy, %"), (rate, "learning rate")):
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    with atomic_write(png_path) as file:
        figure.savefig(file, format="png", dpi=110)
