"""`python -m vtune`: what it prints, its exit codes, and one line for whatever is wrong."""

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from problems import as_if, quadratic

import vtune as vt
from vtune.command.main import main
from vtune.command.output import plain, shown, size_text
from vtune.command.parquet import typed
from vtune.saved_files import LOCK, brief, manifest_checksum
from vtune.tuning.checkpoints import machine, outlook

SPACE = {"lr": vt.Ordinal([0.1, 0.5, 1e30])}  # the last diverges
LEARNER = quadratic()


def tune(**options):
    options = {"search": vt.Grid(), "steps": 40, "rounds": 4, "seeds": 2, **options}
    return vt.tune(LEARNER, SPACE, **options, progress=False)


@pytest.fixture(scope="module")
def sweep():
    return tune()


@pytest.fixture(scope="module")
def saved(sweep, tmp_path_factory):
    """A folder with a finished sweep and one that ended after its first round."""
    folder = tmp_path_factory.mktemp("runs")
    sweep.save(folder / "a")
    with pytest.warns(UserWarning, match="timeout"):
        tune(timeout=1e-6, checkpoint=folder / "deep" / "b")
    (folder / "notes").mkdir()
    (folder / "notes" / "manifest.json").write_text('{"format": "another"}')
    return folder


@pytest.fixture
def runs(saved, tmp_path):
    """A copy, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "runs"))


@pytest.fixture
def call(capsys):
    """Runs a command; returns its exit code, what it printed and what it said on stderr."""

    def called(*argv):
        code = main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return called


def test_ls_has_a_line_for_each_sweep(call, saved, sweep):
    code, out, err = call("ls", saved)
    assert (code, err) == (0, "")
    head, a, b = out.splitlines()
    assert head.split() == ["sweep", "state", "members", "best", "date", "size"]
    assert a.split()[:5] == ["a", "finished", "3", "loss", f"{sweep.best.score:.4g}"]
    assert b.startswith("deep/b  interrupted, round 1 of 4  ")
    code, out, _ = call("ls", saved, "--json")
    first, second = json.loads(out)
    size = sum(f.stat().st_size for f in (saved / "a").rglob("*") if f.is_file())
    assert first["bytes"] == size
    assert (first["state"], first["round"], first["rounds"]) == ("finished", 4, 4)
    assert (first["best"], first["member"]) == (sweep.best.score, sweep.best.index)
    assert (second["name"], second["state"], second["round"]) == ("deep/b", "interrupted", 1)
    assert second["best"] == vt.read(saved / "deep" / "b").best.score
    code, out, _ = call("ls", saved / "a")  # a sweep itself
    assert out.splitlines()[1].startswith("a  ")


def test_ls_loads_no_jax(saved):
    """And so takes a twentieth of the time."""
    program = (
        "import runpy, sys; sys.argv = ['vtune', 'ls', sys.argv[1]]\n"
        "try: runpy.run_module('vtune', run_name='__main__', alter_sys=True)\n"
        "finally: print(sorted({'jax', 'numpy', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, saved], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1].startswith("a ")
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_sweep_runs_as_long_as_its_process(call, runs):
    folder = runs / "deep" / "b"
    lock = folder / LOCK
    for holder, state in (
        (f"process {os.getpid()} on {socket.gethostname()}", "running"),
        (f"process {2**22 + 1} on {socket.gethostname()}", "interrupted"),  # no such process
        ("process 1 on another-machine", "running"),
        ("", "interrupted"),
        ("process 99999999999999999999 on " + socket.gethostname(), "interrupted"),
    ):
        lock.write_text(holder)
        assert brief(folder).state == state
    shutil.rmtree(folder / "vtune-checkpoints")
    (folder / "vtune-checkpoints").mkdir()
    assert call("ls", folder)[1].splitlines()[1].split()[:2] == ["b", "interrupted"]
    code, _, err = call("table", folder)
    assert code == 2
    assert err == f"vtune: {folder}: its sweep has not written a checkpoint yet; try again later\n"


def test_table_and_export_have_the_numbers(call, saved, sweep, tmp_path):
    table = sweep.table()
    code, out, _ = call("table", saved / "a", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["member"] for row in rows] == sweep.ranking.tolist()
    assert set(rows[0]) == {"member", *table.columns}
    for row in rows:
        expected = table.loc[row["member"]]
        assert row["status"] == expected["status"]
        for name in ("loss", "loss/std", "lr", "loss/fold0/seed1"):
            found = np.nan if row[name] is None else row[name]
            assert found == pytest.approx(expected[name], rel=1e-6, nan_ok=True)
    assert rows[-1]["loss"] is None  # it diverged
    code, out, _ = call("export", saved / "a", "--what", "history")
    history = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(history[0])[:5] == ["round", "member", "parent", "lr", "loss"]
    assert len(history) == 4 * 3
    for row in history:
        value = sweep.history["loss"][int(row["round"]), int(row["member"])]
        assert row["loss"] == "" if np.isnan(value) else float(row["loss"]) == pytest.approx(value)
    file = tmp_path / "out.jsonl"
    line = ("export", saved / "a", "--format", "jsonl", "-o", file)
    assert call(*line) == (0, "", "")
    assert [json.loads(text) for text in file.read_text().splitlines()] == rows
    code, _, err = call(*line)
    assert (code, err) == (2, f"vtune: {file} is there already; give --overwrite, or another\n")
    assert call(*line, "--overwrite", "--what", "history")[0] == 0
    first = json.loads(file.read_text().splitlines()[0])
    np.testing.assert_allclose(first["loss/splits"], sweep.history["loss/splits"][0, 0])


def test_table_prints_sorted_columns(call, saved, sweep):
    code, out, _ = call("table", saved / "a", "--top", 2)
    head, first, second = (line.split() for line in out.splitlines())
    assert (code, head) == (0, ["member", "loss", "loss/std", "lr", "status"])
    assert [int(first[0]), int(second[0])] == sweep.ranking[:2].tolist()
    numbers = lambda *options: [
        line.split()[0] for line in call("table", saved / "a", *options)[1].splitlines()[1:]
    ]
    assert numbers("--sort", "lr") == ["0", "1", "2"]
    assert numbers("--sort", "loss", "--reverse") == ["0", "1", "2"]  # nothing comes last
    assert "loss/fold0/seed1" in call("table", saved / "a", "--all")[1]
    code, _, err = call("table", saved / "a", "--sort", "lrr")
    assert code == 2
    assert err.startswith("vtune: --sort: there is no column 'lrr'; there are member, loss, ")
    code, out, _ = call("table", saved / "deep" / "b")
    assert (code, "interrupted after round 0" in out) == (0, True), out


def test_compare_prints_what_vt_compare_does(call, saved, sweep, runs):
    code, out, err = call("compare", saved / "a", saved / "deep" / "b")
    expected = vt.compare({"a": sweep, "b": vt.read(saved / "deep" / "b")})
    assert (code, out, err) == (0, repr(expected) + "\n", "")
    code, out, _ = call("compare", saved / "a", saved / "deep" / "b", "--json")
    assert json.loads(out)["sweeps"][1]["mean"] == expected.rows["b"].mean
    as_if(sweep, mode="max").save(runs / "up")
    code, out, _ = call("compare", runs / "a", runs / "up")
    assert code == 1
    assert 'not comparable: mode="max", there "min"' in out
    assert call("compare", saved / "a") == (2, "", "vtune: compare: give two folders or more\n")
    assert (
        call("compare", saved / "a", saved / "a")[2] == "vtune: compare: a folder is given twice\n"
    )
    code, _, err = call("compare", saved / "a", runs / "a", "--confidence", 95)
    assert (code, "must be a number between 0 and 1" in err) == (2, True)


def damage_manifest(run):
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text[: len(text) // 2])


def change_manifest(run):
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "rounds": 5}))


def cut_arrays(run):
    (file,) = run.glob("parts-*/arrays.npz")
    file.write_bytes(file.read_bytes()[:100])


def change_arrays(run):
    (file,) = run.glob("parts-*/arrays.npz")
    with np.load(file) as held:
        arrays = dict(held)
    arrays["00000"] = arrays["00000"] + 1
    np.savez_compressed(file, **arrays)


def lose_weights(run):
    (folder,) = run.glob("parts-*/weights")
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "says", "listed", "read"),
    [
        (damage_manifest, "damaged, manifest.json does not parse", "damaged", 1),
        (change_manifest, "damaged, manifest.json is not what was saved", "damaged", 1),
        (cut_arrays, "damaged, arrays.npz: ", "finished", 1),
        (change_arrays, "damaged, the arrays are not what was saved", "finished", 1),
        (lose_weights, "damaged, weights: ", "finished", 0),  # the table needs none
    ],
)
def test_damage_is_found(call, runs, damage, says, listed, read):
    whole = f"{runs / 'deep' / 'b'}: fine; can go on after round 1 of 4: run its script again\n"
    finished = f"{runs / 'a'}: fine; finished, nothing to go on with\n"
    assert call("check", runs) == (0, finished + whole, "")
    damage(runs / "a")
    code, out, err = call("check", runs)
    assert (code, err) == (1, "")
    assert out.startswith(f"{runs / 'a'}: {says}")
    assert out.endswith(f"\n{runs / 'a'}: cannot go on, it is damaged\n{whole}")
    code, out, err = call("ls", runs)
    assert code == (listed == "damaged")
    assert out.splitlines()[1].split()[:2] == ["a", listed]
    assert err.count("\n") == code
    code, _, err = call("table", runs / "a")
    assert (code, err.count("\n")) == (read, read)


def test_damaged_checkpoints_are_found(call, runs):
    folder = runs / "deep" / "b"
    metadata = folder / "vtune-checkpoints" / "1" / "manifest" / "metadata"
    metadata.write_text("{")
    code, out, _ = call("check", folder, "--json")
    (found,) = json.loads(out)
    assert code == 1
    assert found["damages"][0].startswith("checkpoint 1: damaged, its manifest cannot be read")
    assert not found["outlook"]["possible"]
    code, out, err = call("ls", folder)
    assert (code, out.splitlines()[1].split()[1]) == (1, "damaged")
    assert err.startswith(f"vtune: {folder}: damaged, checkpoint 1: ")
    assert call("table", folder)[0] == 1


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that ended after three rounds of four, with that checkpoint and one before it."""
    folder = tmp_path_factory.mktemp("ended") / "run"
    stop = lambda report: vt.STOP if report.round == 2 else None
    tune(checkpoint=vt.Checkpoint(folder, rounds=1), callbacks=[stop])
    return folder


