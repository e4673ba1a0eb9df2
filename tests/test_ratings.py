"""The recommendation experiment's parts: MovieLens' files, made ratings, what is held out, and the
two-tower network, whose members equal solo runs."""

import functools
import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from solo import batches, exactly, floats, largest_difference

import vtune as vt

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
ratings, made_ratings, two_tower = map(
    importlib.import_module, ("ratings", "made_ratings", "two_tower")
)
sys.path.pop(0)

ROWS = [(196, 242, 3, 881250949), (186, 302, 5, 891717742), (196, 302, 1, 878887116)]
FORMS = {
    "u.data": "".join("\t".join(map(str, row)) + "\n" for row in ROWS),
    "ratings.dat": "\r\n".join("::".join(map(str, row)) for row in ROWS),
    "ratings.csv": "userId,movieId,rating,timestamp\n"
    + "".join(f"{u},{i},{r - 0.5},{t}\n" for u, i, r, t in ROWS),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_movielens_is_read(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(FORMS[name].encode())
    for given in (file, tmp_path):
        found = ratings.read(given)
        assert found.users.tolist() == [186, 196]
        assert found.items.tolist() == [242, 302]
        assert found.user.tolist() == [1, 0, 1]
        assert found.item.tolist() == [0, 1, 1]
        stars = np.array([3, 5, 1]) - (0.5 if name == "ratings.csv" else 0)
        assert found.rating.tolist() == stars.tolist()
        assert found.time.tolist() == [row[3] for row in ROWS]
        assert [part.dtype.name for part in found[:4]] == ["int32", "int32", "float32", "int64"]


GOOD, HEADER = "1\t2\t3\t881250949\n", "userId,movieId,rating,timestamp\n"
WRONG = {
    "": r"is empty",
    HEADER: r"has a header and no ratings",
    "1 2 3 4\n": r"line 1: '1 2 3 4' is none of MovieLens' forms: four fields with tabs",
    "user,item,rating,time\n1,2,3,4\n": r"line 1: 'user,item,rating,time' is none of",
    GOOD
    + "1\t3\t4\n": r"line 2: '1\\t3\\t4' has 3 fields, and user, item, rating, timestamp are 4",
    GOOD + "\n" + GOOD: r"line 2: '' has 1 fields",
    GOOD + "1\tx\t4\t9\n": r"line 2: '1\\tx\\t4\\t9': the item is 'x', and must be a number",
    HEADER + "1,2,,9\n": r"line 2: '1,2,,9': the rating is '', and must be a number",
    "1::2::6::9\n": r"line 1: '1::2::6::9': the rating is 6, and must be 0.5 to 5, in halves",
    "1::2::3.2::9\n": r"the rating is 3.2, and must be 0.5 to 5",
    "1::2::nan::9\n": r"the rating is nan, and must be 0.5 to 5",
    GOOD + "-1\t2\t3\t9\n": r"line 2: .*the user is -1, and must be a whole number, 0 or more",
    GOOD + "1\t2.5\t3\t9\n": r"line 2: .*the item is 2.5, and must be a whole number",
    "1\t2\t3\t881250949000\n": r"the timestamp is 881250949000, and must be whole seconds since",
    HEADER + "1,2,3,0\n": r"line 2: .*the timestamp is 0, and",
    GOOD + "2\t2\t3\t9\n" + GOOD: r"line 3: .* rates again what was rated in .*line 1: ",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_line_that_is_wrong_is_named(text, tmp_path):
    file = tmp_path / "ratings.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=WRONG[text]) as raised:
        ratings.read(file)
    assert str(file) in str(raised.value)


def test_what_is_no_file_of_ratings_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file of ratings at .*: give one, or a folder with o"):
        ratings.read(tmp_path)
    (tmp_path / "u.data").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ValueError, match=r"u.data is no text; unpack it first"):
        ratings.read(tmp_path)


@pytest.fixture(scope="module")
def made():
    return made_ratings.make(200, 100, 8000, seed=3)


def test_the_best_rmse_of_made_ratings_is_that_of_their_noise(made):
    """What is left of the ratings is noise alone: of the right size, the same for every user and
    item, and without what the truth has."""
    found, noise = made.ratings, 0.8
    left = found.rating - made.truth
    assert made.best_rmse(np.arange(8000)) == pytest.approx(noise, rel=0.03)
    held = np.arange(0, 8000, 9)
    assert made.best_rmse(held) == pytest.approx(np.sqrt(np.mean(left[held] ** 2)))
    for ids, count in ((found.user, 200), (found.item, 100)):
        sizes = np.bincount(ids, minlength=count)
        sums = np.bincount(ids, left, count)[sizes > 0]
        assert np.mean(sums**2 / sizes[sizes > 0]) == pytest.approx(noise**2, rel=0.3)
    assert abs(np.corrcoef(left, made.truth)[0, 1]) < 0.03
    assert np.std(made.truth) == pytest.approx(np.sqrt(0.4**2 + 0.5**2 + 0.8**2), rel=0.15)


def test_made_ratings_are_skewed_and_liked_as_often_as_said(made):
    found = made.ratings
    pairs = found.user.astype(int) * 100 + found.item
    assert len(np.unique(pairs)) == 8000
    sizes = np.sort(np.bincount(found.item, minlength=100))
    assert sizes[-10:].mean() > 2 * sizes[:50].mean()  # without a skew 1.2 times
    chance, likes = made.liked.ravel(), np.zeros(20000)
    likes[pairs] = found.rating >= made_ratings.LIKED
    assert likes.sum() == pytest.approx(chance.sum(), rel=0.05)
    for part in np.array_split(np.argsort(chance), 5)[1:]:
        assert likes[part].mean() == pytest.approx(chance[part].mean(), rel=0.15)


def test_what_is_held_out_is_known_to_training(made):
    few = made.ratings.rows(np.arange(0, 8000, 20))  # two a user: some would have none left
    for found, fraction in ((made.ratings, 0.1), (few, 0.3)):
        split = ratings.held_out(found, fraction, seed=0)
        assert sorted(np.concatenate(split)) == list(range(len(found.user)))
        for ids in found[:2]:
            assert set(ids) == set(ids[split.train])
    asked = round(0.3 * len(few.user))
    assert 0 < len(split.valid) < asked  # the others stayed in training
    again = ratings.held_out(few, 0.3, seed=0)
    assert all(map(np.array_equal, split, again))


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([0, 9, 7], r"users held out: ids out of range, 2 of them: 7, 9; there are 5, 0 to 4"),
        ([0, -1], r"users held out: negative ids, 1 of them: -1; count from 0"),
        (
            [1, 3, 4, 3],
            r"users held out: ids that training has not, 2 of them: 3, 4; nothing is le",
        ),
    ],
)
def test_bad_ids_are_named(ids, says):
    with pytest.raises(ValueError, match=says):
        ratings.check_ids("users held out", np.array(ids), 5, np.array([0, 1, 2]))
    ratings.check_ids("users held out", np.array([2, 0]), 5, np.array([0, 1, 2]))
    with pytest.raises(ValueError, match=r"training: ids out of range, 1 of them: 5"):
        ratings.check_ids("users held out", np.array([0]), 5, np.array([0, 5]))


