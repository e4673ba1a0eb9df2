"""Proximal policy optimisation of one agent on gymnax's CartPole-v1, as pure functions.

Of Schulman et al. (2017): a clipped ratio, generalised advantages (Schulman et al. 2016), several
passes over what was played, in minibatches. `h` has the agent's hyperparameters: "lr", "entropy"
(the bonus's weight), "clip" (of the ratio) and "lambda" (of the advantages). Nothing here knows of
vtune: `pbt_control.py` trains a population of agents with these functions, with vtune and without.

An episode ends where the pole falls or the cart leaves the track (terminated), or is cut off after
500 steps (truncated). What would have followed the cut is worth what the critic says of the state
there, in which the agent would have gone on. A reward is taken times 1 - GAMMA, so that values,
which share their layers with the policy, lie between 0 and 1.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

try:
    import gymnax
except ImportError as error:  # or what gymnax needs
    sys.exit(f"gymnax, which has the environment, is not there ({error}): pip install 'vtune[rl]'")

ENV, PARAMS = gymnax.make("CartPole-v1")
MOST = PARAMS.max_steps_in_episode  # the return of an agent that never fails
ENVS, STEPS = 64, 32  # played side by side, and one after the other, between two updates
EPOCHS, MINIBATCHES = 4, 4
WIDTH = 32
GAMMA, VALUE_WEIGHT, MAX_NORM = 0.99, 0.5, 0.5


class Agent(nn.Module):
    """The logits of the two actions [..., 2], and the value of the state [...]."""

    @nn.compact
    def __call__(self, obs):
        x = obs
        for _ in range(2):
            x = nn.tanh(nn.Dense(WIDTH, param_dtype=x.dtype)(x))
        out = nn.Dense(3, param_dtype=x.dtype)(x)
        return out[..., :2], out[..., 2]


class State(NamedTuple):
    """What an agent carries from update to update.

    Attributes:
      params, opt_state: of its network, and of Adam.
      env, obs: of the episodes that go on, leaves [ENVS, ...].
    """

    params: Any
    opt_state: Any
    env: Any
    obs: jax.Array


class Played(NamedTuple):
    """Transitions, leaves [STEPS, ENVS, ...].

    Attributes:
      obs: before the action. after: behind it, before another episode begins.
      log_prob: of the action.
      terminated: the episode is over, and nothing follows. done: it is over, or was cut off.
    """

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    after: jax.Array
    terminated: jax.Array
    done: jax.Array


def optimizer(h: Any) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(MAX_NORM), optax.adam(h["lr"], eps=1e-5))


def init(key: jax.Array, h: Any) -> State:
    """Returns an agent that has learned nothing, where its episodes begin."""
    k_params, k_env = jax.random.split(key)
    obs, env = begin(jax.random.split(k_env, ENVS))
    params = Agent().init(k_params, obs)["params"]
    return State(params, optimizer(h).init(params), env, obs)


def begin(keys: jax.Array) -> tuple[jax.Array, Any]:
    """Returns observations and states of new episodes, a key each."""
    return jax.vmap(lambda key: ENV.reset_env(key, PARAMS))(keys)


def drawn(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """Returns actions [...] drawn with a number in [0, 1) each."""
    return (uniform < nn.sigmoid(logits[..., 1] - logits[..., 0])).astype(jnp.int32)


def play(key: jax.Array, params: Any, env: Any, obs: jax.Array) -> tuple[Any, jax.Array, Played]:
    """Plays on by the agent's own random actions; an episode that is over is followed by another.

    Returns:
      The states and observations that it comes to, and the transitions.
    """
    k_act, k_env = jax.random.split(key)
    uniform = jax.random.uniform(k_act, (STEPS, ENVS))
    keys = jax.random.split(k_env, (STEPS, ENVS))
    move = jax.vmap(ENV.step, in_axes=(0, 0, 0, None))

    def one_step(carry: Any, given: Any) -> Any:
        env, obs = carry
        uniform, keys = given
        logits, _ = Agent().apply({"params": params}, obs)
        action = drawn(logits, uniform)
        log_prob = log_prob_of(action, nn.log_softmax(logits))
        new, env, reward, terminated, truncated, info = move(keys, env, action, PARAMS)
        done = terminated | truncated
        after = info["final_observation"]
        return (env, new), Played(obs, action, log_prob, reward, after, terminated, done)

    (env, obs), played = lax.scan(one_step, (env, obs), (uniform, keys))
    return env, obs, played


def log_prob_of(action: jax.Array, log_probs: jax.Array) -> jax.Array:
    return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]


def advantages(
    reward: jax.Array,
    value: jax.Array,
    after: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    lambda_: Any,
) -> jax.Array:
    """Generalised advantages (Schulman et al. 2016), arrays [STEPS, ENVS].

        delta_t = (1 - gamma) r_t + gamma V(after_t) - V(obs_t)    V(after) = 0 where terminated
        A_t = delta_t + gamma lambda A_{t+1}                       A_{t+1} = 0 where done

    Args:
      value, after: the critic's values before and behind each action.
    """
    delta = (1 - GAMMA) * reward + GAMMA * jnp.where(terminated, 0, after) - value

    def back(following: jax.Array, at: Any) -> Any:
        delta, done = at
        own = delta + GAMMA * lambda_ * jnp.where(done, 0, following)
        return own, own

    return lax.scan(back, jnp.zeros_like(delta[0]), (delta, done), reverse=True)[1]


def loss(params: Any, h: Any, batch: Any) -> jax.Array:
    """The clipped surrogate, the critic's squared error and the entropy bonus of a minibatch."""
    obs, action, log_prob, advantage, target = batch
    logits, value = Agent().apply({"params": params}, obs)
    log_probs = nn.log_softmax(logits)
    ratio = jnp.exp(log_prob_of(action, log_probs) - log_prob)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - h["clip"], 1 + h["clip"])
    gained = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return VALUE_WEIGHT * jnp.mean((value - target) ** 2) - gained - h["entropy"] * entropy