@pytest.fixture
def unfinished(ended, tmp_path):
    """A copy, to be damaged."""
    return Path(shutil.copytree(ended, tmp_path / "run"))


def header_of(run, number):
    return run / "vtune-checkpoints" / str(number) / "manifest" / "metadata"


def others(run):
    """Older checkpoints: those of rounds that end while another is written are left out."""
    numbers = {int(path.name) for path in (run / "vtune-checkpoints").iterdir()}
    return sorted(numbers - {3})


def rewrite(file, change):
    """Changes a checkpoint's manifest as who wrote it would have."""
    header = json.loads(file.read_text())
    change(header)
    header["checksums"]["manifest"] = manifest_checksum(header)
    file.write_text(json.dumps(header))


def test_check_says_whether_a_run_can_go_on(call, unfinished):
    def looked():
        """What `check` says: the exit code, the outlook, and the lines without the folder."""
        (found,) = json.loads(call("check", unfinished, "--json")[1])
        code, out, err = call("check", unfinished)
        assert err == ""
        lines = [line.removeprefix(f"{unfinished}: ") for line in out.splitlines()]
        coming = found["outlook"]
        assert coming["why"] in lines[-1 if not coming["differs"] else -2]
        return code, coming, lines

    code, coming, lines = looked()
    assert (code, coming["possible"], coming["round"], coming["rounds"]) == (0, True, 3, 4)
    assert lines == ["fine; can go on after round 3 of 4: run its script again"]

    lock = unfinished / LOCK
    lock.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    code, coming, lines = looked()
    assert (code, coming["possible"]) == (0, False)
    assert lines == [f"fine; is running now, {lock.read_text()}"]
    lock.unlink()

    newest, (before,) = header_of(unfinished, 3), others(unfinished)
    kept = newest.read_text()
    versions = {"version of jax": "0.1", "version of python": "3.99"}
    rewrite(newest, lambda header: header["sweep"]["call"]["machine"].update(versions))
    code, coming, lines = looked()
    here = machine.versions()
    assert coming["differs"] == [f"{k} {here[k]} here, {v} there" for k, v in versions.items()]
    assert lines[1] == f"goes on with a warning, {'; '.join(coming['differs'])}"
    with pytest.warns(UserWarning, match=re.escape("; ".join(coming["differs"]))):  # so it does
        tune(checkpoint=shutil.copytree(unfinished, unfinished.with_name("again")))

    newest.write_text(kept[:100])
    code, coming, lines = looked()
    assert (code, coming["possible"], coming["round"]) == (1, True, before)
    assert lines[0].startswith("checkpoint 3: damaged, its manifest cannot be read")
    assert lines[1:] == [
        f"can go on after round {before} of 4, since the newer ones are damaged: run its script "
        "again"
    ]
    with pytest.warns(UserWarning, match=f"goes on from the one before it, after {before} rounds"):
        tune(checkpoint=shutil.copytree(unfinished, unfinished.with_name("before")))

    rewrite(header_of(unfinished, before), lambda header: header.update(version=99))
    code, coming, lines = looked()
    why = (
        f"cannot go on, checkpoint {before}: was written by a newer vtune; upgrade vtune to read it"
    )
    assert (code, coming["possible"], coming["why"]) == (1, False, why)
    with pytest.raises(ValueError, match="was written by a newer vtune"):
        tune(checkpoint=unfinished)

    header_of(unfinished, before).write_text("{}"[:1])
    code, coming, lines = looked()
    assert (code, coming["possible"], len(lines)) == (1, False, 3)
    assert lines[2].startswith("cannot go on, all checkpoints are damaged; vt.Checkpoint(folder, ")
    with pytest.raises(ValueError, match="There is no other checkpoint"):
        tune(checkpoint=unfinished)

    for number in (before, 3):
        shutil.rmtree(unfinished / "vtune-checkpoints" / str(number))
    assert looked()[2] == ["fine; has no checkpoint yet, its script begins anew"]