@pytest.fixture(scope="module")
def likes(made):
    found = made.ratings.rows(np.flatnonzero(made.ratings.rating >= made_ratings.LIKED))
    return found, ratings.held_out(found, 0.1, seed=0)


def test_rows_of_users_hold_out_what_they_have_not_seen(likes):
    found, split = likes
    data = two_tower.rows_of_users(found, split)
    of = lambda rows, user: set(found.item[rows][found.user[rows] == user])
    both = np.concatenate([split.train, split.valid])
    arrays = {name: np.asarray(array) for name, array in data.arrays.items()}
    for rows, seen, held in (
        (data.train, split.train, None),
        (data.valid, split.train, split.valid),
        (data.test, both, split.test),
    ):
        assert len(rows) > 50
        for row in np.asarray(rows):
            user = arrays["user"][row]
            assert set(arrays["seen"][row]) - {-1} == of(seen, user)
            assert set(arrays["held"][row]) - {-1} == (set() if held is None else of(held, user))
    lacking = split._replace(
        train=split.train[found.item[split.train] != found.item[split.valid[0]]]
    )
    with pytest.raises(ValueError, match=r"items of the valid ratings: ids that training has not"):
        two_tower.rows_of_users(found, lacking)


def test_items_are_drawn_as_often_as_the_correction_takes_them_to_be(likes):
    data = two_tower.rows_of_users(*likes)
    batch = {name: array[data.train] for name, array in data.arrays.items()}
    draw = jax.jit(jax.vmap(lambda key: two_tower.draw(key, batch, None)["item"]))
    item = np.asarray(draw(jax.random.split(jax.random.key(0), 500)))
    assert (item[:, :, None] == np.asarray(batch["seen"])[None]).any(-1).all()
    share = np.bincount(item.ravel(), minlength=100) / item.size
    chance = np.exp(two_tower.log_drawn(data, 100))
    assert chance.sum() == pytest.approx(1)
    np.testing.assert_allclose(share, chance, atol=1e-3)


def sampled(scores, item, log_q, negatives, correction):
    """`two_tower.sampled_softmax`, row by row."""
    out = []
    for row, own in enumerate(item):
        among = [(row + 1 + k) % len(item) for k in range(negatives)]
        shift = lambda j: correction * (log_q[j] + np.log(negatives))
        others = sum(np.exp(scores[row, j] - shift(j)) for j in among if item[j] != own)
        out.append(np.log(np.exp(scores[row, row]) + others) - scores[row, row])
    return out


