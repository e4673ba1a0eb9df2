"""Saving and loading a sweep: one folder, written whole or not at all.

manifest.json   settings, space, drawn values' places, checksums
arrays.npz      histories and drawn values
weights/        every member's state, by orbax
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vtune.engine.layout import resolve_layout
from vtune.engine.plan import CohortPlan, Plan, jax_config
from vtune.engine.population import Population
from vtune.engine.replicates import Replicates, replicate_shape
from vtune.learner.pretrained import nested, paths
from vtune.learner.protocol import Learner
from vtune.results.encoding import decode
from vtune.results.history import Records
from vtune.results.manifest import _cohort_plan, _is_run, _manifest, _read_manifest, _text_checksum
from vtune.results.sweep import Sweep
from vtune.results.trained import Timing
from vtune.rng.keys import from_words, is_key, member_key
from vtune.search.base import Cohort
from vtune.space.space import parse
from vtune.types import PyTree

PARTS = ("manifest.json", "arrays.npz", "weights")


def save(sweep: Sweep, path: str | os.PathLike, overwrite: bool = False) -> None:
    """See `Sweep.save`."""
    target = Path(path)
    manifest = _manifest(sweep)  # raises before anything is written
    if target.exists():
        ours = target.is_dir() and (not any(target.iterdir()) or _is_run(target))
        if not ours:
            raise RunExistsError(f"{target} is there and is no saved sweep; choose another folder")
        if not overwrite and any(target.iterdir()):
            raise RunExistsError(
                f"{target} holds a saved sweep already; give overwrite=True or another folder"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fresh = workshop / "fresh"
        fresh.mkdir()
        arrays, weights = _arrays(sweep), _weights(sweep)
        np.savez_compressed(fresh / "arrays.npz", **arrays)  # type: ignore[arg-type]
        _orbax_save((fresh / "weights").resolve(), list(weights.values()))
        manifest["leaves"] = list(weights)
        manifest["checksums"] = {"arrays": _checksum(arrays), "weights": _checksum(weights)}
        manifest["checksums"]["manifest"] = _text_checksum(manifest)
        (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        target.mkdir(exist_ok=True)
        _replace(target, fresh, workshop / "old")
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _replace(target: Path, fresh: Path, aside: Path) -> None:
    """Moves the new parts into the folder and the old ones aside; back again if that fails.

    Other files in the folder, such as figures, stay.
    """
    aside.mkdir()
    try:
        for part in PARTS:
            if (target / part).exists():
                (target / part).rename(aside / part)
        for part in PARTS:
            (fresh / part).rename(target / part)
    except BaseException:
        for part in PARTS:
            if (aside / part).exists():
                if (target / part).exists():
                    (target / part).rename(fresh / f"failed {part}")
                (aside / part).rename(target / part)
        raise


def load(path: str | os.PathLike, learner: Learner) -> Sweep:
    """Reads a sweep that `Sweep.save` wrote.

    Args:
      path: the folder. learner: made like the one that was trained; the shapes of its states
        are compared with the file's, its functions cannot be.

    Returns:
      The sweep, without its data: `rerun` then needs `data=`.

    Raises:
      FileNotFoundError: no such folder. ValueError: not a saved sweep, damaged, of a newer
        version, or of another learner.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    manifest = _read_manifest(folder)
    try:
        with (folder / "arrays.npz").open("rb") as raw, np.load(raw) as file:
            arrays = {name: file[name] for name in file.files}
        leaves = _orbax_load((folder / "weights").resolve())
        weights = dict(zip(manifest["leaves"], leaves, strict=True))
    except Exception as error:
        raise ValueError(f"{folder}: damaged ({type(error).__name__}: {error})") from error
    sums = manifest["checksums"]
    for name, part in (("arrays", arrays), ("weights", weights)):
        if _checksum(part) != sums[name]:
            raise ValueError(f"{folder}: damaged, the {name} are not what was saved")
    space = parse([{k: decode(v) for k, v in part.items()} for part in manifest["space"]])
    cohorts, plans, populations = [], [], []
    for index, entry in enumerate(manifest["cohorts"]):
        combination = space.combinations[entry["combination"]]
        hparams = {k: arrays[f"cohort{index}/hparams/{k}"] for k in entry["traced"]}
        cohorts.append(Cohort(combination, arrays[f"cohort{index}/id"], hparams))
        plans.append(_cohort_plan(entry, combination.static, hparams))
    plan = Plan(
        learner,
        tuple(plans),
        manifest["rounds"],
        manifest["metric"] or _lost_metric,
        manifest["mode"],
        manifest["eval_batch_size"],
        resolve_layout(None, max(cohort.size for cohort in plans)),
        None,
        jax_config(),
        replicates=Replicates(*manifest["trainings"]) if manifest.get("trainings") else None,
    )
    spec = manifest["rows"]
    for index, cohort in enumerate(plans):
        shapes = _state_shapes(learner, cohort, spec, replicate_shape(plan.replicates))
        left = _left(cohorts[index].id, arrays["parents"])
        populations.append(_population(folder, index, cohorts[index], left, shapes, weights))
    records = Records(
        {name: arrays[f"history/{name}"] for name in manifest["history"]},
        {name: arrays[f"settings/{name}"] for name in manifest["settings"]},
        arrays["parents"],
        arrays["ends"],
        arrays["stopped"],
        arrays["budgets"],
    )
    timing = Timing(*manifest["timing"])
    return Sweep(
        plan,
        space,
        tuple(cohorts),
        tuple(populations),
        records,
        manifest["seed"],
        None,
        timing,
        spec,
        scaling={
            name: (arrays[f"scaling/{name}/shift"], arrays[f"scaling/{name}/factor"])
            for name in manifest["scaling"]
        },
        weights=nested(
            {tuple(path): arrays[f"init_from/{i}"] for i, path in enumerate(manifest["init_from"])}
        ),
    )


