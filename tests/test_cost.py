"""`vt.cost`: the reader of programs on a text of our own, with figures by hand; the floor; a tiny
program of this machine; and what is refused before compiling."""

import json

import jax
import jax.numpy as jnp
import optax
import pytest
from problems import MLP, blobs
from solo import xent

import vtune as vt
from vtune import target
from vtune.costing import chips, traffic
from vtune.costing.floor import products
from vtune.costing.program_text import Shape, parse, shapes_of
from vtune.costing.trainings import collectives, operation, round_collectives, step_loops
from vtune.runtime import compile as compiling
from vtune.runtime.compilation_cache import no_cache
from vtune.runtime.compile import build
from vtune.runtime.memory import Need, refused
from vtune.tuning.arguments import TuneArguments
from vtune.tuning.prepare import prepare

# A round of ten steps, as a TPU's compiler writes it, shortened. A tile is 8 x 128 numbers, so
# f32[8,100] takes 4 KiB and so does f32[1,8,100]; S(1) is memory on the chip.
TEXT = """\
HloModule jit_run, is_scheduled=true, entry_computation_layout={(f32[8,100]{1,0:T(8,128)})->f32[]}

%row (p.0: f32[10,8,100], p.1: s32[]) -> f32[8,100] {
  %p.0 = f32[10,8,100]{2,1,0:T(8,128)} parameter(0)
  %p.1 = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %taken = f32[1,8,100]{2,1,0:T(8,128)} dynamic-slice(%p.0, %p.1, %zero, %zero), dynamic_slice_sizes={1,8,100}
  ROOT %flat = f32[8,100]{1,0:T(8,128)} bitcast(%taken)
}

%noted (q.0: f32[10,8,100], q.1: f32[8,100], q.2: s32[]) -> (f32[10,8,100], f32[8,100]) {
  %q.0 = f32[10,8,100]{2,1,0:T(8,128)} parameter(0)
  %q.1 = f32[8,100]{1,0:T(8,128)} parameter(1)
  %q.2 = s32[]{:T(128)} parameter(2)
  %none = s32[]{:T(128)} constant(0)
  %one_row = f32[1,8,100]{2,1,0:T(8,128)} bitcast(%q.1)
  %put = f32[10,8,100]{2,1,0:T(8,128)} dynamic-update-slice(%q.0, %one_row, %q.2, %none, %none)
  %twice = f32[8,100]{1,0:T(8,128)} add(%q.1, %q.1), metadata={op_name="jit(run)/steps/while/body/add"}
  ROOT %both = (f32[10,8,100]{2,1,0:T(8,128)}, /*index=1*/f32[8,100]{1,0:T(8,128)}) tuple(%put, %twice)
}

%add_up (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%step (s: (s32[], f32[8,100], f32[10,8,100])) -> (s32[], f32[8,100], f32[10,8,100]) {
  %s = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  %w = f32[8,100]{1,0:T(8,128)} get-tuple-element(%s), index=1
  %rows = f32[10,8,100]{2,1,0:T(8,128)} get-tuple-element(%s), index=2
  %fetch = (f32[8,100]{1,0:T(8,128)S(1)}, f32[8,100]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%w)
  %x = f32[8,100]{1,0:T(8,128)S(1)} fusion(%rows, %i), kind=kLoop, calls=%row, metadata={op_name="jit(run)/rounds/while/body/vmap(steps)/while/body/closed_call/jvp(MLP)/Dense_0/dot_general"}, backend_config={"window_config":{"estimated_cycles":"70"}}
  %near = f32[8,100]{1,0:T(8,128)S(1)} copy-done(%fetch)
  %joined = f32[8,100]{1,0:T(8,128)S(1)} custom-call(%near), custom_call_target="ConcatBitcast"
  %noted.1 = (f32[10,8,100]{2,1,0:T(8,128)}, f32[8,100]{1,0:T(8,128)}) fusion(%rows, %x, %i), kind=kLoop, calls=%noted, backend_config={"window_config":{"estimated_cycles":"30"}}
  %rows.1 = f32[10,8,100]{2,1,0:T(8,128)} get-tuple-element(%noted.1), index=0
  %w.1 = f32[8,100]{1,0:T(8,128)} get-tuple-element(%noted.1), index=1
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%i, %one)
  ROOT %out = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) tuple(%next, %w.1, %rows.1)
}

%until_ten (c: (s32[], f32[8,100], f32[10,8,100])) -> pred[] {
  %ten = s32[]{:T(128)} constant(10)
  %c = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) parameter(0)
  %at = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %below = pred[]{:T(512)} compare(%at, %ten), direction=LT
}

%round (r: (s32[], f32[8,100], f32[10,8,100])) -> (s32[], f32[8,100], f32[10,8,100]) {
  %r = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) parameter(0)
  %steps = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) while(%r), condition=%until_ten, body=%step, metadata={op_name="jit(run)/rounds/while/body/train_group_0_of_4/vmap(steps)/while"}
  %v = f32[8,100]{1,0:T(8,128)} get-tuple-element(%steps), index=1
  %all = f32[8,100]{1,0:T(8,128)} all-reduce(%v), replica_groups={{0,1}}, to_apply=%add_up
  %sent = (f32[8,100]{1,0:T(8,128)}, f32[16,100]{1,0:T(8,128)}) all-gather-start(%v), dimensions={0}
  %both = f32[16,100]{1,0:T(8,128)} all-gather-done(%sent)
  %n = s32[]{:T(128)} get-tuple-element(%steps), index=0
  %kept = f32[10,8,100]{2,1,0:T(8,128)} get-tuple-element(%steps), index=2
  ROOT %back = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) tuple(%n, %all, %kept)
}

%forever (d: (s32[], f32[8,100], f32[10,8,100])) -> pred[] {
  %d = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) parameter(0)
  ROOT %true = pred[]{:T(512)} constant(true)
}

ENTRY %main (start: (s32[], f32[8,100], f32[10,8,100])) -> (s32[], f32[8,100], f32[10,8,100]) {
  %start = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) parameter(0)
  ROOT %run = (s32[]{:T(128)}, f32[8,100]{1,0:T(8,128)}, f32[10,8,100]{2,1,0:T(8,128)}) while(%start), condition=%forever, body=%round, metadata={op_name="jit(run)/rounds/while"}
}
"""  # noqa: E501

