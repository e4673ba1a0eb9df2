"""PyTorch: one model after the other, and torch.func.vmap over all of them.

Each comes in several forms (threads, fused or plain Adam, memory format); the quickest one, found
by trying them, is what vtune is compared with.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from workloads import CNN, MLP, ResNet, Transformer, Workload


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.b = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.short = None
        if stride > 1:
            conv = nn.Conv2d(inner, outer, 1, stride, bias=False)
            self.short = nn.Sequential(conv, nn.BatchNorm2d(outer))

    def forward(self, x: Any) -> Any:
        y = F.relu(self.norms[0](self.a(x)))
        y = self.norms[1](self.b(y))
        return F.relu(y + (x if self.short is None else self.short(x)))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(64), nn.LayerNorm(64)])
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.a, self.b = nn.Linear(64, 256), nn.Linear(256, 64)

    def forward(self, x: Any) -> Any:
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.b(F.gelu(self.a(self.norms[1](x)), approximate="tanh"))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 64)
        self.place = nn.Parameter(torch.randn(32, 64) * 0.02)
        self.layers = nn.Sequential(Layer(), Layer())
        self.norm, self.out = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        return self.out(self.norm(self.layers(self.embed(x) + self.place)).mean(1))


def network(work: Workload) -> nn.Module:
    """The same network as the workload's, in PyTorch."""
    if isinstance(work.model, MLP):
        widths = (784, *work.model.widths)
        layers = [
            part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())
        ]
        return nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    if isinstance(work.model, CNN):
        convs = [
            part
            for a, b in ((1, 32), (32, 64))
            for part in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        ]
        return nn.Sequential(
            *convs, nn.Flatten(), nn.Linear(3136, 64), nn.ReLU(), nn.Linear(64, 10)
        )
    if isinstance(work.model, ResNet):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            Residual(16, 16, 1),
            Residual(16, 32, 2),
            Residual(32, 64, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )
    assert isinstance(work.model, Transformer)
    return Words()


def batches(work: Workload, channels_last: bool, device: str = "cpu") -> list[tuple[Any, Any]]:
    x, y = (torch.from_numpy(a[work.batch :]).to(device) for a in work.data())
    if len(work.shape) == 3:
        x = x.permute(0, 3, 1, 2)
        x = x.contiguous(memory_format=torch.channels_last) if channels_last else x.contiguous()
    return list(zip(x.split(work.batch), y.long().split(work.batch), strict=True))


def loop(work: Workload, device: str = "cpu") -> tuple[Callable[[], Any], int]:
    """One model after the other on "cpu" or "cuda"; two members are timed."""
    rates = [float(rate) for rate in work.rates()[:2]]
    images = len(work.shape) == 3

    def form(threads: int, fused: bool, channels_last: bool) -> Callable[[], None]:
        data = batches(work, channels_last, device)

        def run() -> None:
            torch.set_num_threads(threads)
            for number, rate in enumerate(rates):
                torch.manual_seed(number)
                model = network(work).to(device)
                if channels_last:
                    model = model.to(memory_format=torch.channels_last)
                optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=fused)
                for x, y in data:
                    optimizer.zero_grad(set_to_none=True)
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    threads = _threads() if device == "cpu" else (1,)
    forms = itertools.product(threads, (False, True), (False, True) if images else (False,))
    return _quickest([form(*options) for options in forms]), len(rates) * work.steps


def vmapped(work: Workload) -> tuple[Callable[[], Any], int]:
    """torch.func.vmap over all members' gradients; Adam on the stacked weights."""
    data, rates = batches(work, False), torch.from_numpy(work.rates())
    skeleton = network(work).to("meta")

    def value(params: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(torch.func.functional_call(skeleton, params, (x,)), y)

    gradients = torch.func.vmap(torch.func.grad(value), in_dims=(0, None, None))

    stacked, _ = torch.func.stack_module_state([network(work) for _ in range(work.members)])

    def form(threads: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(threads)
            params = {name: value.detach().clone() for name, value in stacked.items()}
            mean = {name: torch.zeros_like(value) for name, value in params.items()}
            square = {name: torch.zeros_like(value) for name, value in params.items()}
            with torch.no_grad():
                for number, (x, y) in enumerate(data, 1):
                    grads = gradients(params, x, y)
                    for name, weight in params.items():
                        g, m, v = grads[name], mean[name], square[name]
                        m.mul_(0.9).add_(g, alpha=0.1)
                        v.mul_(0.999).addcmul_(g, g, value=0.001)
                        rate = (rates / (1 - 0.9**number)).reshape(-1, *(1,) * (g.ndim - 1))
                        scale = (v / (1 - 0.999**number)).sqrt_().add_(1e-8)
                        weight.sub_(rate * m / scale)

        return run

    return _quickest([form(threads) for threads in _threads()]), work.members * work.steps


def _threads() -> tuple[int, ...]:
    most = os.cpu_count() or 1
    return (1, most) if most > 1 else (1,)


def _quickest(forms: list[Callable[[], None]]) -> Callable[[], None]:
    """The form whose second run is the shortest."""

    def seconds(run: Callable[[], None]) -> float:
        run()
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return min(forms, key=seconds)
