"""The peers of bench_training, each a script of its own as a researcher would write it.

    python -m benchmarks.peers plain_loop|per_sample CONFIG

It prints the samples per second. They train on the configuration's device, have PyTorch's and the C
library's defaults, and evaluate nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.table import PYTHON
from trainer.config import DataConfig, ExperimentConfig, load_config, to_nested
from trainer.model import new_model


def alone(name: str, config: ExperimentConfig) -> float:
    """Run a peer in a process of its own; return samples per second."""
    command = [PYTHON, "-m", "benchmarks.peers", name, json.dumps(to_nested(config))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def plain_loop(config: ExperimentConfig) -> float:
    """Train by the shortest loop with the same mathematics; return samples per second."""
    data, training, device = config.data, config.training, torch.device(config.data.device)
    model = new_model(config, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)
    generator = torch.Generator(device)
    size, started = training.batch_size, time.perf_counter()
    for epoch in range(training.epochs):
        total = torch.zeros(3, dtype=torch.float64, device=device)
        for step in range(data.n_train // size):
            generator.manual_seed(epoch * 1000 + step)
            first = torch.randint(data.d, (size,), generator=generator, device=device)
            second = torch.randint(data.d - 1, (size,), generator=generator, device=device)
            second += second >= first
            active = torch.stack([first, second], dim=1)
            x = torch.empty(size, data.d, device=device)
            x.normal_(std=data.noise_variance**0.5, generator=generator)
            x.scatter_add_(1, active, torch.ones(size, 2, device=device))
            optimizer.zero_grad()
            out = model.fc2(torch.tanh(model.fc1(x)) ** 3)
            on = out.gather(1, active)
            loss_on = config.loss.lambda_on * (on - 1).square().sum() / size
            loss_off = (out.square().sum() - on.square().sum()) / size
            penalty = training.decoder_regularization * model.fc2.weight.square().sum()
            (loss_on + loss_off + penalty).backward()
            optimizer.step()
            total += torch.stack([loss_on, loss_off, penalty]).detach()
        total.tolist()
    return training.epochs * (data.n_train // size * size) / (time.perf_counter() - started)


class Signals(Dataset[tuple[Tensor, Tensor]]):
    """Fresh samples, one at a time."""

    def __init__(self, data: DataConfig) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.n_train

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        signal = torch.zeros(self.data.d)
        signal[torch.randperm(self.data.d)[: self.data.sparsity]] = 1.0
        return signal + torch.randn(self.data.d) * self.data.noise_variance**0.5, signal


def per_sample(config: ExperimentConfig) -> float:
    """Train the same from the obvious loader, which draws one sample per index."""
    data, training = config.data, config.training
    device = torch.device(config.data.device)
    model = new_model(config, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)
    loader = DataLoader(Signals(data), batch_size=training.batch_size)
    started = time.perf_counter()
    for _ in range(training.epochs):
        for x, signal in loader:
            x, signal = x.to(device), signal.to(device)
            optimizer.zero_grad()
            out = model.fc2(torch.tanh(model.fc1(x)) ** 3)
            errors = (out - signal).square()
            loss = torch.where(signal > 0, config.loss.lambda_on * errors, errors).sum() / len(x)
            loss = loss + training.decoder_regularization * model.fc2.weight.square().sum()
            loss.backward()
            optimizer.step()
    return training.epochs * data.n_train / (time.perf_counter() - started)


PEERS = {"plain_loop": plain_loop, "per_sample": per_sample}

if __name__ == "__main__":
    print(PEERS[sys.argv[1]](load_config(json.loads(sys.argv[2]))))