KIB = 1024


def test_the_reader_counts_as_by_hand():
    program = parse(TEXT)
    rounds, steps = program.loops
    assert (rounds.body.name, rounds.trips, rounds.around) == ("round", None, ())
    assert (steps.body.name, steps.trips, steps.around) == ("step", 10, (rounds,))
    assert traffic.hottest(program) == steps
    kernels = {kernel.name: kernel for kernel in traffic.kernels(program, steps.body)}
    # Of what is sliced the slice is read, of what is updated in place the update is written.
    row, noted, fetch = kernels["x"], kernels["noted.1"], kernels["fetch"]
    assert (row.read, row.wrote, row.main_memory) == (4 * KIB + 4, 4 * KIB, 4 * KIB + 4)
    assert (noted.read, noted.wrote) == (4 * KIB + 4, 8 * KIB)
    assert noted.main_memory == 8 * KIB + 4  # what it reads lies on the chip
    assert (fetch.bytes, fetch.main_memory) == (0, 4 * KIB)
    assert noted.path.endswith("steps/while/body/add")  # that of its largest part
    # Two fusions and the sum of two numbers; what moves nothing is no kernel.
    assert set(kernels) == {"x", "noted.1", "fetch", "next"}
    assert traffic.total(kernels.values()) == (3, 20 * KIB + 20, 16 * KIB + 20, 100)
    assert not collectives(kernels.values())
    # What an exchange starts with holds its operand, too, which is not sent twice.
    assert round_collectives(program) == {"all-reduce": 4 * KIB, "all-gather": 8 * KIB}
    # The loop around it starts ten times as many.
    whole = traffic.total(traffic.kernels(program, rounds.body))
    assert whole.kernels == 32
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("HloModule empty")


