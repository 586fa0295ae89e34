"""Floor 8: recipes, the training loop, checkpoints."""

from . import checkpoint, from_net_a
from .checkpoint import load_model
from .errors import NonFiniteError, RunError
from .loop import MOVABLE, Outcome, Trainer
from .recipe import Recipe, RecipeError
from .run_folder import RunFolder, check_free, create, open_existing

__all__ = [
    "MOVABLE", "NonFiniteError", "Outcome", "Recipe", "RecipeError", "RunError", "RunFolder", "Trainer", "check_free", "checkpoint", "create",
    "from_net_a", "load_model", "open_existing",
]
