"""`vt.log.TensorBoard`: curves and the HParams page, without TensorFlow.

<logdir>/                     what hyperparameters and metrics there are
<logdir>/population/<curve>   the leading member, the median and quantiles, round by round
<logdir>/member_<i>           a member's hyperparameters, its metrics and how it ended
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vtune.log.curves import CURVES, curves, scalars
from vtune.log.libraries import imported
from vtune.log.rows import plain
from vtune.results.paths import folder_of
from vtune.results.report import Report, Run
from vtune.results.sweep import Sweep
from vtune.space.distributions import Float, Int, Ordinal
from vtune.validation import check_count

EVENTS = "events.out.tfevents"  # how the names of TensorBoard's files begin


class TensorBoard:
    """Writes event files: `tensorboard --logdir runs/a/tb`.

    The HParams page has all members, with the last value of every metric. Where there are at most
    `members` of them, their curves grow while the sweep runs; where there are more, the curves of
    the best are written at the end. The population's curves always grow.

    A member's hyperparameters are those that it began with; where a refiner changes them, they are
    written at the end, and each has a curve `hparams/<name>`. What is not finite is left out.

    Args:
      logdir: a folder. A sweep that goes on (`vt.extend`, `checkpoint=`) continues what is there.
      members: how many of them have curves.
      overwrite: whether a sweep that begins may remove the event files of another one.
      strict: whether a failure ends the sweep; see `docs/guides/callbacks.md`.

    Raises:
      ImportError: TensorBoard is not installed.
      FileExistsError: the folder holds event files, and a sweep begins. Raised before anything is
        compiled.
    """

    def __init__(
        self,
        logdir: str | os.PathLike,
        *,
        members: int = 50,
        overwrite: bool = False,
        strict: bool = False,
    ):
        self._folder = folder_of("vt.log.TensorBoard", logdir, example="runs/a/tb")
        if self._folder.exists() and not self._folder.is_dir():
            raise NotADirectoryError(f"vt.log.TensorBoard: {self._folder} is a file; give a folder")
        check_count("vt.log.TensorBoard: members", members, 0)
        self._members, self._overwrite, self.strict = int(members), overwrite, strict
        self._messages = _Messages()

    def begin(self, run: Run) -> None:
        if run.first == 0:
            self._clear()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run, self._files = run, dict[str, _Events]()
        self._grow = run.planned <= self._members
        values = {name: [h[name] for h in run.hparams if name in h] for name in run.space.names}
        self._kinds = {name: _kind(of_members) for name, of_members in values.items()}

    def rounds(self, report: Report) -> None:
        if not self._files:
            self._describe(report)
        metrics = scalars(report)
        for round, found in curves(self._run, report):
            for curve, values in found.items():
                self._file(f"population/{curve}", report.first).add(round, values)
        if self._grow:
            for member in range(len(self._run)):
                self._add(member, report.first, report.trained[:, member], metrics, report.settings)
        self._flush()

    def end(self, sweep: Sweep) -> None:
        records = sweep.trained.records
        if not self._grow:
            metrics = {name: values for name, values in records.history.items() if values.ndim == 2}
            with_curves = set(sweep.ranking[: self._members].tolist())
            for number in range(len(sweep)):
                shown = records.trained[:, number]
                if number not in with_curves:  # its last values alone
                    shown = shown & (np.arange(len(shown)) == np.flatnonzero(shown)[-1])
                self._add(number, 0, shown, metrics, records.settings)
        for number, member in enumerate(sweep):
            events = self._file(_folder(number), 0)
            if self._run.changing:
                events.put(self._messages.start(self._named(member.hparams), _folder(number)))
            events.put(self._messages.end(member.status.startswith("diverged")))
        self._flush()

    def _clear(self) -> None:
        """Removes the event files of another sweep, or raises where that is not wanted."""
        ours = ["", *(f"population/{curve}" for curve in CURVES), "member_*"]
        found = [
            file for place in ours for file in self._folder.glob(f"{place}/{EVENTS}*".lstrip("/"))
        ]
        if found and not self._overwrite:
            raise FileExistsError(
                f"vt.log.TensorBoard: {self._folder} holds event files already; give another "
                "folder, or vt.log.TensorBoard(logdir, overwrite=True)"
            )
        for file in found:
            file.unlink()

    def _describe(self, report: Report) -> None:
        """Writes what there is, and what each member begins with."""
        first, names = self._run.metric_name, list(scalars(report))
        metrics = sorted(names, key=lambda name: name != first)
        events = self._file("", report.first)
        events.put(self._messages.config(self._domains(), metrics))
        if not self._run.changing:
            for member, hparams in enumerate(self._run.hparams):
                start = self._messages.start(self._named(hparams), _folder(member))
                self._file(_folder(member), report.first if self._grow else 0).put(start)

    def _add(
        self,
        member: int,
        first: int,
        trained: np.ndarray,
        metrics: dict[str, np.ndarray],
        settings: dict[str, np.ndarray],
    ) -> None:
        """Adds a member's points from round `first` on, of the rounds it was trained in."""
        changing = {f"hparams/{name}": settings[name] for name in self._run.changing}
        events = self._file(_folder(member), first)
        for row in np.flatnonzero(trained):
            values = {n: float(v[row, member]) for n, v in {**metrics, **changing}.items()}
            events.add(first + int(row), values)

    def _named(self, hparams: dict[str, Any]) -> dict[str, Any]:
        """Returns a member's hyperparameters, each column of one kind."""
        return {name: self._kinds[name](plain(value)) for name, value in hparams.items()}

    def _domains(self) -> dict[str, Any]:
        """Returns by name the ends of a range, or a list of all values."""
        domains: dict[str, Any] = {}
        for name, kind in self._kinds.items():
            given = [part[name] for part in self._run.space.parts if name in part]
            if all(isinstance(d, Float | Int | Ordinal) for d in given):
                ends = [float(e) for d in given for e in _ends(d)]
                domains[name] = (min(ends), max(ends))
            else:
                values = [kind(plain(h[name])) for h in self._run.hparams if name in h]
                domains[name] = sorted(set(values))
        return domains

    def _file(self, folder: str, first: int) -> _Events:
        """Returns the file in one folder; rounds from `first` on replace what is there."""
        if folder not in self._files:
            self._files[folder] = _Events(self._messages, self._folder / folder, first)
        return self._files[folder]

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()