def _lost_metric(metrics: Any) -> Any:
    raise ValueError(
        "the sweep's metric= was a function, which its file does not hold: a member cannot be run "
        "again from it; run the sweep again, or have the function among the learner's metrics"
    )


class RunExistsError(FileExistsError, ValueError):
    """Saving would write over something."""


def _arrays(sweep: Sweep) -> dict[str, np.ndarray]:
    arrays = {f"history/{name}": values for name, values in sweep.history.items()}
    arrays |= {f"settings/{name}": values for name, values in sweep.settings.items()}
    arrays["parents"] = sweep.parents
    arrays |= {
        f"init_from/{i}": np.asarray(leaf) for i, leaf in enumerate(paths(sweep._weights).values())
    }
    for name, (shift, factor) in sweep._scaling.items():
        arrays |= {f"scaling/{name}/shift": shift, f"scaling/{name}/factor": factor}
    arrays |= {name: getattr(sweep._records, name) for name in ("ends", "stopped", "budgets")}
    for index, own in enumerate(sweep._cohorts):
        arrays[f"cohort{index}/id"] = own.id
        for name, values in own.hparams.items():
            arrays[f"cohort{index}/hparams/{name}"] = values
    return arrays


def _weights(sweep: Sweep) -> dict[str, np.ndarray]:
    """Every leaf of every population under its path, on the host; of states those not dropped."""
    named = {}
    for index, population in enumerate(sweep._populations):
        left = _left(np.asarray(population.id), sweep.parents)
        held = population._replace(state=jax.tree.map(lambda a, n=left: a[:n], population.state))
        for path, leaf in jax.tree.leaves_with_path(held):
            if is_key(leaf):
                leaf = jax.random.key_data(leaf)
            named[_name(index, path)] = np.asarray(leaf)
    return {name: leaf for name, leaf in named.items() if leaf.size}  # orbax takes no empty ones


def _left(ids: np.ndarray, parents: np.ndarray) -> int:
    """How many of a cohort's members were not dropped."""
    return int(np.sum(parents[-1, ids] >= 0))


def _population(
    folder: Path,
    index: int,
    cohort: Cohort,
    left: int,
    state: PyTree,
    weights: dict[str, np.ndarray],
) -> Population:
    """A population of the learner's own structure, filled from the file.

    Args:
      left: how many states there are: those of members that were not dropped.
    """
    size = len(cohort.id)
    full = jax.tree.map(lambda s: jax.ShapeDtypeStruct((left, *s.shape), s.dtype), state)
    hparams = {k: jax.ShapeDtypeStruct((size,), v.dtype) for k, v in cohort.hparams.items()}
    vector: Any = lambda dtype: jax.ShapeDtypeStruct((size,), dtype)
    wanted = Population(vector(np.int32), hparams, full, vector(np.float32), vector(np.int32))
    there = {name for name in weights if name.startswith(f"{index}/")}
    leaves = []
    paths, structure = jax.tree.flatten_with_path(wanted)
    for path, leaf in paths:
        name = _name(index, path)
        there.discard(name)
        value = weights.get(name)
        if value is None and 0 in leaf.shape:
            value = np.zeros(leaf.shape, leaf.dtype)
        if value is None or (not is_key(leaf) and value.shape != leaf.shape):
            seen = "nothing" if value is None else f"shape {list(value.shape)}"
            raise ValueError(
                f"{folder} is of another learner: {jax.tree_util.keystr(path)} needs shape "
                f"{list(leaf.shape)}, the file has {seen}"
            )
        leaves.append(from_words(value, leaf) if is_key(leaf) else jax.device_put(value))
    if there:
        raise ValueError(f"{folder} is of another learner: it has {sorted(there)[0]} besides")
    return jax.tree.unflatten(structure, leaves)


def _state_shapes(
    learner: Learner, cohort: CohortPlan, spec: dict | None, axes: tuple[int, ...]
) -> PyTree:
    """Of a member's state; `axes` is that of its folds and seeds."""

    def init(traced: dict[str, Any]) -> PyTree:
        batch = None
        if spec is not None and cohort.batch_size is not None:
            batch = {
                k: jax.numpy.zeros((cohort.batch_size, *shape), dtype)
                for k, (shape, dtype) in spec.items()
            }
        return learner.init(member_key(np.uint32(0), 0), cohort.h(traced), batch)

    traced = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in cohort.traced}
    alone = jax.eval_shape(init, traced)
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct((*axes, *s.shape), s.dtype), alone)


def _name(index: int, path: Any) -> str:
    return f"{index}/{jax.tree_util.keystr(path)}"


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _orbax_save(path: Path, leaves: list[np.ndarray]) -> None:
    import orbax.checkpoint as ocp  # slow to import, only for files

    with ocp.StandardCheckpointer() as writer:
        # Numbered: the leaves' paths hold characters that folders cannot.
        writer.save(path, {f"{i:05d}": leaf for i, leaf in enumerate(leaves)})
        writer.wait_until_finished()


def _orbax_load(path: Path) -> list[np.ndarray]:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(path)
    return [np.asarray(tree[name]) for name in sorted(tree)]
