"""``torch.utils.data``'s names for :mod:`scratchvgg.data`."""

from ..data import DataLoader, Dataset, Subset, TensorDataset

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset"]
