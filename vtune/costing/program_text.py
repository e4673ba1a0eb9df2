"""Reads the text of an optimised program (HLO): computations, instructions, shapes, loops.

Sizes are those in memory: on a TPU an array's two minor axes are filled up to whole tiles.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_BITS = {"pred": 8, "token": 0, "opaque": 0}  # types whose names do not say it
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")
_OPERAND = re.compile(r"%([\w.\-]+)")
_COMMENT = re.compile(r"/\*.*?\*/")


class Shape(NamedTuple):
    """An array.

    Attributes:
      minor_to_major: its axes in memory, the quickest first; () where the text does not say.
      tile: the sizes that its minor axes are filled up to multiples of, the quickest last.
      space: the memory that it lies in; 0 is the device's main memory.
    """

    dtype: str
    dims: tuple[int, ...]
    minor_to_major: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    space: int = 0

    @property
    def bytes(self) -> int:
        """What it takes in memory, filled up."""
        dims = list(self.dims)
        for axis, size in zip(self.minor_to_major, reversed(self.tile), strict=False):
            dims[axis] = -(-dims[axis] // size) * size
        return math.prod(dims) * _bits(self.dtype) // 8

    @property
    def main_memory_bytes(self) -> int:
        """The same where it lies in main memory, else 0."""
        return self.bytes if self.space == 0 else 0


def shapes_of(text: str) -> tuple[Shape, ...]:
    """Returns the arrays of a shape, the leaves of a tuple one after the other."""
    return tuple(map(_shape, _SHAPE.finditer(text)))


def _shape(found: re.Match[str]) -> Shape:
    dims = tuple(int(d.lstrip("<=")) for d in found[2].split(",") if d)
    order, _, rest = (found[3] or "").partition(":")
    tile = re.search(r"T\(([\d,]+)\)", rest)
    space = re.search(r"S\((\d+)\)", rest)
    return Shape(
        found[1],
        dims,
        tuple(int(axis) for axis in order.split(",") if axis.strip()),
        tuple(map(int, tile[1].split(","))) if tile else (),
        int(space[1]) if space else 0,
    )


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    number = re.search(r"\d+", dtype)
    return int(number[0]) if number else 8


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      shapes: of its result, the leaves of a tuple one after the other.
      arguments: the text between its parentheses.
      attributes: the text behind them.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    arguments: str
    attributes: str
    is_root: bool

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of the instructions whose results it takes."""
        return tuple(_OPERAND.findall(self.arguments))

    @property
    def bytes(self) -> int:
        """Of its result."""
        return sum(shape.bytes for shape in self.shapes)

    @property
    def path(self) -> str:
        """Where it comes from: the names of functions, modules and primitives, outermost first."""
        return self.attribute(r'op_name="([^"]*)"') or ""

    @property
    def target(self) -> str:
        """What a custom call calls."""
        return self.attribute(r'custom_call_target="([^"]*)"') or ""

    @property
    def cycles(self) -> int:
        """The compiler's estimate; 0 where it makes none."""
        return int(self.attribute(r'"estimated_cycles":"(\d+)"') or 0)

    def attribute(self, pattern: str) -> str | None:
        """Returns what the pattern's group matches behind the arguments."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None

    def computations(self, *names: str) -> list[str]:
        """Returns the names of the computations that these attributes refer to."""
        found: list[str] = []
        for name in names:
            braces = re.search(rf"\b{name}=\{{([^}}]*)\}}", self.attributes)
            single = re.search(rf"\b{name}=%([\w.\-]+)", self.attributes)
            found += _OPERAND.findall(braces[1]) if braces else [single[1]] if single else []
        return found


@dataclass(frozen=True)
class Computation:
    """A function of the program: a loop's body, a fusion, the program itself."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        """The instruction whose result it returns."""
        return next(i for i in self.instructions.values() if i.is_root)

    @functools.cached_property
    def parameters(self) -> dict[int, str]:
        """The names of its parameters by their number."""
        return {
            int(i.arguments): name
            for name, i in self.instructions.items()
            if i.opcode == "parameter"
        }

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """By name, the instructions that take a result."""
        found: dict[str, list[Instruction]] = {}
        for instruction in self.instructions.values():
            for operand in set(instruction.operands):
                found.setdefault(operand, []).append(instruction)
        return found


