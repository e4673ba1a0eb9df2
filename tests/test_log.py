"""What the callbacks of `vt.log` write, read back by the libraries themselves."""

import csv
import dataclasses
import json
import math
import struct
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

import vtune as vt

LEARNER = vt.Learner(
    init=lambda key, h, batch: jnp.ones(()),
    step=lambda key, h, x, batch: (x - h["lr"] * h["width"] * h["act"](x), {"loss": x**2 / 2}),
    measure=lambda key, h, x, batch, weight: jnp.stack([x**2 / 2, x]),
    score=lambda total: {"loss": total[0], "both": total},
)
HALVING = {  # a rate of 1e30 diverges
    "space": {
        "lr": vt.Ordinal([0.1, 0.3, 0.45, 1e30]),
        "width": vt.Categorical([1, 2]),
        "act": jnp.tanh,
    },
    "search": vt.Grid(),
    "refiner": vt.Halving(2),
}
PBT = {
    "space": {"lr": vt.Float(0.1, 0.45), "width": 1, "act": jnp.tanh},
    "search": vt.Halton(4),
    "refiner": vt.PBT(2),
}


class Listener:
    """Notes what it is told, to tell it again."""

    most_rounds = 3

    def __init__(self):
        self.reports = []

    def begin(self, run):
        self.run = run

    def rounds(self, report):
        self.reports.append(report)

    def end(self, sweep):
        self.sweep = sweep


@pytest.fixture(scope="module")
def told():
    """By name of a sweep, who listened to it."""

    def listen(options):
        listener = Listener()
        vt.tune(LEARNER, **options, steps=8, rounds=8, callbacks=[listener])
        return listener

    return {"halving": listen(HALVING), "pbt": listen(PBT)}


def tell(callback, listener, first=0, stop=8, end=True):
    """Tells a callback what another one was told; `first` is where it goes on."""
    callback.begin(dataclasses.replace(listener.run, first=first))
    for report in listener.reports:
        if first <= report.first and report.stop <= stop:
            callback.rounds(report)
    if end and hasattr(callback, "end"):
        callback.end(listener.sweep)


def finite(values):
    return {round: float(v) for round, v in enumerate(values) if math.isfinite(v)}


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def read_json(path):
    def refuse(constant):
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["halving", "pbt"])
def test_files_have_a_row_for_each_round_and_member(kind, told, tmp_path):
    """With what it was trained with, and none for a member that was dropped."""
    sweep = told[kind].sweep
    tell(vt.log.CSV(tmp_path / "new" / "a.csv"), told[kind])
    tell(vt.log.JSONLines(tmp_path / "a.jsonl"), told[kind])
    table, objects = read_csv(tmp_path / "new" / "a.csv"), read_json(tmp_path / "a.jsonl")
    trained = [(r, m) for r in range(8) for m in range(len(sweep)) if sweep.parents[r, m] >= 0]
    assert [(int(row["round"]), int(row["member"])) for row in table] == trained
    assert [(row["round"], row["member"]) for row in objects] == trained
    assert list(table[0]) == [
        "round",
        "member",
        "parent",
        "lr",
        "width",
        "act",
        "loss",
        "train/loss",
    ]
    assert list(objects[0]) == [*list(table[0])[:6], "both", "loss", "train/loss"]
    for (round, member), row, found in zip(trained, table, objects, strict=True):
        of = sweep[member]
        loss = of.history["loss"][round]
        assert np.float32(row["loss"]) == loss or math.isnan(float(row["loss"]))
        assert found["loss"] == (float(row["loss"]) if math.isfinite(loss) else None)
        assert found["parent"] == int(row["parent"]) == sweep.parents[round, member]
        assert found["lr"] == float(row["lr"])
        assert found["lr"] == pytest.approx(sweep.settings["lr"][round, member], rel=1e-6)
        assert (found["width"], found["act"]) == (of.hparams["width"], "tanh")
        assert found["both"][0] == found["loss"]
    assert any(row["loss"] == "nan" for row in table) == (kind == "halving")


@pytest.mark.parametrize("form", [vt.log.CSV, vt.log.JSONLines])
def test_a_run_that_goes_on_continues_its_file(form, told, tmp_path):
    """Rounds that were run twice are there once; half a line is gone."""
    whole, path = tmp_path / "whole", tmp_path / "killed"
    tell(form(whole), told["halving"])
    tell(form(path), told["halving"], stop=7)
    with open(path, "a") as file:
        file.write(path.read_text().splitlines()[-1][:9])
    tell(form(path), told["halving"], first=4)
    assert path.read_text() == whole.read_text()
    tell(form(tmp_path / "anew"), told["halving"], first=4)
    reader = read_csv if form is vt.log.CSV else read_json
    assert {int(row["round"]) for row in reader(tmp_path / "anew")} == {4, 5, 6, 7}
    with pytest.raises(ValueError, match=r"has the columns .* give another path"):
        tell(form(path), other_columns(told["halving"]), first=4)