def test_check_of_saved_sweeps_and_chips(call, ended, tmp_path, monkeypatch):
    early = tmp_path / "early"
    tune(callbacks=[lambda report: vt.STOP]).save(early)
    rounds = brief(early).round
    code, out, _ = call("check", early)
    assert (code, out) == (
        0,
        f"{early}: fine; ended after round {rounds} of 4; vt.extend goes on with it\n",
    )
    run = Path(shutil.copytree(ended, tmp_path / "run"))
    chip = {"platform": "gpu", "devices": 4}
    rewrite(header_of(run, 3), lambda header: header["sweep"]["call"]["machine"].update(chip))
    out = call("check", run)[1]
    assert "it was begun on 4 devices of the platform gpu; this command did not look" in out
    monkeypatch.setattr(outlook, "looks_at_cpus_alone", lambda: False)
    assert call("check", run)[1].endswith("a warning, platform cpu here, gpu there\n")
    monkeypatch.setattr(machine.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(machine.jax, "local_device_count", lambda: 2)
    assert call("check", run)[1].endswith("a warning, devices 2 here, 4 there\n")


# Python's own words, which changed in 3.13.
NULL_BYTE = ("embedded null byte", "listdir: embedded null character in path")


def test_what_cannot_be_done_is_said_in_one_line(call, saved, tmp_path):
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("")
    for argv, says in (
        (("ls", tmp_path / "no"), f"No such file or directory: {tmp_path / 'no'}"),
        (("ls", file), f"Not a directory: {file}"),
        (("table", tmp_path / "no"), f"No such file or directory: {tmp_path / 'no'}"),
        (("table", empty), f"{empty} holds no sweep; give a folder that `ls` lists"),
        (("table", saved / "notes"), f"{saved / 'notes'} holds no sweep; "),
        (("table", saved / "a", "--top", "0"), "argument --top: '0' is no whole number, 1 or more"),
        (("check", empty), f"there is no sweep in {empty}"),
        (("check", tmp_path / "no"), f"No such file or directory: {tmp_path / 'no'}"),
        (("export", saved / "a", "-o", empty / "b" / "c"), "No such file or directory"),
        (("export", saved / "a", "--format", "xls"), "argument --format: invalid choice"),
        (
            ("export", saved / "a", "--format", "parquet"),
            "export: --format parquet is nothing for a terminal; give a file, -o table.parquet",
        ),
        (
            ("export", saved / "a", "--format", "optuna"),
            "export: --format optuna is nothing for a terminal; give a file, -o study.log",
        ),
        (
            ("export", saved / "a", "--format", "optuna", "-o", tmp_path / "x.csv"),
            f"export: {tmp_path / 'x.csv'} must end in .db, .sqlite, .sqlite3 (SQLite) or .log (a ",
        ),
        (
            ("export", saved / "a", "--format", "optuna", "-o", "x.db", "--what", "table"),
            "export: --what is not for --format optuna: a study has both; leave it out",
        ),
        (
            ("export", saved / "a", "--name", "x"),
            "export: --name is that of a study; give --format optuna, or leave it out",
        ),
        (("table", "x" * 5000), "File name too long"),
        (("table", "a\0b"), NULL_BYTE),
        (("nonsense",), "argument COMMAND: invalid choice: 'nonsense'"),
        ((), "the following arguments are required: COMMAND"),
    ):
        code, out, err = call(*argv)
        assert (code, out) == (2, ""), argv
        said = [says] if isinstance(says, str) else says
        assert err.startswith(tuple(f"vtune: {words}" for words in said)), argv
        assert err.count("\n") == 1
    assert call("ls", empty) == (0, "", f"vtune: there is no sweep in {empty}\n")
    assert call("ls", empty, "--json")[1] == "[]\n"
    code, out, _ = call("--help")
    assert (code, "ls " in out) == (0, True)


def test_no_permission_is_said(call, runs, monkeypatch):
    """Tests may run as root, who may read everything, so the system's answer is given here."""
    shut = runs / "a"
    listdir = os.listdir

    def refused(path="."):
        if Path(path) == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refused)
    code, out, err = call("ls", runs)
    assert (code, err) == (1, f"vtune: Permission denied: {shut}\n")
    assert "deep/b" in out
    assert call("table", shut) == (2, "", f"vtune: Permission denied: {shut}\n")
    assert call("check", runs)[0] == 2


