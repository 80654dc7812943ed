"""The obvious loader, a peer of bench_training: a Dataset draws one sample per index."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.config import DataConfig, ExperimentConfig
from trainer.model import new_model


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
    """Train by the plain loop from a DataLoader; return samples per second."""
    data, training = config.data, config.training
    model = new_model(config, torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, fused=True)
    loader = DataLoader(Signals(data), batch_size=training.batch_size)
    started = time.perf_counter()
    for _ in range(training.epochs):
        for x, signal in loader:
            optimizer.zero_grad()
            out = model.fc2(torch.tanh(model.fc1(x)) ** 3)
            errors = (out - signal).square()
            loss = torch.where(signal > 0, config.loss.lambda_on * errors, errors).sum() / len(x)
            loss = loss + training.decoder_regularization * model.fc2.weight.square().sum()
            loss.backward()
            optimizer.step()
    return training.epochs * data.n_train / (time.perf_counter() - started)