def test_a_run_that_goes_on_from_a_checkpoint_continues_its_file(told, tmp_path):
    """It died after rows were written whose rounds were in no checkpoint yet."""
    whole, path = tmp_path / "whole", tmp_path / "rows"
    tell(vt.log.CSV(whole), told["halving"])

    def die(report):
        if report.stop == 5:
            raise SystemExit

    die.most_rounds = 1
    kept = vt.Checkpoint(tmp_path / "run", rounds=2)
    options = {**HALVING, "steps": 8, "rounds": 8, "checkpoint": kept, "progress": False}
    with pytest.raises(SystemExit):
        vt.tune(LEARNER, **options, callbacks=[vt.log.CSV(path), die])
    assert {int(row["round"]) for row in read_csv(path)} == {0, 1, 2, 3, 4}
    firsts = []
    note = lambda report: firsts.append(report.first)
    vt.tune(LEARNER, **options, callbacks=[vt.log.CSV(path), note])
    assert 0 < firsts[0] < 5
    assert path.read_text() == whole.read_text()


def other_columns(listener):
    other = Listener()
    other.run, other.sweep = listener.run, listener.sweep
    rename = lambda report: {f"{name}2": values for name, values in report.history.items()}
    other.reports = [dataclasses.replace(r, history=rename(r)) for r in listener.reports]
    return other


@pytest.mark.parametrize("form", [vt.log.CSV, vt.log.JSONLines])
def test_a_file_that_is_there_is_not_written_over(form, told, tmp_path, refused):
    path = tmp_path / "rows"
    tell(form(path), told["halving"])
    before = path.read_text()
    options = {**HALVING, "steps": 8, "rounds": 8}
    with refused(FileExistsError, r"rows is there already; .*\(path, overwrite=True\)"):
        vt.tune(LEARNER, **options, callbacks=[form(path)])
    assert path.read_text() == before
    lines = []
    path.write_text("another, file\nof nobody's\n")
    look = lambda report: lines.append(path.read_text())
    vt.tune(LEARNER, **options, callbacks=[form(path, overwrite=True), look])
    assert lines[-1] == before
    assert all(text.endswith("\n") and before.startswith(text) for text in lines)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: vt.log.CSV(3), TypeError, r"vt.log.CSV: path must be the name of a file, got 3"),
        (lambda: vt.log.JSONLines(""), ValueError, "cannot be the name of a file"),
        (lambda: vt.log.CSV("s3://bucket/a.csv"), ValueError, "is not on this machine"),
        (lambda: vt.log.CSV("."), IsADirectoryError, "is a folder; give a file in it"),
        (lambda: vt.log.TensorBoard(__file__), NotADirectoryError, "is a file; give a folder"),
        (lambda: vt.log.TensorBoard(None), TypeError, "path must be the name of a folder"),
        (lambda: vt.log.TensorBoard("tb", members=-1), ValueError, "members=-1 must be a whole"),
        (lambda: vt.log.MLflow(members="all"), ValueError, "members='all' must be a whole"),
        (lambda: vt.log.WandB(runs="each"), ValueError, """runs='each' must be "sweep" or"""),
    ],
)
def test_what_cannot_be_written_to_is_named_when_the_callback_is_made(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "extra", "module"),
    [
        (lambda: vt.log.TensorBoard("tb"), "tensorboard", "tensorboard.compat.proto.event_pb2"),
        (lambda: vt.log.WandB(), "wandb", "wandb"),
        (lambda: vt.log.MLflow(), "mlflow", "mlflow.tracking"),
    ],
)
def test_a_library_that_is_missing_is_named_when_the_callback_is_made(
    make, extra, module, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {extra}, .* pip install 'vtune\[{extra}\]'"):
        make()


def read_events(folder):
    """By run: tag -> {step: value}, and what the HParams plugin knows of it."""
    module = "tensorboard.backend.event_processing.plugin_event_multiplexer"
    multiplexer = pytest.importorskip(module).EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    read = pytest.importorskip("tensorboard.util.tensor_util").make_ndarray
    points, plugin = {}, {}
    for run in multiplexer.Runs():
        tags = multiplexer.PluginRunToTagToContent("scalars").get(run, {})
        points[run] = {
            tag: [(e.step, float(read(e.tensor_proto))) for e in multiplexer.Tensors(run, tag)]
            for tag in tags
        }
        plugin[run] = multiplexer.PluginRunToTagToContent("hparams").get(run, {})
    return points, plugin


def parsed_plugin(content):
    """What a tag of the HParams plugin says, by the field that is set."""
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    parse = {
        metadata.EXPERIMENT_TAG: metadata.parse_experiment_plugin_data,
        metadata.SESSION_START_INFO_TAG: metadata.parse_session_start_info_plugin_data,
        metadata.SESSION_END_INFO_TAG: metadata.parse_session_end_info_plugin_data,
    }
    return {tag.rpartition("/")[2]: parse[tag](data) for tag, data in content.items()}


def check_population(points, sweep):
    """The leading member's curve, and the median's."""
    loss = sweep.history["loss"]
    best = dict(points["population/best"]["loss"])
    median = dict(points["population/median"]["loss"])
    for round in range(8):
        known = loss[round][np.isfinite(loss[round])]
        assert best[round] == known.min()
        assert median[round] == pytest.approx(np.median(known))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["halving", "pbt"])
