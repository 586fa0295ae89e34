"""What the net says about its input: the pictures, and the likeliest classes of each."""

from __future__ import annotations

import numpy as np

from .shown import Shown

LARGEST = 288  # pixels a side of a picture on the page


class Prediction(Shown):
    """The first part of a page.

    Args:
        inspection: the run.
        pictures: how many of the batch to show.
    """

    title = "What the net says"

    def __init__(self, inspection, pictures: int = 4):
        self.notes, self.classes = inspection.notes, inspection.prediction
        self.loss = None if inspection.trace.loss is None else float(inspection.trace.loss.item())
        self.of_classes = int(np.prod(inspection.trace.output.shape[1:]))
        self.targets = None if inspection.target is None else [inspection.class_name(int(i)) for i in inspection.target.tolist()]
        self.pictures = [] if inspection.pictures is None else [_shrunk(pixels) for pixels in inspection.pictures[:pictures]]

    @property
    def chance(self) -> float:
        """ln(classes): the loss of a net that knows nothing."""
        return float(np.log(self.of_classes))

    def to_dict(self) -> dict:
        """Classes, loss, notes."""
        return {"images": self.classes, "targets": self.targets, "loss": self.loss, "ln_classes": self.chance, "notes": self.notes}

    def __str__(self):
        lines = [", ".join(f"{c['name']} {100 * c['probability']:.2f} %" for c in row) for row in self.classes]
        loss = [] if self.loss is None else [f"loss {self.loss:.4f}, ln({self.of_classes}) = {self.chance:.4f}"]
        return "\n".join([*self.notes, *lines, *loss])

    def to_html(self):
        """A card for each image."""
        from .page import render

        return render("sections/prediction.html", it=self)


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """uint8 (3, H, W) → (h, w, 3), every so many pixels averaged until it is no larger than :data:`LARGEST`; small ones are enlarged."""
    height, width = pixels.shape[1:]
    step = -(-max(height, width) // LARGEST)
    if step > 1:
        cut = pixels[:, : height // step * step, : width // step * step].astype(np.float32)
        pixels = np.round(cut.reshape(3, height // step, step, width // step, step).mean((2, 4))).astype(np.uint8)
    times = max(1, LARGEST // 2 // max(pixels.shape[1:]))
    return np.ascontiguousarray(pixels.repeat(times, 1).repeat(times, 2).transpose(1, 2, 0))
