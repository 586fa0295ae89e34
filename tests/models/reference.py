"""The nets of the paper in torch, written from the paper's table, apart from scratchvgg's own builder."""

from __future__ import annotations

TABLE = {  # filters of the five stages, each "size x channels"
    "A": ["3x64", "3x128", "3x256 3x256", "3x512 3x512", "3x512 3x512"],
    "A-LRN": ["3x64 LRN", "3x128", "3x256 3x256", "3x512 3x512", "3x512 3x512"],
    "B": ["3x64 3x64", "3x128 3x128", "3x256 3x256", "3x512 3x512", "3x512 3x512"],
    "C": ["3x64 3x64", "3x128 3x128", "3x256 3x256 1x256", "3x512 3x512 1x512", "3x512 3x512 1x512"],
    "D": ["3x64 3x64", "3x128 3x128", "3x256 3x256 3x256", "3x512 3x512 3x512", "3x512 3x512 3x512"],
    "E": ["3x64 3x64", "3x128 3x128", *[" ".join(["3x256"] * 4), " ".join(["3x512"] * 4), " ".join(["3x512"] * 4)]],
}


def features(torch, name: str, batch_norm: bool):
    """The convolution stages as a torch.nn.Sequential."""
    nn, layers, before = torch.nn, [], 3
    for stage in TABLE[name]:
        for item in stage.split():
            if item == "LRN":
                layers.append(nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2))
                continue
            size, channels = map(int, item.split("x"))
            layers.append(nn.Conv2d(before, channels, size, padding=(size - 1) // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            before = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def small(torch, name: str, batch_norm: bool):
    """Global pooling and one linear layer on top."""
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = features(torch, name, batch_norm)
            self.classifier = torch.nn.Sequential(torch.nn.Dropout(0.0), torch.nn.Linear(512, 10))

        def forward(self, x):
            return self.classifier(self.features(x).mean((2, 3)))

    return Net()


def full(torch, name: str, batch_norm: bool, classes: int = 1000):
    """The paper's three fully connected layers on top."""
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = features(torch, name, batch_norm)
            nn = torch.nn
            self.classifier = nn.Sequential(
                nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, classes)
            )

        def forward(self, x):
            return self.classifier(torch.nn.functional.adaptive_avg_pool2d(self.features(x), 7).flatten(1))

    return Net()