def test_hostile_names_stay_text(call, runs):
    hostile = runs / "\x1b[31m\n<script>\udcff"
    (runs / "a").rename(hostile)
    code, out, err = call("ls", runs)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "\\x1b[31m\\n<script>\\udcff" in out
    assert len(out.splitlines()) == 3
    assert json.loads(call("ls", runs, "--json")[1])[0]["name"] == hostile.name
    hostile = hostile.rename(runs / "\x1b[31m\n<script>")  # Orbax opens Unicode alone
    fine = f"{shown(hostile)}: fine; finished, nothing to go on with\n"
    assert call("check", hostile)[:2] == (0, fine)


def test_parquet_has_the_type_of_the_values():
    half = np.array([[[0.5, np.nan]], [[np.inf, 2.0]]], np.float16)
    for values, kind, held in (
        ([True, None, False], "bool", [True, None, False]),
        ([1, -(2**63)], "int64", [1, -(2**63)]),
        ([1, 2**63], "string", ["1", "9223372036854775808"]),
        ([1, 0.5, None], "float64", [1.0, 0.5, None]),
        ([np.nan, np.inf], "float64", [None, np.inf]),
        ([1, "a", None], "string", ["1", "a", None]),
        ([True, 1], "string", ["True", "1"]),
        (["\udcff", "\n<script>"], "string", ["\\udcff", "\n<script>"]),
        ([[1, 2], None, []], "list of int64", [[1, 2], None, []]),
        ([[1], "a"], "string", ["[1]", "a"]),
        ([None], "string", [None]),
        ([], "string", []),
        (np.arange(3, dtype=np.int32), "int32", [0, 1, 2]),
        (np.array([0.1, np.nan], np.float32), "float32", [float(np.float32(0.1)), None]),
        (half, "list of list of float32", [[[0.5, None]], [[np.inf, 2.0]]]),
    ):
        assert typed(values) == (kind, held)