class Loop(NamedTuple):
    """A loop of the program.

    Attributes:
      path: where it comes from, see `Instruction.path`.
      body: the computation of one iteration.
      trips: how many iterations it takes; None where that is known when it runs only.
      around: the loops that it lies in, the outermost first.
    """

    path: str
    body: Computation
    trips: int | None
    around: tuple[Loop, ...]


@dataclass(frozen=True)
class Program:
    """An optimised program."""

    computations: dict[str, Computation]
    entry: Computation

    @functools.cached_property
    def loops(self) -> tuple[Loop, ...]:
        """All loops, each behind those that it lies in."""
        return tuple(self._loops(self.entry, ()))

    def _loops(self, computation: Computation, around: tuple[Loop, ...]) -> Iterator[Loop]:
        for instruction in computation.instructions.values():
            if instruction.opcode == "while":
                body = self.computations[instruction.computations("body")[0]]
                loop = Loop(instruction.path, body, self.trips(instruction), around)
                yield loop
                yield from self._loops(body, (*around, loop))
            else:
                for called in self.called(instruction):
                    yield from self._loops(called, around)

    def called(self, instruction: Instruction) -> list[Computation]:
        """Returns the computations that a call or a branch runs; none for a kernel's own."""
        names: tuple[str, ...] = ()
        if instruction.opcode == "call":
            names = ("to_apply",)
        elif instruction.opcode == "async-start":
            names = ("calls",)
        elif instruction.opcode == "conditional":
            names = ("branch_computations", "true_computation", "false_computation")
        return [self.computations[name] for name in instruction.computations(*names)]

    def fused(self, instruction: Instruction) -> Computation | None:
        """Returns what a fusion computes; None for other instructions."""
        if instruction.opcode != "fusion":
            return None
        names = instruction.computations("calls")
        return self.computations[names[0]] if names else None

    def trips(self, loop: Instruction) -> int | None:
        """Returns how many iterations a loop takes, as the compiler noted it, or for a count from 0
        to a constant; None if neither says it."""
        noted = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"')
        if noted:
            return int(noted)
        condition = self.computations[loop.computations("condition")[0]]
        test = condition.root
        if test.opcode != "compare" or "direction=LT" not in test.attributes:
            return None
        limits = [condition.instructions[name] for name in test.operands]
        if [limit.opcode for limit in limits] != ["get-tuple-element", "constant"]:
            return None
        return int(limits[1].arguments) if limits[1].arguments.isdigit() else None


def parse(text: str) -> Program:
    """Reads the text that `compiled.as_text()` returns."""
    computations: dict[str, Computation] = {}
    current, entry = None, None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = computations[head[2]] = Computation(head[2])
            entry = current if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None:
            found = _INSTRUCTION.match(line)
            if found:
                current.instructions[found[2]] = _instruction(found)
    if entry is None:
        raise ValueError("this is no text of an optimised program: it has no ENTRY")
    return Program(computations, entry)


def _instruction(found: re.Match[str]) -> Instruction:
    rest = _COMMENT.sub("", found[3])
    end = _closing(rest, 0) if rest.startswith("(") else rest.index(" ")
    shape, call = rest[:end], rest[end:].lstrip()
    start = call.index("(")
    end = _closing(call, start)
    return Instruction(
        name=found[2],
        opcode=call[:start],
        shapes=shapes_of(shape),
        arguments=call[start + 1 : end - 1],
        attributes=call[end:],
        is_root=bool(found[1]),
    )


def _closing(text: str, start: int) -> int:
    """Returns the place behind the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place + 1
    return len(text)