@pytest.mark.parametrize("most", [50, 2])
def test_tensorboard_reads_all_members_and_rounds(kind, most, told, tmp_path):
    """Those with curves have every round, the others their last values."""
    pytest.importorskip("tensorboard")
    listener = told[kind]
    sweep, run = listener.sweep, listener.run
    tell(vt.log.TensorBoard(tmp_path, members=most), listener)
    points, plugin = read_events(tmp_path)
    check_population(points, sweep)
    grown = range(len(sweep)) if most == 50 else sweep.ranking[:most].tolist()
    for number, member in enumerate(sweep):
        lived = sum(sweep.parents[:, number] >= 0)
        rounds = range(lived) if number in grown else [lived - 1]
        values = {r: v for r, v in finite(member.history["loss"]).items() if r in rounds}
        found = points.get(f"member_{number:03}", {})
        assert dict(found.get("loss", [])) == values
        assert len(found.get("loss", [])) == len(values)
        if kind == "pbt":
            assert dict(found["hparams/lr"]) == {r: sweep.settings["lr"][r, number] for r in rounds}
        said = parsed_plugin(plugin[f"member_{number:03}"])
        start = said["session_start_info"]
        assert start.group_name == f"member_{number:03}"
        values = {n: getattr(v, v.WhichOneof("kind")) for n, v in start.hparams.items()}
        assert values == {**member.hparams, "act": "tanh"}
        failed = 3 if member.status.startswith("diverged") else 2
        assert said["session_end_info"].status == failed - 1
    experiment = parsed_plugin(plugin["."])["experiment"]
    assert [info.name for info in experiment.hparam_infos] == ["lr", "width", "act"]
    assert [info.name.tag for info in experiment.metric_infos] == ["loss", "train/loss"]
    assert len(run) == len(sweep)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_goes_on_without_doubled_points(told, tmp_path):
    pytest.importorskip("tensorboard")
    listener = told["halving"]
    tell(vt.log.TensorBoard(tmp_path), listener, stop=7, end=False)
    with pytest.raises(FileExistsError, match="holds event files already"):
        vt.log.TensorBoard(tmp_path).begin(listener.run)
    tell(vt.log.TensorBoard(tmp_path), listener, first=4)
    points, _ = read_events(tmp_path)
    assert [step for step, _ in points["population/best"]["loss"]] == list(range(8))
    best = int(listener.sweep.ranking[0])
    assert [step for step, _ in points[f"member_{best:03}"]["loss"]] == list(range(8))
    check_population(points, listener.sweep)
    (tmp_path / "mine.txt").write_text("kept")
    tell(vt.log.TensorBoard(tmp_path, overwrite=True), listener)
    points, _ = read_events(tmp_path)
    assert len(points["population/best"]["loss"]) == 8
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["halving", "pbt"])
def test_mlflow_reads_the_sweep_and_its_best_members(kind, told, tmp_path, monkeypatch):
    pytest.importorskip("mlflow.tracking")
    from mlflow.tracking import MlflowClient

    with pytest.raises(ValueError, match="tracking_uri='nowhere://a' cannot be written to"):
        vt.log.MLflow(tracking_uri="nowhere://a")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    listener, uri = told[kind], (tmp_path / "runs").as_uri()
    sweep = listener.sweep
    tell(vt.log.MLflow("ours", tracking_uri=uri, run_name="first", members=3), listener)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("ours").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs(experiment)}
    best = sweep.ranking[:3].tolist()
    assert set(runs) == {"first", *(f"member-{number:03}" for number in best)}
    parent = runs["first"].info.run_id
    curve = {m.step: m.value for m in client.get_metric_history(parent, "best/loss")}
    assert curve == finite(np.nanmin(sweep.history["loss"], axis=1))
    assert runs["first"].data.params["plan"] == listener.run.plan
    for number in best:
        child = runs[f"member-{number:03}"]
        assert child.data.tags["mlflow.parentRunId"] == parent
        hparams = {**sweep[number].hparams, "act": "tanh"}
        assert child.data.params == {name: str(value) for name, value in hparams.items()}
        for name in ("loss", "train/loss"):
            points = client.get_metric_history(child.info.run_id, name)
            assert {m.step: m.value for m in points} == finite(sweep.history[name][:, number])
        assert child.info.status == "FINISHED"
    assert runs["first"].info.status == "FINISHED"