def test_parquet_is_the_table(call, saved, sweep, tmp_path):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    file = tmp_path / "t.parquet"
    line = ("export", saved / "a", "--format", "parquet", "-o", file)
    assert call(*line) == (0, "", "")
    expected = sweep.table().iloc[sweep.ranking]
    found = pandas.read_parquet(file).set_index("member")
    pandas.testing.assert_frame_equal(found, expected, check_exact=True, check_index_type=False)
    assert call(*line)[:2] == (2, "")  # it is there
    assert call(*line, "--overwrite", "--what", "history") == (0, "", "")
    found = pandas.read_parquet(file)
    trained = sweep.trained.records.trained
    assert list(found.columns[:5]) == ["round", "member", "parent", "lr", "loss"]
    np.testing.assert_array_equal(found["loss"], sweep.history["loss"][trained])
    splits = np.stack([np.stack(row).astype(np.float32) for row in found["loss/splits"]])
    np.testing.assert_array_equal(splits, sweep.history["loss/splits"][trained])


@pytest.mark.parametrize(("extra", "library"), [("parquet", "pyarrow"), ("optuna", "optuna")])
def test_missing_libraries_are_named(call, saved, tmp_path, monkeypatch, extra, library):
    monkeypatch.setitem(sys.modules, library, None)
    code, out, err = call("export", saved / "a", "--format", extra, "-o", tmp_path / "x.log")
    assert (code, out) == (2, "")
    assert err.startswith(f"vtune: --format {extra} needs {library}, which is not there (")
    assert err.endswith(f"): pip install 'vtune[{extra}]'\n")
    assert not list(tmp_path.iterdir())


