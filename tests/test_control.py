"""The agents of experiments/ppo.py, beside gymnax's own steps and slow loops."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solo import exactly, floats, largest_difference

import vtune as vt

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def imported(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    return importlib.import_module


@pytest.fixture
def ppo(imported):
    return imported("ppo")


def agent(ppo, key=0):
    return jax.jit(ppo.init)(jax.random.key(key), {"lr": 1e-3})


def balancing(ppo):
    """Weights of an agent that pushes to where the pole falls, and never fails."""
    params = jax.tree.map(np.zeros_like, agent(ppo).params)
    params["Dense_0"]["kernel"][:, 0] = [0.05, 0.1, 1.0, 0.5]
    params["Dense_1"]["kernel"][0, 0] = 1
    params["Dense_2"]["kernel"][0, :2] = -1e6, 1e6
    return params


@pytest.fixture
def logits_of(ppo):
    return jax.jit(lambda params, obs: ppo.Agent().apply({"params": params}, obs)[0])


def stepped(ppo, logits, key, env, uniform):
    """One step of one episode by gymnax: what it returns, the action and its probability."""
    odds = np.exp(np.float64(logits[1]) - np.float64(logits[0]))
    right = odds / (1 + odds) if np.isfinite(odds) else 1.0
    action = int(uniform < right)
    return ppo.ENV.step(key, env, action, ppo.PARAMS), action, right if action else 1 - right


def test_advantages_are_those_of_a_slow_loop(ppo):
    rng = np.random.default_rng(0)
    steps, envs, lambda_ = 12, 5, 0.9
    reward, value, after = rng.normal(size=(3, steps, envs))
    terminated = rng.random((steps, envs)) < 0.2
    done = terminated | (rng.random((steps, envs)) < 0.2)
    assert (done & ~terminated).any()
    expected = np.zeros((steps, envs))
    for e in range(envs):
        for t in range(steps):
            factor = 1.0
            for k in range(t, steps):  # to the end of the episode, or of what was played
                follows = 0.0 if terminated[k, e] else ppo.GAMMA * after[k, e]
                delta = (1 - ppo.GAMMA) * reward[k, e] + follows - value[k, e]
                expected[t, e] += factor * delta
                factor *= ppo.GAMMA * lambda_
                if done[k, e]:
                    break
    found = ppo.advantages(*map(jnp.asarray, (reward, value, after, terminated, done)), lambda_)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_played_is_what_gymnax_steps_through(ppo, logits_of):
    """With episodes that fail, that are cut off, and that go on."""
    began, envs, key = agent(ppo), 6, jax.random.key(3)
    time = np.where(np.arange(ppo.ENVS) < 3, ppo.MOST - 5, 0).astype(np.int32)
    env = began.env.replace(time=jnp.asarray(time))
    after_env, after_obs, played = jax.jit(ppo.play)(key, began.params, env, began.obs)
    k_act, k_env = jax.random.split(key)
    uniform = np.asarray(jax.random.uniform(k_act, (ppo.STEPS, ppo.ENVS)))
    keys = jax.random.split(k_env, (ppo.STEPS, ppo.ENVS))
    seen = {"terminated": 0, "truncated": 0}
    for e in range(envs):
        own, obs = jax.tree.map(lambda leaf, e=e: leaf[e], (env, began.obs))
        for t in range(ppo.STEPS):
            np.testing.assert_allclose(played.obs[t, e], obs, atol=1e-5)
            result, action, probability = stepped(
                ppo, logits_of(began.params, obs), keys[t, e], own, uniform[t, e]
            )
            obs, own, reward, terminated, truncated, info = result
            assert played.action[t, e] == action
            np.testing.assert_allclose(played.log_prob[t, e], np.log(probability), atol=1e-5)
            assert played.reward[t, e] == reward
            np.testing.assert_allclose(played.after[t, e], info["final_observation"], atol=1e-5)
            assert played.terminated[t, e] == terminated
            assert played.done[t, e] == (terminated | truncated)
            seen["terminated"] += int(terminated)
            seen["truncated"] += int(truncated & ~terminated)
        ends = jax.tree.map(lambda leaf, e=e: leaf[e], (after_env, after_obs))
        assert largest_difference(ends, (own, obs)) < 1e-5
    assert min(seen.values()) > 0


def test_returns_are_those_of_gymnax(ppo, logits_of):
    returns = jax.jit(ppo.returns, static_argnums=2)
    key, episodes = jax.random.key(5), 4
    params = agent(ppo).params
    k_begin, k_act = jax.random.split(key)
    uniform = np.asarray(jax.random.uniform(k_act, (ppo.MOST, episodes)))
    expected = []
    for begin, numbers in zip(jax.random.split(k_begin, episodes), uniform.T, strict=True):
        obs, env = ppo.ENV.reset(begin, ppo.PARAMS)
        total, over = 0.0, False
        for number in numbers:
            if not over:
                result, _, _ = stepped(ppo, logits_of(params, obs), begin, env, number)
                obs, env, reward, terminated, truncated, _ = result
                total, over = total + float(reward), bool(terminated | truncated)
        expected.append(total)
    assert len(set(expected)) > 1
    assert returns(key, params, episodes).tolist() == expected
    assert returns(key, balancing(ppo), episodes).tolist() == [500.0] * episodes


@pytest.mark.slow
def test_members_are_agents_trained_alone(imported, ppo, x64, exact):
    control = imported("pbt_control")
    steps, seed = 5, 7
    settings = [
        {"lr": 1e-3, "entropy": 1e-2, "clip": 0.2, "lambda": 0.95},
        {"lr": 1e-2, "entropy": 1e-3, "clip": 0.1, "lambda": 0.8},
        {"lr": 3e-5, "entropy": 1e-1, "clip": 0.4, "lambda": 1.0},
    ]
    sweep = vt.tune(
        control.LEARNER,
        control.SPACE,
        search=settings,
        steps=steps,
        rounds=1,
        metric="return",
        seed=seed,
    )
    init, step, score = exactly(ppo.init), exactly(ppo.step), exactly(control.mean_return)
    for id, h in enumerate(map(floats, settings)):
        key = vt.member_key(seed, id)
        state, losses = init(key, h), []
        for number in range(steps):
            state, metrics = step(jax.random.fold_in(key, number), h, state)
            losses.append(float(metrics["loss"]))
        assert largest_difference(sweep[id].variables, state.params) < 1e-9
        end = jax.random.fold_in(jax.random.fold_in(key, steps), 0)
        assert sweep.history["return"][-1, id] == pytest.approx(float(score(end, state)), abs=1e-9)
        assert sweep.history["train/loss"][-1, id] == pytest.approx(np.mean(losses), abs=1e-9)


def test_what_is_missing_is_said(imported, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    monkeypatch.delitem(sys.modules, "ppo", raising=False)
    with pytest.raises(SystemExit, match=r"gymnax.*pip install 'vtune\[rl\]'"):
        imported("ppo")
