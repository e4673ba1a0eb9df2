"""What an iteration of a loop does: the kernels that it starts and the bytes that they move.

A kernel reads its operands once and writes its result once. An operand of which it takes slices
only counts as the slices, an array that is updated in place as the part that is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vtune.costing.program_text import Computation, Instruction, Loop, Program, Shape

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
_NO_KERNEL = frozenset(
    (
        *("add-dependency", "after-all", "bitcast", "constant", "get-tuple-element", "opt-barrier"),
        *("parameter", "partition-id", "replica-id", "tuple"),
        *("async-done", "async-update", "copy-done", "slice-done"),
        *(f"{name}-done" for name in COLLECTIVES),
    )
)
_NO_WORK = frozenset(("AllocateBuffer", "ConcatBitcast"))  # custom calls that move nothing
_PREFETCH = frozenset(("copy-start", "slice-start"))  # between memories, beside the kernels
_SLICES = frozenset(("dynamic-slice", "gather", "slice"))
_IN_PLACE = {"dynamic-update-slice": 1, "scatter": -1}  # where the operand that is written stands
_SAME = frozenset(("bitcast", "copy", "reshape", "convert"))  # which pass slices on, inside fusions


class Kernel(NamedTuple):
    """A kernel, or a transfer between two memories of the device.

    Attributes:
      path: the operation that it comes from, see `Instruction.path`.
      read, wrote: bytes of its operands and results, wherever they lie; 0 for a transfer.
      main_memory: bytes that it moves from or to the device's main memory.
      cycles: the compiler's estimate.
      times: how often it is started in an iteration.
    """

    name: str
    opcode: str
    path: str
    read: int
    wrote: int
    main_memory: int
    cycles: int
    times: int = 1

    @property
    def bytes(self) -> int:
        """All that it reads and writes, every time that it is started."""
        return self.times * (self.read + self.wrote)

    @property
    def is_transfer(self) -> bool:
        """Whether it is started beside the kernels, and is none."""
        return self.opcode in _PREFETCH

    @property
    def collective(self) -> str | None:
        """The exchange between devices that it is, if it is one."""
        kind = self.opcode.removesuffix("-start")
        return kind if kind in COLLECTIVES else None


class Traffic(NamedTuple):
    """What a loop's body moves in one iteration."""

    kernels: int
    bytes: int
    main_memory_bytes: int
    cycles: int


def total(kernels: Iterable[Kernel]) -> Traffic:
    """Adds up kernels."""
    kernels = tuple(kernels)
    return Traffic(
        sum(k.times for k in kernels if not k.is_transfer),
        sum(k.bytes for k in kernels),
        sum(k.times * k.main_memory for k in kernels),
        sum(k.times * k.cycles for k in kernels),
    )


def kernels(
    program: Program, body: Computation, times: int = 1, nested: bool = True
) -> Iterator[Kernel]:
    """Yields the kernels of a computation, those of the loops and branches in it as well.

    A loop of unknown length counts once; of the branches of a condition, all count.

    Args:
      times: how often the computation is run.
      nested: whether loops in it are gone into.
    """
    for instruction in body.instructions.values():
        if instruction.opcode == "while":
            if nested:
                trips = program.trips(instruction) or 1
                inside = program.computations[instruction.computations("body")[0]]
                yield from kernels(program, inside, times * trips)
            continue
        called = program.called(instruction)
        for inside in called:
            yield from kernels(program, inside, times, nested)
        if not (called or instruction.opcode in _NO_KERNEL or instruction.target in _NO_WORK):
            yield _kernel(program, body, instruction, times)


def hottest(program: Program) -> Loop | None:
    """Returns the loop whose own kernels move the most, over all iterations of it and of those
    that it lies in; None without a loop."""

    def moved(loop: Loop) -> int:
        own = total(kernels(program, loop.body, nested=False)).bytes
        for each in (*loop.around, loop):
            own *= each.trips or 1
        return own

    return max(program.loops, key=moved, default=None)


def _kernel(program: Program, body: Computation, instruction: Instruction, times: int) -> Kernel:
    if instruction.opcode in _PREFETCH:
        return _transfer(body, instruction, times)
    reads = [
        (shape, bytes)
        for number, operand in enumerate(instruction.operands)
        for shape, bytes in _read(program, body, instruction, number, operand)
    ]
    writes = list(_written(program, body, instruction))
    main = sum(bytes for shape, bytes in (*reads, *writes) if shape.space == 0)
    return Kernel(
        instruction.name,
        instruction.opcode,
        _path(program, instruction),
        sum(bytes for _, bytes in reads),
        sum(bytes for _, bytes in writes),
        main,
        instruction.cycles,
        times,
    )