def test_a_study_is_exported(call, saved, tmp_path):
    optuna = pytest.importorskip("optuna")
    from vtune.studies.storage import close, opened, target_of

    path = tmp_path / "a\x1b[31m.log"
    line = ("export", saved / "a", "--format", "optuna", "-o", path)
    assert call(*line) == (0, f'{shown(path)}: study "a", 3 trials\n', "")
    taken = f"{shown(path)} has a study 'a' already; give --overwrite, or another --name"
    assert call(*line) == (2, "", f"vtune: {taken}\n")
    assert call(*line, "--overwrite")[0] == call(*line, "--name", "b\x1b[31m")[0] == 0
    storage = opened(optuna, target_of(optuna, "", path))
    assert {s.study_name for s in storage.get_all_studies()} == {"a", "b\\x1b[31m"}
    close(storage)
    (tmp_path / "a.log").write_text("one line")
    for name, says in (
        ("a.log", f"{tmp_path / 'a.log'} is no journal of Optuna's; give another file\n"),
        ("no/d.log", f"No such file or directory: {tmp_path / 'no' / 'd.log'}\n"),
    ):
        out = call("export", saved / "a", "--format", "optuna", "-o", tmp_path / name)
        assert out == (2, "", f"vtune: {says}")


def test_words_and_numbers():
    assert [size_text(n) for n in (0, 999, 1000, 12_345_678, 10**13)] == [
        *("0 B", "999 B", "1 kB", "12.3 MB", "10 TB")
    ]
    values = {"a": (np.float32(0.5), np.nan, np.arange(2)), 1: Path("x"), "b": True}
    assert plain(values) == {"a": [0.5, None, [0, 1]], "1": "x", "b": True}