@pytest.mark.parametrize(
    ("text", "bytes"),
    [
        ("f32[3,5]{1,0}", 60),
        ("f32[3,5]{1,0:T(8,128)}", 8 * 128 * 4),
        ("f32[3,5]{0,1:T(8,128)S(1)}", 8 * 128 * 4),
        ("bf16[9,130]{1,0:T(8,128)(2,1)}", 16 * 256 * 2),
        ("f32[300,2,7]{0,2,1:T(8,128)}", 2 * 8 * 384 * 4),
        ("pred[]{:T(512)}", 1),
        ("s4[6]{0}", 3),
        ("f8e4m3fn[6]{0}", 6),
        ("(f32[2]{0}, (s64[3]{0}, token[]))", 8 + 24),
    ],
)
def test_sizes_are_those_in_memory(text, bytes):
    assert sum(shape.bytes for shape in shapes_of(text)) == bytes


def test_memory_that_is_not_the_main_one():
    assert shapes_of("f32[8,128]{1,0:T(8,128)S(1)}") == (
        Shape("f32", (8, 128), (1, 0), (8, 128), 1),
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (
            "jit(run)/rounds/while/body/vmap(steps)/while/body/closed_call/transpose(jvp(Net))/Dense_0/dot_general",
            "Net/Dense_0/dot_general, backward",
        ),
        ("jit(run)/steps/while/body/closed_call/optimizer/add", "optimizer/add"),
        ("jit(run)/steps/while/body/jvp(RNN)/while/body/tanh", "RNN/while/body/tanh"),
        ("jit(train)/vmap()/while/body/closed_call/jvp(Net)/add", "Net/add"),
        ("jit(run)/rounds/while/body/closed_call", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_operations_bear_the_users_names(path, name):
    assert operation(path) == name


def layers(depth):
    def loss(weights, x):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)
        return jnp.sum(x**2)

    return lambda weights, x: weights - 0.1 * jax.grad(loss)(weights, x), (depth, 4, 4)


def shared(depth):
    """One weight in every turn of a loop."""

    def loss(weight, x):
        x, _ = jax.lax.scan(lambda x, _: (jnp.tanh(x @ weight), None), x, length=depth)
        return jnp.sum(x**2)

    return lambda weight, x: weight - 0.1 * jax.jit(jax.grad(loss))(weight, x), (4, 4)


@pytest.mark.parametrize("net", [layers, shared])
def test_the_floor_leaves_out_gradients_of_weights(net):
    """Batches of four rows, so that shapes alone cannot tell them from activations."""
    step, shape = net(3)
    needs = products(jax.make_jaxpr(step)(jnp.zeros(shape), jnp.zeros((4, 4))))
    # Each of three layers: forward, the gradient of its input, that of its weight.
    assert needs.flops == {"float32": 3 * 3 * 2 * 4**3}
    assert needs.bytes == 3 * 2 * 2 * (4 * 4 * 4)


def test_the_floor_of_a_convolution_and_of_full_precision():
    image, kernel = jnp.zeros((2, 8, 8, 3), jnp.bfloat16), jnp.zeros((3, 3, 3, 5), jnp.bfloat16)
    dims = ("NHWC", "HWIO", "NHWC")
    conv = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=dims)
    needs = products(jax.make_jaxpr(lambda x, k: jnp.sum(conv(x, k)))(image, kernel))
    assert needs == (2 * 2 * (2 * 8 * 8 * 5), {"bfloat16": 2 * (2 * 8 * 8 * 5) * 27})
    dot = lambda a: jnp.sum(jnp.dot(a, a, precision="highest"))
    assert products(jax.make_jaxpr(dot)(jnp.zeros((4, 4)))).flops == {"float32 highest": 128}