@pytest.mark.parametrize(("negatives", "correction"), [(3, 1.0), (7, 1.0), (5, 0.0)])
def test_sampled_softmax_is_that_over_the_rows_that_follow(negatives, correction):
    rng = np.random.default_rng(0)
    scores, item = rng.normal(size=(8, 8)).astype(np.float32), np.array([0, 1, 2, 0, 3, 1, 4, 4])
    log_q = np.log(np.array([0.4, 0.3, 0.1, 0.1, 0.1], np.float32))[item]
    got = two_tower.sampled_softmax(jnp.asarray(scores), item, log_q, negatives, correction)
    np.testing.assert_allclose(got, sampled(scores, item, log_q, negatives, correction), rtol=1e-5)


def test_the_correction_finds_how_likely_items_are():
    """Scores of one user, learned from drawn items alone: with the correction their softmax is how
    likely each is; without it the rare ones are as high as the others."""
    chance = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    log_q = jnp.asarray(np.log(chance), jnp.float32)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def learned(key, correction):
        def step(scores, key):
            item = jax.random.categorical(key, log_q, shape=(64,))
            each = lambda s: two_tower.sampled_softmax(
                jnp.broadcast_to(s[item][None, :], (64, 64)), item, log_q[item], 63, correction
            )
            return scores - 0.3 * jax.grad(lambda s: each(s).mean())(scores), scores

        _, path = jax.lax.scan(step, jnp.zeros(5), jax.random.split(key, 1500))
        return jax.nn.softmax(path[-1000:].mean(axis=0))

    with_it, without = learned(jax.random.key(0), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(with_it, chance, atol=0.03)
    assert np.ptp(without[1:]) < 0.02  # of items one of which is drawn eight times as often


STEPS, BATCH = 20, 16
SETTINGS = [
    {"lr": 1e-2, "weight_decay": 0.1, "dropout": 0.3, "negatives": 5, "correction": 1.0},
    {"lr": 1e-1, "weight_decay": 0.0, "dropout": 0.0, "negatives": 15, "correction": 0.0},
]


def test_members_equal_solo_runs(x64, exact, likes):
    """The two-tower network: drawn items, dropout, masked negatives; and its metrics."""
    data = two_tower.rows_of_users(*likes)
    log_q = two_tower.log_drawn(data, 100)
    sweep = vt.tune(
        two_tower.learner(200, 100, log_q, jnp.float64),
        {"lr": vt.Float(0, 1), "weight_decay": vt.Float(0, 1), "dropout": vt.Float(0, 1),
         "negatives": vt.Int(1, 15), "correction": vt.Ordinal([0.0, 1.0]), "size": 4},
        data,
        search=vt.Given(SETTINGS),
        steps=STEPS,
        batch_size=BATCH,
        metric="ndcg@10",
        seed=3,
    )  # fmt: skip
    loss = two_tower.loss_of(log_q)
    model = lambda h: two_tower.TwoTower(200, 100, 4, h["dropout"], jnp.float64)
    rate = lambda h: lambda step: h["lr"] * optax.cosine_decay_schedule(1.0, STEPS)(step)
    adam = lambda h: optax.adamw(rate(h), weight_decay=h["weight_decay"])

    @exactly
    def begin(key, user, h):
        params = model(h).init(key, user)["params"]
        return params, adam(h).init(params)

    @exactly
    def step(params, state, batch, member_key, number, h):
        key = jax.random.fold_in(member_key, number)
        batch = two_tower.draw(jax.random.fold_in(key, 0), batch, h)

        def value(params):
            given = batch["user"], batch["item"]
            scores = model(h).apply({"params": params}, *given, train=True, rngs={"dropout": key})
            return loss(scores, batch, h).mean()

        updates, state = adam(h).update(jax.grad(value)(params), state, params)
        return optax.apply_updates(params, updates), state

    valid = {name: np.asarray(array)[np.asarray(data.valid)] for name, array in data.arrays.items()}
    for index, setting in enumerate(SETTINGS):
        h, key = floats(setting), vt.member_key(3, index)
        params, state = begin(key, np.asarray(data.arrays["user"])[data.train[:BATCH]], h)
        for number, batch in enumerate(batches(data, 3, STEPS, BATCH)):
            params, state = step(params, state, batch, key, np.int32(number), h)
        assert largest_difference(sweep[index].variables["params"], params) < 1e-9
        scores = np.asarray(model(h).apply({"params": params}, valid["user"]))
        for name, value in slow_metrics(scores, valid["seen"], valid["held"]).items():
            assert sweep[index].history[name][-1] == pytest.approx(value, abs=1e-9), name


def slow_metrics(scores, seen, held):
    """NDCG@10, recall@10 and MRR, row by row."""
    found = []
    for own, before, wanted in zip(scores, seen, held, strict=True):
        wanted = set(wanted[wanted >= 0])
        order = [i for i in np.argsort(-own) if i not in set(before)]
        hits = [i in wanted for i in order]
        gained = sum(1 / np.log2(2 + place) for place in range(10) if hits[place])
        most = sum(1 / np.log2(2 + place) for place in range(min(10, len(wanted))))
        found.append((gained / most, sum(hits[:10]) / len(wanted), 1 / (1 + hits.index(True))))
    return dict(zip(("ndcg@10", "recall@10", "mrr"), np.mean(found, axis=0), strict=True))