class _Events:
    """An event file. It is open only while it is written to."""

    def __init__(self, messages: _Messages, folder: Path, first: int):
        self._messages = messages
        name = f"{EVENTS}.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        self._due = [messages.version(), messages.restart(first)]

    def put(self, summary: Any) -> None:
        self._due.append(self._messages.event(0, summary))

    def add(self, round: int, values: dict[str, float]) -> None:
        """Adds one point to each curve; what is not finite is left out."""
        values = {name: value for name, value in values.items() if np.isfinite(value)}
        if values:
            self._due.append(self._messages.event(round, self._messages.scalars(values)))

    def flush(self) -> None:
        if self._due:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            framed = self._messages.framed(self._due)
            with open(self._path, "ab") as file:
                file.write(framed)
            self._due = []


class _Messages:
    """TensorBoard's own messages. Its `hparams.api` would import TensorFlow."""

    def __init__(self) -> None:
        (
            self._event,
            self._summary,
            self._hparams,
            self._api,
            self._metadata,
            self._plugin,
            self._records,
        ) = imported(
            "vt.log.TensorBoard",
            "tensorboard",
            "tensorboard.compat.proto.event_pb2",
            "tensorboard.compat.proto.summary_pb2",
            "tensorboard.plugins.hparams.summary_v2",
            "tensorboard.plugins.hparams.api_pb2",
            "tensorboard.plugins.hparams.metadata",
            "tensorboard.plugins.hparams.plugin_data_pb2",
            "tensorboard.summary.writer.record_writer",
        )

    def version(self) -> Any:
        return self._event.Event(wall_time=time.time(), file_version="brain.Event:2")

    def restart(self, step: int) -> Any:
        """Says that earlier points from this step on no longer count."""
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        return self._event.Event(wall_time=time.time(), step=step, session_log=start)

    def event(self, step: int, summary: Any) -> Any:
        return self._event.Event(wall_time=time.time(), step=step, summary=summary)

    def scalars(self, values: dict[str, float]) -> Any:
        value = self._summary.Summary.Value
        return self._summary.Summary(
            value=[value(tag=t, simple_value=v) for t, v in values.items()]
        )

    def config(self, domains: dict[str, Any], metrics: list[str]) -> Any:
        of = self._hparams
        domain = lambda d: of.RealInterval(*d) if isinstance(d, tuple) else of.Discrete(d)
        return of.hparams_config_pb(
            [of.HParam(name, domain(d)) for name, d in domains.items()],
            list(map(of.Metric, metrics)),
        )

    def start(self, hparams: dict[str, Any], name: str) -> Any:
        """A member is a trial, though another may have the same hyperparameters."""
        return self._hparams.hparams_pb(hparams, trial_id=name)

    def end(self, diverged: bool) -> Any:
        status = self._api.STATUS_FAILURE if diverged else self._api.STATUS_SUCCESS
        info = self._plugin.SessionEndInfo(status=status, end_time_secs=time.time())
        data = self._plugin.HParamsPluginData(session_end_info=info)
        value = self._summary.Summary.Value(
            tag=self._metadata.SESSION_END_INFO_TAG,
            metadata=self._metadata.create_summary_metadata(data),
            tensor=self._metadata.NULL_TENSOR,
        )
        return self._summary.Summary(value=[value])

    def framed(self, events: Iterable[Any]) -> bytes:
        """Returns events as bytes of a file, with lengths and checksums."""
        buffer = io.BytesIO()
        writer = self._records.RecordWriter(buffer)
        for event in events:
            writer.write(event.SerializeToString())
        return buffer.getvalue()


def _folder(member: int) -> str:
    return f"member_{member:03}"


def _kind(values: list[Any]) -> type:
    """Returns what all values of a hyperparameter are shown as: bool, float or str."""
    values = [plain(value) for value in values]
    if all(isinstance(value, bool) for value in values):
        return bool
    numbers = all(isinstance(value, int | float) for value in values)
    return float if numbers and not any(isinstance(value, bool) for value in values) else str


def _ends(distribution: Any) -> Iterator[float]:
    if isinstance(distribution, Ordinal):
        yield from (min(distribution.values), max(distribution.values))
    else:
        yield from (distribution.low, distribution.high)