def _transfer(body: Computation, instruction: Instruction, times: int) -> Kernel:
    """A copy or a slice from one memory to another; its result holds the array that it makes, the
    one that it is made of, and a place to wait at."""
    moved = instruction.shapes[0 if instruction.opcode == "copy-start" else 1]
    sides = [shape.space for shape in instruction.shapes[:2]]
    main = sides.count(0) * moved.bytes
    path = instruction.path
    return Kernel(instruction.name, instruction.opcode, path, 0, 0, main, instruction.cycles, times)


def _read(
    program: Program, body: Computation, instruction: Instruction, number: int, operand: str
) -> Iterator[tuple[Shape, int]]:
    """Yields the arrays of an operand, each with the bytes that are read of it."""
    made_by = body.instructions.get(operand)
    if made_by is None:
        return
    whole = made_by.bytes
    read = whole
    fused = program.fused(instruction)
    if fused is not None:
        read = min(whole, _read_inside(program, fused, fused.parameters.get(number), whole))
    elif instruction.opcode in _SLICES and number == 0:
        read = min(whole, instruction.bytes)
    elif instruction.opcode in _IN_PLACE and number == 0:
        read = 0
    if len(made_by.shapes) == 1:
        yield made_by.shapes[0], read
    else:
        yield from ((shape, shape.bytes) for shape in made_by.shapes)


def _read_inside(program: Program, fused: Computation, name: str | None, whole: int) -> int:
    """Returns the bytes that a fusion reads of one of its parameters, of `whole` bytes."""
    read = 0
    for user in fused.users.get(name or "", ()):
        numbers = [i for i, operand in enumerate(user.operands) if operand == name]
        if user.opcode in _SLICES and numbers == [0]:
            read += user.bytes
        elif user.opcode in _IN_PLACE and numbers == [0]:
            continue  # the rest stays where it is
        elif user.opcode in _SAME:
            read += _read_inside(program, fused, user.name, whole) if not user.is_root else whole
        elif user.opcode == "fusion":
            inner = program.fused(user)
            for number in numbers:
                if inner is None:
                    return whole
                read += _read_inside(program, inner, inner.parameters.get(number), whole)
        else:
            return whole
    return read


def _written(
    program: Program, body: Computation, instruction: Instruction
) -> Iterator[tuple[Shape, int]]:
    """Yields the arrays of a result, each with the bytes that are written."""
    if instruction.opcode.removesuffix("-start") in COLLECTIVES:
        # What is started holds its operands, where there are more arrays than results, and these.
        count = len(instruction.operands)
        results_of = instruction.shapes[count : 2 * count] or instruction.shapes
        yield from ((shape, shape.bytes) for shape in results_of)
        return
    fused = program.fused(instruction)
    results: list[Instruction] = []
    if fused is not None:
        root = fused.root
        names = root.operands if root.opcode == "tuple" else (root.name,)
        results = [_behind_bitcasts(fused, fused.instructions[name]) for name in names]
    elif len(instruction.shapes) == 1:
        results = [instruction]
    if len(results) != len(instruction.shapes):
        yield from ((shape, shape.bytes) for shape in instruction.shapes)
        return
    for shape, result in zip(instruction.shapes, results, strict=True):
        yield shape, min(shape.bytes, _part_written(fused or body, result, fused is not None))


def _part_written(computation: Computation, result: Instruction, fused: bool) -> int:
    """Returns the bytes that are written of a result: all, or the part that changes in place."""
    if result.opcode not in _IN_PLACE:
        return result.bytes
    target = _behind_bitcasts(computation, computation.instructions[result.operands[0]])
    if fused and target.opcode != "parameter":
        return result.bytes  # of an array that is made here as well
    return computation.instructions[result.operands[_IN_PLACE[result.opcode]]].bytes


def _behind_bitcasts(computation: Computation, instruction: Instruction) -> Instruction:
    while instruction.opcode == "bitcast":
        instruction = computation.instructions[instruction.operands[0]]
    return instruction


def _path(program: Program, instruction: Instruction) -> str:
    """Returns where a kernel comes from; of a fusion that does not say it, its largest part."""
    fused = program.fused(instruction)
    if instruction.path or fused is None:
        return instruction.path
    named = [inner for inner in fused.instructions.values() if inner.path]
    return max(named, key=lambda inner: inner.bytes).path if named else ""