def floor_by_hand(width, batch=8):
    """Of 6 numbers, a hidden layer, 3 classes, momentum: bytes, and operations of products."""
    weights = 6 * width + width + width * 3 + 3
    forward = batch * (width + 3)
    backward = batch * width
    products = batch * (2 * 6 * width + 3 * width * 3)
    return 2 * 4 * (2 * weights + forward + backward), 2 * products


def momentum(h):
    return optax.sgd(h["lr"], momentum=0.9)


def test_a_sweep_that_shrinks():
    """Four members for three rounds, then two of them for three more."""
    learner = vt.flax_learner(MLP(8), optimizer=momentum, loss=xent)
    options = {
        "learner": learner,
        "space": {"lr": vt.Float(1e-3, 1e-1, log=True)},
        "data": blobs(rows=64),  # 48 rows train
        "search": vt.Halton(4),
        "refiner": vt.Halving(2, min_rounds=3),
        "epochs": 6,
        "batch_size": 8,
        "layout": vt.Layout(1, devices=1),
    }
    found = vt.cost(**options)
    assert (found.chip, found.members, found.devices, found.steps) == (None, 4, 1, 36)
    assert found.seconds_at_least is None
    assert found.cycles is None
    floor, flops = floor_by_hand(8)
    assert found.floor_bytes_per_member == floor
    assert found.flops == flops * 3  # members of a mean step
    assert found.bytes == pytest.approx(found.bytes_per_member * 3, abs=3)
    assert found.bytes > 3 * floor
    assert found.main_memory_bytes == found.bytes
    assert found.kernels > 3 * 10
    assert len(found.movers) == 5
    assert found.movers[0].bytes >= found.movers[1].bytes > 0
    assert found.step_collectives == found.round_collectives == {}
    assert json.loads(json.dumps(found.to_dict()))["kernels"] == found.kernels
    assert "4 members, 36 steps, on 1 x this machine" in str(found)
    assert "times the least" in str(found)
    # Members train one after the other, so every kernel is started once for each.
    plan = prepare(TuneArguments(**options)).plan
    loops = step_loops(parse(build(plan).call.as_text()), plan)
    assert [(loop.training.size, loop.trained, loop.steps) for loop in loops] == [
        (4, 4, 18),
        (2, 2, 18),
    ]
    assert [min(k.times for k in loop.kernels) for loop in loops] == [4, 2]
    assert sum(k.times for loop in loops for k in loop.kernels) / 2 == found.kernels


def test_members_that_the_devices_do_not_divide():
    """Three members take up as much of two devices as four do, and one as much as two; they are
    counted as three and as one."""
    learner = vt.Learner(
        init=lambda key, h, batch: jnp.ones(h["width"]),
        step=lambda key, h, x, batch: (x - h["lr"] * x, {}),
        measure=lambda key, h, x, batch, weight: jnp.sum(x**2),
        score=lambda total: {"loss": total},
    )
    options = {
        "learner": learner,
        "space": {"lr": vt.Float(0.1, 0.5), "width": vt.Categorical([120, 200])},
        "search": vt.Given([{"lr": 0.1, "width": width} for width in [120] * 4 + [200] * 3]),
        "refiner": vt.Halving(2),
        "steps": 40,
        "rounds": 4,
        "layout": vt.Layout(1),
    }
    found = vt.cost(**options)
    assert (found.members, found.devices, found.steps) == (7, 2, 40)
    plan = prepare(TuneArguments(**options)).plan
    loops = step_loops(parse(build(plan).call.as_text()), plan)
    # Four members, two of them, one; beside them three, and two of those.
    assert sorted((*loop.training, loop.trained, loop.steps) for loop in loops) == [
        (0, 1, 1, 20),
        (0, 2, 1, 10),
        (0, 4, 2, 10),
        (1, 2, 1, 30),
        (1, 3, 2, 10),
    ]
    # On a device 1.25 members of each width in a mean step: weights of 4 bytes, read and written.
    assert found.floor_bytes_per_member == 8 * (120 + 200) / 2
    assert found.bytes_per_member >= found.floor_bytes_per_member