def wandb_records(data):
    """The records of W&B's offline file, whose form is that of LevelDB's log."""
    place, parts = 7, []  # after the file's own header
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # a block's padding
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def read_wandb(folder, count):
    """By run name: config, history {name: {step: value}}, summary and folder of offline runs."""
    record_type = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record

    def records(path):  # W&B's own process may still be writing them
        for _ in range(300):
            found = [record_type.FromString(data) for data in wandb_records(path.read_bytes())]
            if any(record.WhichOneof("record_type") == "exit" for record in found):
                break
            time.sleep(0.1)
        return found

    runs = {}
    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len(paths) == count
    for path in paths:
        found = {"config": {}, "history": {}, "summary": {}, "folder": path.parent}
        named = lambda items: {i.key or i.nested_key[0]: json.loads(i.value_json) for i in items}
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                found["name"], found["group"] = record.run.display_name, record.run.run_group
                found["config"] |= named(record.run.config.update)
            elif kind == "history":
                for name, value in named(record.history.item).items():
                    found["history"].setdefault(name, {})[record.history.step.num] = value
            elif kind == "summary":
                found["summary"] |= named(record.summary.update)
        runs[found["name"]] = found
    return runs


@pytest.fixture
def wandb(monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("wandb")
def test_wandb_reads_the_sweep_as_one_run(told, tmp_path):
    listener = told["halving"]
    sweep = listener.sweep
    tell(vt.log.WandB("p", name="ours", mode="offline", dir=str(tmp_path)), listener)
    (run,) = read_wandb(tmp_path, 1).values()
    assert run["name"] == "ours"
    assert run["config"]["plan"] == listener.run.plan
    assert run["history"]["best/loss"] == finite(np.nanmin(sweep.history["loss"], axis=1))
    lived = (sweep.parents >= 0).sum(axis=1)
    assert run["history"]["members trained"] == dict(enumerate(lived.tolist()))
    (path,) = run["folder"].glob("files/media/table/*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["member", "lr", "width", "act", "loss", "train/loss", "status"]
    for row, member in zip(table["data"], sweep, strict=True):
        hparams = member.hparams
        assert row[:4] == [member.index, hparams["lr"], hparams["width"], "tanh"]
        assert row[-1] == member.status


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("wandb")
def test_wandb_reads_a_run_a_member(told, tmp_path):
    listener = told["pbt"]
    sweep = listener.sweep
    options = {"mode": "offline", "dir": str(tmp_path), "group": "ours"}
    tell(vt.log.WandB("p", runs="members", **options), listener)
    runs = read_wandb(tmp_path, 4)
    assert set(runs) == {f"member-{number:03}" for number in range(4)}
    for number, member in enumerate(sweep):
        run = runs[f"member-{number:03}"]
        assert run["group"] == "ours"
        assert run["config"]["lr"] == listener.run.hparams[number]["lr"]
        for name in ("loss", "train/loss"):
            assert run["history"][name] == finite(member.history[name])
        assert run["history"]["hparams/lr"] == finite(sweep.settings["lr"][:, number])
        assert run["summary"]["status"] == "completed"
    many = dataclasses.replace(listener.run, hparams=listener.run.hparams * 20)
    with pytest.raises(ValueError, match="would make 80 runs, and 64 are the most"):
        vt.log.WandB("p", runs="members", **options).begin(many)
