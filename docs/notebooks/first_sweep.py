# %% [markdown]
# # A first sweep, from a question to a decision
#
# The question: **how wide should a small network be that reads handwritten
# digits, and how much dropout does it need?** The answer depends on the
# learning rate, so all three are searched together.
#
# This page is a notebook that was run; it takes less than a minute on two
# CPU cores.

# %%
import flax.linen as nn
import matplotlib.pyplot as plt
import optax
from sklearn.datasets import load_digits

import vtune as vt

cores = vt.use_all_cores()  # of a CPU; first of all, before JAX starts

# %% [markdown]
# ## Look at the data
#
# 1,797 images of 8 × 8 pixels, which come with scikit-learn.

# %%
x, y = load_digits(return_X_y=True)
figure, places = plt.subplots(1, 10, figsize=(7, 1.1))
for axes, image, label in zip(places, x[:10], y[:10], strict=True):
    axes.imshow(image.reshape(8, 8), cmap="gray_r")
    axes.set_title(label, fontsize="small")
    axes.set_axis_off()

# %% [markdown]
# A fifth of the rows *chooses* between settings, the **validation rows**.
# Another fifth, the **test rows**, does nothing until the decision is made.
# `stratify` keeps the share of each digit in all parts.

# %%
arrays = {"x": x / 16, "y": y}
data = vt.holdout(arrays, fraction=0.2, test=0.2, stratify="y", seed=0)
data

# %% [markdown]
# ## What is trained
#
# An ordinary Flax module. Its `width` changes the shapes of the program.
# The dropout rate is a number inside the program, for which `vt.nn.Dropout`
# takes the place of Flax's.


# %%
class MLP(nn.Module):
    width: int
    dropout: float

    @nn.compact
    def __call__(self, x, train):
        for _ in range(2):
            x = nn.relu(nn.Dense(self.width)(x))
            x = vt.nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(10)(x)


xent = optax.softmax_cross_entropy_with_integer_labels
learner = vt.flax_learner(
    lambda h: MLP(h["width"], h["dropout"]),
    optimizer=lambda h: optax.adam(h["lr"]),
    loss=lambda out, batch, h: xent(out, batch["y"]),
    metrics={"accuracy": vt.metrics.accuracy},
)

# %% [markdown]
# ## The space, and the sweep
#
# A `Float` is drawn from a range, a `Categorical` from a list. For the
# learning rate we guess a range of small values, on a logarithmic scale. 64
# settings, spread evenly over the space (`vt.Halton`), are trained as one
# program.

# %%
space = {
    "lr": vt.Float(1e-5, 2e-3, log=True),
    "dropout": vt.Float(0.0, 0.6),
    "width": vt.Categorical([16, 64]),
}
options = {
    "search": vt.Halton(64),
    "epochs": 15,
    "metric": "accuracy",
    "progress": False,
}
guess = vt.tune(learner, space, data, **options)
guess.top(5)

# %% [markdown]
# ## Is the range right?
#
# Each point is a setting: the best score that it ever had, against its
# learning rate. The star is the best at the end. Scores rise all the way to
# the right end of the learning rate's range, so better rates may lie beyond
# it.

# %%
guess.plot.axis("lr")

# %% [markdown]
# The summary says so as well.

# %%
print(guess.summary())

# %% [markdown]
# So the range moves. The program does not depend on where it lies, so
# **nothing is compiled again**:

# %%
space["lr"] = vt.Float(2e-4, 1e-1, log=True)
sweep = vt.tune(learner, space, data, **options)
for name, one in {"first guess": guess, "moved": sweep}.items():
    compiling, running = one.timing
    print(
        f"{name:12} {compiling:5.1f} s compiling, {running:4.1f} s running"
    )

# %%
sweep.plot.axis(["lr", "width"])

# %% [markdown]
# Now the best are inside the range, and larger rates are worse again. The
# wider networks are ahead. Triangles are settings that are worse than the
# picture shows.
#
# ## Did they train long enough?
#
# The five best are drawn in colour, the others in grey. The best have
# levelled off: more epochs would bring little.

# %%
sweep.plot.curves(top=5)

# %% [markdown]
# ## Were there enough settings?
#
# The lines are the best score to be expected of *k* settings, had we tried
# only *k*, in bands that hold nine of ten draws. About ten settings from
# the moved range do as well as all 64 of the first guess.

# %%
figure = guess.plot.best_of_k(label="first guess")
sweep.plot.best_of_k(label="moved", ax=figure.axes[0])

# %% [markdown]
# ## What does each hyperparameter do by itself?
#
# An axis plot mixes in what the others did. `isolation` takes, for each
# part of a range, only the best member there, that is, with the others
# tuned.

# %%
sweep.plot.isolation(["dropout", "width"])

# %% [markdown]
# ## The best of many is too good
#
# A setting that came first of 64 was also lucky. So the best three are
# trained again, over ten fresh seeds each. Their scores on the test rows
# are left out for now; `searched` is the score that they won with.

# %%
winners = sweep.retrain(top=3, seeds=10)
winners.table().drop(columns=["test/accuracy", "test/accuracy/std"])

# %% [markdown]
# What did moving the range bring? Both winners, over the same ten seeds:
# `vt.compare` gives intervals and, since the seeds are the same, a paired
# test.

# %%
before = guess.retrain(top=1, seeds=10)
compared = vt.compare({"first guess": before.sweep, "moved": winners.sweep})
compared.frame[["mean", "low", "high", "difference", "p", "test"]]

# %% [markdown]
# ## The decision
#
# The validation rows choose: the setting with the best mean over its seeds.
# Only now we look at the test rows, and only for this setting.

# %%
chosen = winners.sweep.best
tested = winners.sweep.evaluate()["accuracy"][chosen.index]
print(chosen.hparams)
print(f"means of ten: validation {chosen.score:.4f}, test {tested:.4f}")

# %% [markdown]
# So: **64 units a layer, little dropout, a learning rate of some
# thousandths.** The test score is below the one that won the search, as it
# should be expected to be.
#
# ## Keep it
#
# The folder holds settings, history and weights, the page pictures, table
# and advice. `vt.read` needs neither the model nor the data for the
# results; `vt.load("runs/first", learner)` brings the weights back, too.

# %%
sweep.save("runs/first", overwrite=True)
sweep.report("runs/first.html", overwrite=True)  # all on one page
vt.read("runs/first").best
