"""The record that `vt.cost` returns, and how it is shown."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from vtune.runtime.memory import format_bytes


class Mover(NamedTuple):
    """An operation of the user's model, or of vtune, that moves bytes in a step.

    Attributes:
      operation: modules and primitive, such as "MLP/Dense_0/dot_general, backward".
      bytes: in one step of all members, on one device. kernels: that it is started as.
    """

    operation: str
    bytes: int
    kernels: int


@dataclass(frozen=True)
class Cost:
    """What a sweep takes, read off its compiled program; see `vt.cost`. Scoring is left out of all
    figures but those of memory and collectives.

    A step is one optimizer update of all members. Where cohorts differ, or members are dropped on
    the way, its figures are means over the run, cohorts added up. Figures are those of one device.

    Attributes:
      chip: None for the machine at hand.
      members: of the first population. devices: that share it. width: members side by side on one.
      steps: optimizer updates of a member that trains to the end.
      kernels: started in a step.
      bytes: that the kernels of a step read and write, each operand and each result once, slices as
        slices; on a TPU arrays are filled up to whole tiles.
      bytes_per_member: `bytes` over the members that train on a device.
      main_memory_bytes: those of a step from and to the chip's main memory. On a TPU much of
        `bytes` stays on the chip, and arrays are fetched beside the kernels, which is counted here.
      floor_bytes_per_member: what a member's step needs at least: every weight and moment (all
        floating-point arrays of its state) read once and written once, every result of a matrix
        product or a convolution written once and read once, but for gradients of weights.
      flops: of the matrix products and convolutions of a step.
      cycles: of a step, the compiler's estimate; None where it makes none (GPU, CPU).
      resident_bytes: memory held for the whole run: the population, its history, the data.
      temp_bytes: memory needed besides while the program runs.
      seconds_at_least: of all steps: `main_memory_bytes` over the chip's bandwidth or `flops` over
        its rate, whichever takes longer. No sweep is faster; most are slower. None for the machine
        at hand, whose rates are unknown.
      compile_seconds: 0 if the program was there already.
      movers: the operations that move the most in a step.
      step_collectives: bytes exchanged between devices in a step, by the kind of exchange: none.
      round_collectives: the same in a round outside its steps: scores, and members that move.
    """

    chip: str | None
    members: int
    devices: int
    width: int
    steps: int
    kernels: int
    bytes: int
    bytes_per_member: int
    main_memory_bytes: int
    floor_bytes_per_member: int
    flops: int
    cycles: int | None
    resident_bytes: int
    temp_bytes: int
    seconds_at_least: float | None
    compile_seconds: float
    movers: tuple[Mover, ...]
    step_collectives: dict[str, int]
    round_collectives: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Returns all figures as plain numbers, lists and dicts, such as JSON holds."""
        return dataclasses.asdict(self) | {"movers": [m._asdict() for m in self.movers]}

    def __str__(self) -> str:
        chips = f"{self.devices} x {self.chip or 'this machine'}"
        rows = [
            ("a step", f"{self.kernels:,} kernels, {format_bytes(self.bytes)}"),
            ("a member's step", self._per_member()),
            ("main memory", f"{format_bytes(self.main_memory_bytes)} a step"),
            ("products", f"{self.flops:.3g} operations a step"),
            ("memory", self._memory()),
            ("compiled in", f"{self.compile_seconds:.1f} s"),
        ]
        if self.cycles is not None:
            rows.insert(1, ("", f"{self.cycles:,} cycles, as the compiler estimates"))
        if self.seconds_at_least is not None:
            rows.append(("training", f"{self.seconds_at_least:.3g} s at least, scoring left out"))
        for title, exchanged in (
            ("between devices, a step", self.step_collectives),
            ("between devices, a round", self.round_collectives),
        ):
            if self.devices > 1:
                kinds = ", ".join(f"{k} {format_bytes(v)}" for k, v in exchanged.items())
                rows.append((title, kinds or "nothing"))
        for number, mover in enumerate(self.movers):
            title = "" if number else "most is moved by"
            rows.append((title, f"{format_bytes(mover.bytes):>9}  {mover.operation}"))
        left = max(len(title) for title, _ in rows)
        head = f"{self.members:,} members, {self.steps:,} steps, on {chips}"
        return "\n".join([head, *(f"  {title:<{left}}  {text}" for title, text in rows)])

    def _per_member(self) -> str:
        floor = self.floor_bytes_per_member
        times = f", {self.bytes_per_member / floor:.2f} times" if floor else ""
        return f"{format_bytes(self.bytes_per_member)}{times} the least, {format_bytes(floor)}"

    def _memory(self) -> str:
        held, more = format_bytes(self.resident_bytes), format_bytes(self.temp_bytes)
        return f"{held} held, {more} besides; {self.width:,} members side by side"
