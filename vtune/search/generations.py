"""Generations: members are drawn in turns, by what those before them came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vtune.search.base import DEFAULT_MEMBERS, MAX_MEMBERS, Cohort
from vtune.search.halton import Halton
from vtune.space.space import Space
from vtune.validation import check_call, check_count, check_flag

_SAMPLES = ("infer_relative_search_space", "sample_relative", "sample_independent")


@dataclass(frozen=True)
class Generations:
    """A search by generations, asked for by one of Optuna's samplers (Akiba et al. 2019).

        study = a study of Optuna's
        generation 0: points of a Halton sequence
        for each later one: ask the sampler for `size` settings
            train them, as one call of the program that trained those before them
            tell the study what they came to

    The sweep has the members of all generations; member `i` is of generation `i // size`.
    Structural combinations keep their numbers of members, so one program trains every generation:
    they are dealt in turn, and the sampler is asked for the rest of the setting.

    Args:
      sampler: of Optuna's, `optuna.samplers.TPESampler()` or any other. Its random numbers follow
        from the sweep's `seed`; `QMCSampler`, and samplers of your own, need a seed of theirs.
      size: members of a generation; 64 when left out, or what the refiner asks for.
        `CmaEsSampler(popsize=)` and `NSGAIISampler(population_size=)` must be of this size.
      generations: how many.
      study: a study of Optuna's that is continued. If it has complete trials, the first generation
        is asked for as well. Its storage keeps the trials; without a study they are kept in memory,
        and with `checkpoint=` in a journal, `study.log`, in its folder.
      warm_start: whether the members of a generation begin with the weights of the best member
        before them, instead of drawn ones or those of `init_from=`. With structural choices that
        change the weights this cannot be. Without `init_from=` the first generation is a program
        of its own.
      constraints: a function of a member's last metrics, by name, that returns a number or several:
        above 0 where a constraint is violated, as Optuna has it. Needs Optuna 5.

    Raises:
      TypeError, ValueError: this is no sampler, no study, or no number of members.

    Examples:
      >>> import optuna, vtune as vt
      >>> search = vt.Generations(optuna.samplers.TPESampler(), size=64, generations=5)
      >>> search.members
      320
    """

    sampler: Any
    size: int | None = None
    generations: int = 5
    study: Any = None
    warm_start: bool = False
    constraints: Callable[[Mapping[str, float]], Any] | None = None

    def __post_init__(self) -> None:
        _check_sampler(self.sampler)
        if self.size is not None:
            check_count("Generations: size", self.size)
        check_count("Generations: generations", self.generations)
        if self.members > MAX_MEMBERS:
            raise ValueError(
                f"Generations: {self.generations:,} generations of {self.size:,} are "
                f"{self.members:,} members; {MAX_MEMBERS:,} at most"
            )
        if self.size is not None:
            _check_population(self.sampler, self.size)
        _check_study(self.study)
        check_flag("Generations: warm_start", self.warm_start)
        if self.constraints is not None:
            check_call("Generations: constraints", self.constraints, "metrics")

    @property
    def members(self) -> int:
        """Of all generations."""
        return (self.size or DEFAULT_MEMBERS) * self.generations

    @property
    def name(self) -> str:
        """As the sweep says what drew its members."""
        return f"Generations({type(self.sampler).__name__})"

    def of(self, size: int | None) -> Generations:
        """Returns the search with the number of members that a refiner asks for, or 64, where it
        has none."""
        return self if self.size is not None else replace(self, size=size or DEFAULT_MEMBERS)

    def draw(self, space: Space, seed: int) -> tuple[Cohort, ...]:
        """Returns the members of the first generation, see `Search.draw`."""
        return Halton(self.size).draw(space, seed)

    def __repr__(self) -> str:
        who = type(self.sampler).__name__
        return f"Generations({who}, size={self.size}, generations={self.generations})"


def _check_sampler(sampler: Any) -> None:
    if isinstance(sampler, type) or not all(callable(getattr(sampler, n, None)) for n in _SAMPLES):
        write = "optuna.samplers.TPESampler()"
        if isinstance(sampler, type) and hasattr(sampler, "sample_relative"):
            write = f"optuna.samplers.{sampler.__name__}()"
        what = "is a name, and a sampler itself is needed"
        raise TypeError(
            f"Generations: sampler={sampler!r} "
            f"{what if isinstance(sampler, str) else 'is no sampler of Optuna'}; write "
            f"vt.Generations({write}, size=64, generations=5)"
        )


def _check_study(study: Any) -> None:
    if study is None or all(hasattr(study, name) for name in ("ask", "tell", "directions")):
        return
    if isinstance(study, str):
        raise TypeError(
            f"Generations: study={study!r} must be a study itself; write "
            "optuna.create_study(study_name=..., storage=..., load_if_exists=True)"
        )
    raise TypeError(
        f"Generations: study must be one of Optuna's, got {type(study).__name__}; write "
        "study=optuna.create_study(), or leave it out"
    )


def _check_population(sampler: Any, size: int) -> None:
    """Raises ValueError where a sampler has generations of its own, of another size.

    Optuna keeps what a sampler was made with under its own name, with an underscore.
    """
    for name in ("popsize", "population_size"):
        own = vars(sampler).get(f"_{name}", size)
        if own != size:
            who = type(sampler).__name__
            has = f"has {name}={own}" if own else f"chooses its {name}"
            raise ValueError(
                f"Generations: size={size}, and the {who} {has}; its generations must be the "
                f"sweep's: write {who}({name}={size})"
            )