def given(**options):
    arguments = {"space": {"lr": vt.Float(1e-3, 1e-1)}, "data": blobs(), "epochs": 1}
    learner = vt.flax_learner(MLP(), optimizer=lambda h: optax.sgd(h["lr"]), loss=xent)
    return {"learner": learner, **arguments, **options}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chip": "h100"}, ValueError, 'write "h200", "v5e", or None for this machine'),
        ({"chip": 1}, ValueError, "chip=1 is not known"),
        ({"devices": 2}, ValueError, r"layout=vt.Layout\(devices=...\)"),
        ({"chip": "v5e", "devices": 0}, ValueError, "whole number, 1 to 16 for 'v5e'"),
        ({"chip": "h200", "devices": 1.5}, ValueError, "devices=1.5 must be a whole number"),
        ({"chip": "h200"}, ImportError, r'pip install "jax\[cuda13\]"'),
        ({"chip": "v5e"}, ImportError, r'pip install "jax\[tpu\]"'),
        ({"epochs": 0}, ValueError, "epochs=0"),
    ],
)
def test_what_cannot_be_told_is_refused(options, error, message, monkeypatch):
    monkeypatch.setattr(chips, "_is_installed", lambda module: False)
    with pytest.raises(error, match=message):
        vt.cost(**given(**options))


def test_jax_must_not_look_for_the_chip(monkeypatch):
    monkeypatch.setattr(chips, "_is_installed", lambda module: True)
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    with pytest.raises(RuntimeError, match="set TPU_SKIP_MDS_QUERY=1 in the environment before"):
        vt.cost(**given(chip="v5e"))


def test_the_chips_memory_is_the_limit():
    with target.compiling_for(jax.local_devices()[:1], memory=1000):
        plan = prepare(TuneArguments(**given())).plan
        with pytest.raises(MemoryError, match="the limit is"):
            build(plan)
    assert not target.is_elsewhere()


TOO_LARGE = jax.errors.JaxRuntimeError(
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
    "(3.00M) exceeds available HBM (2.00M)."
)


def test_a_compiler_that_refuses_is_asked_for_less(monkeypatch):
    """A TPU's compiler makes no program that does not fit."""
    asked = []

    class Small:
        def memory_analysis(self):
            return self

        argument_size_in_bytes = output_size_in_bytes = alias_size_in_bytes = 0
        temp_size_in_bytes = 1000

    def compile(plan, carry, fed, arguments):
        asked.append(plan.layout.chunk)
        if len(asked) == 1:
            raise TOO_LARGE
        return Small()

    monkeypatch.setattr(compiling, "_compile", compile)
    options = given(search=vt.Halton(64), layout=vt.Layout("fit", devices=1), seed=1)
    build.cache_clear()
    with target.compiling_for(jax.local_devices()[:1], memory=2 * 2**20):
        built = build(prepare(TuneArguments(**options)).plan)
    build.cache_clear()
    assert asked[0] == 64
    assert asked[1] == built.width < 43  # two thirds of it, with a margin


def test_other_errors_of_the_compiler_are_shown():
    assert refused(TOO_LARGE, 100, 2**21).need == Need(100, 3 * 2**20)
    unsaid = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too much")
    assert refused(unsaid, 100, 1000).need.total == 1001
    for error, limit in ((jax.errors.JaxRuntimeError("INTERNAL: 5G"), 1000), (TOO_LARGE, None)):
        with pytest.raises(jax.errors.JaxRuntimeError) as raised:
            refused(error, 100, limit)
        assert raised.value is error


def test_the_cache_is_left_off_for_a_while_only():
    before = jax.config.jax_enable_compilation_cache
    with no_cache():
        assert not jax.config.jax_enable_compilation_cache
    assert jax.config.jax_enable_compilation_cache is before is True