def step(key: jax.Array, h: Any, state: State) -> tuple[State, dict[str, jax.Array]]:
    """Plays ENVS x STEPS transitions and learns from them in EPOCHS passes; a minibatch is all that
    some of the ENVS went through.

    Returns:
      The new state, and "loss", the mean over the minibatches.
    """
    k_play, k_rows = jax.random.split(key)
    env, obs, played = play(k_play, state.params, state.env, state.obs)
    value_of = lambda obs: Agent().apply({"params": state.params}, obs)[1]
    value = value_of(played.obs)
    advantage = advantages(
        played.reward, value, value_of(played.after), played.terminated, played.done, h["lambda"]
    )
    rows = (played.obs, played.action, played.log_prob, advantage, advantage + value)

    def one_batch(carry: Any, index: jax.Array) -> Any:
        params, opt_state = carry
        batch = jax.tree.map(lambda leaf: leaf[:, index].reshape(-1, *leaf.shape[2:]), rows)
        value, grads = jax.value_and_grad(loss)(params, h, batch)
        updates, opt_state = optimizer(h).update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    shuffled = jax.vmap(lambda key: jax.random.permutation(key, ENVS))
    order = shuffled(jax.random.split(k_rows, EPOCHS)).reshape(EPOCHS * MINIBATCHES, -1)
    (params, opt_state), losses = lax.scan(one_batch, (state.params, state.opt_state), order)
    return State(params, opt_state, env, obs), {"loss": losses.mean()}


def returns(key: jax.Array, params: Any, episodes: int) -> jax.Array:
    """The returns [episodes] of so many new episodes, with actions drawn as in training."""
    k_begin, k_act = jax.random.split(key)
    obs, env = begin(jax.random.split(k_begin, episodes))
    uniform = jax.random.uniform(k_act, (MOST, episodes))
    move = jax.vmap(lambda env, action: ENV.step_env(key, env, action, PARAMS))  # draws nothing

    def one_step(carry: Any) -> Any:
        count, env, obs, going, total = carry
        logits, _ = Agent().apply({"params": params}, obs)
        obs, env, reward, terminated, _ = move(env, drawn(logits, uniform[count]))
        return count + 1, env, obs, going & ~terminated, total + jnp.where(going, reward, 0)

    def goes_on(carry: Any) -> jax.Array:
        count, _, _, going, _ = carry
        return (count < MOST) & going.any()

    start = (0, env, obs, jnp.ones(episodes, bool), jnp.zeros(episodes, obs.dtype))
    return lax.while_loop(goes_on, one_step, start)[4]
