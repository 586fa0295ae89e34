"""Floor 3: data sets as plain arrays, transforms on batches, and the loader that turns them into Tensors."""

from . import transforms
from .batch_info import BatchInfo
from .cifar import CIFAR10, CIFAR100
from .dataset import ArrayDataset, Dataset, Subset, TensorDataset
from .device_augment import DeviceAugmentation, DeviceLoader
from .errors import DataError
from .folder import ImageFolder, read_image
from .images import read_picture
from .labelled import LabelledImages, open_labelled
from .loader import DataLoader
from .presets import IMAGENET_MEAN, IMAGENET_STD, ImageClassification
from .registry import dataset_names, open_dataset, register_dataset
from .sample import SampleShapes

__all__ = [
    "CIFAR10", "CIFAR100", "ArrayDataset", "BatchInfo", "DataError", "DataLoader", "Dataset", "DeviceAugmentation", "DeviceLoader",
    "IMAGENET_MEAN", "IMAGENET_STD", "ImageClassification", "ImageFolder", "LabelledImages", "SampleShapes", "Subset", "TensorDataset",
    "dataset_names", "open_dataset", "open_labelled", "read_image", "read_picture", "register_dataset", "transforms",
]
