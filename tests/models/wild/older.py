"""A VGG in the style of early PyTorch: view, .data, F.relu in forward, initialisation by hand."""

# ruff: noqa: UP008, UP031

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

config = {
    9: [12, 'M', 16, 'M', 24, 24, 'M', 32, 32, 'M', 32, 'M'],
}


class VGG(nn.Module):

    def __init__(self, depth=9, num_class=10, bn=False, drop=0.5):
        super(VGG, self).__init__()
        self.drop = drop
        self.features = self._make_layers(config[depth], bn)
        self.extra = nn.Conv2d(32, 32, 1, bias=False)
        self.fc1 = nn.Linear(32, 32)
        self.fc2 = nn.Linear(32, num_class)
        self._initialize_weights()

    def forward(self, x):
        x = self.features(x)
        x = F.max_pool2d(F.relu(self.extra(x)), 1)
        x = x.view(x.size(0), -1)
        x = F.dropout(F.relu(self.fc1(x), inplace=True), p=self.drop, training=self.training)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)

    def _make_layers(self, cfg, bn):
        layers = []
        in_channels = 3
        for x in cfg:
            if x == 'M':
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers.append(nn.Conv2d(in_channels, x, 3, padding=1))
                if bn:
                    layers.append(nn.BatchNorm2d(x))
                layers.append(nn.ReLU(inplace=True))
                in_channels = x
        layers += [nn.AvgPool2d(kernel_size=1, stride=1)]
        return nn.Sequential(*layers)

    def _initialize_weights(self):
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                n = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
                m.weight.data.normal_(0, math.sqrt(2. / n))
                if m.bias is not None:
                    m.bias.data.zero_()
            elif isinstance(m, nn.BatchNorm2d):
                m.weight.data.fill_(1)
                m.bias.data.zero_()
            elif isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight)
                m.weight.data.mul_(0.5)
                m.bias.data.zero_()

    def __str__(self):
        total = sum([p.numel() for p in self.parameters()])
        return '%s with %d parameters' % (self.__class__.__name__, total)


def adjust_learning_rate(optimizer, epoch, lr):
    lr = lr * (0.5 ** (epoch // 2))
    for param_group in optimizer.param_groups:
        param_group['lr'] = lr


def fit(model, images, labels, steps=5):
    use_cuda = False
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    history = []
    for epoch in range(steps):
        adjust_learning_rate(optimizer, epoch, 0.05)
        model.train()
        inputs, targets = (images.cuda(), labels.cuda()) if use_cuda else (images, labels)
        optimizer.zero_grad()
        output = model(inputs)
        loss = F.nll_loss(output, targets)
        loss.backward()
        optimizer.step()
        _, predicted = torch.max(output.data, 1)
        correct = predicted.eq(targets.data.view_as(predicted)).sum()
        history.append(loss.item())
        history.append(float(correct) / targets.size(0))
    model.eval()
    with torch.no_grad():
        pred = model(images).data.max(1, keepdim=True)[1]
        history.append(pred.eq(labels.view(-1, 1).expand_as(pred)).sum().item())
    return history
