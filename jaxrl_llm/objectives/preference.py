"""Links: what a loss makes of the scores of a better and a worse response.

    f(chosen, rejected, gap) -> losses, elementwise

`chosen` and `rejected` are scores in nats, as a rule log-ratios of whole
responses to some anchor; `gap` is by how much the chosen one is better, in
reward units. D = chosen - rejected is the margin. Which pairs are compared,
and against which anchor, is decided elsewhere, so most papers on preference
are one line of this module and a name of an anchor.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxrl_llm import numerics


def logistic(chosen, rejected, gap, *, weight=0.1, smoothing=0.0, offset=0.0):
  """The likelihood of a preference under Bradley and Terry.

      m = weight D - offset
      -(1 - smoothing) log sigmoid(m) - smoothing log sigmoid(-m)

  Args:
    weight: beta > 0, per nat. smoothing: the chance that a label is wrong,
      in [0, 1/2); the loss is then bounded below, with its minimum at
      m = logit(1 - smoothing). offset: gamma, a margin to keep.

  Source: DPO, arXiv 2305.18290, equation 7; smoothing is its conservative
    form; the offset is SimPO's, arXiv 2405.14734, equation 6.

  Example:
    >>> chosen, rejected = jnp.array([0.0, 2.0]), jnp.array([0.0, -1.0])
    >>> print(logistic(chosen, rejected, 0.0, weight=1.0))
    [0.693 0.049]
  """
  del gap
  margin = weight * (chosen - rejected) - offset
  right, wrong = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
  return -(1 - smoothing) * right - smoothing * wrong


def imitation(chosen, rejected, gap):
  """-chosen: likelihood of the better response, whatever the other is.

  Source: SLiC-HF, arXiv 2305.10425, equation 1, with a chosen response as the
    target; RPO, arXiv 2405.16436.
  """
  del rejected, gap
  return -chosen


def difference(chosen, rejected, gap):
  """-D: for scores whose slope is bounded by themselves.

  Source: BNF, arXiv 2410.04834, whose score is that of `objectives.feedback`.
  """
  del gap
  return rejected - chosen


def positive(chosen, rejected, gap, *, weight=0.1, penalty=50.0):
  """The logistic loss, its margin less where the chosen response has fallen.

      -log sigmoid(weight (D - penalty max(0, -chosen)))

  With scores relative to the reference, a chosen response that is less likely
  than there costs, however far the rejected one has fallen.

  Args:
    penalty: lambda >= 0; 0 is `logistic`.

  Source: DPO-Positive, arXiv 2402.13228, read at second hand; lambda recalled.
  """
  del gap
  fallen = jnp.maximum(0.0, -chosen)
  return -jax.nn.log_sigmoid(weight * (chosen - rejected - penalty * fallen))


def debiased(chosen, rejected, gap, *, weight=0.1, flip=0.1):
  """The logistic loss without the bias that flipped labels give it.

      l(D) = -log sigmoid(weight D)
      ((1 - flip) l(D) - flip l(-D)) / (1 - 2 flip)

  Its mean over labels flipped at that rate is the loss of the true label. It
  is unbounded below: only the noisy population has a minimum.

  Args:
    flip: the chance that a label is wrong, in [0, 1/2).

  Source: rDPO, arXiv 2403.00409.
  """
  del gap
  margin = weight * (chosen - rejected)
  right, wrong = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
  return (flip * wrong - (1 - flip) * right) / (1 - 2 * flip)


def square(chosen, rejected, gap, *, weight=0.1):
  """(D - 1 / (2 weight))^2: a margin that need not grow for ever.

  Args:
    weight: tau > 0, per nat.

  Source: IPO, arXiv 2310.12036, equation 17.

  Example:
    >>> chosen, rejected = jnp.array([0.0, 2.0]), jnp.array([0.0, -1.0])
    >>> print(square(chosen, rejected, 0.0, weight=0.1))
    [25.  4.]
  """
  del gap
  return (chosen - rejected - 1 / (2 * weight)) ** 2


def hinge(chosen, rejected, gap, *, weight=1.0, width=1.0):
  """max(0, width - weight D).

  Source: SLiC-HF, arXiv 2305.10425, with D of plain log-probs,
    `width` its delta and weight 1; RSO, arXiv 2309.06657, with D
    relative to the reference, `weight` its gamma and width 1.

  Example:
    >>> chosen, rejected = jnp.array([0.0, 2.0]), jnp.array([0.0, -1.0])
    >>> print(hinge(chosen, rejected, 0.0, weight=0.1))
    [1.  0.7]
  """
  del gap
  return jnp.maximum(0.0, width - weight * (chosen - rejected))


def regression(chosen, rejected, gap, *, scale=1.0):
  """(D - scale gap)^2: differences of log-ratios fit differences of rewards.

  Least where policy = anchor e^(scale reward), so one solved regression is a
  step of mirror descent from the anchor.

  Args:
    scale: eta > 0, nats per reward unit.

  Source: REBEL, arXiv 2404.16767, in the scaling of its code:
    the paper's loss is this over scale^2.
  """
  return (chosen - rejected - scale * gap) ** 2


def soft_logistic(chosen, rejected, gap, *, weight=1.0):
  """Cross-entropy between a soft preference and the policy's own.

      p = sigmoid(gap)
      -p log sigmoid(weight D) - (1 - p) log sigmoid(-weight D)

  Least where weight D = gap, hence where policy = anchor e^(reward / weight).
  A gap of +inf is `logistic`.

  Args:
    weight: eta > 0, reward units per nat.

  Source: DNO, arXiv 2404.03715.
  """
  margin = weight * (chosen - rejected)
  target = jax.nn.sigmoid(gap)
  right, wrong = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
  return -target * right - (1 - target) * wrong


def self_play(chosen, rejected, gap, *, weight=0.1):
  """The logistic loss, which raises both where the chosen one is behind.

      sign = 1 if sg(chosen) > 0 else -1
      -log sigmoid(weight (chosen - sign rejected))

  With the policy exactly at its anchor the sign is -1.

  Source: SePPO, arXiv 2410.05255, equations 7 and 8, for whole responses in
    place of denoising errors; read in reviews that quote them.
  """
  del gap
  sign = jnp.where(jax.lax.stop_gradient(chosen) > 0, 1.0, -1.0)
  return -jax.nn.log_sigmoid(weight * (chosen - sign * rejected))


def pairwise_gradient(chosen, rejected, gap):
  """The policy gradient of a pair, each the other's baseline.

      -gap sg(w_c w_r) (chosen - rejected) / 2     w = e^score

  Scores are log-ratios to the policy that sampled. Its expected gradient is
  the exact policy gradient, off-policy too.

  Source: P3O, arXiv 2310.00212, theorem 1 (PPG).
  """
  both = numerics.bounded_exp(jax.lax.stop_gradient(chosen + rejected))
  return -gap * both * (chosen - rejected) / 2


def separately_clipped(chosen, rejected, gap, *, clip=0.2):
  """PPO's clip on each response of a pair.

      -sum over both of min(A w sg(u), A clip(w, 1 -+ clip) sg(u)) / 2

  with w = e^score its ratio, u the other's, A = +-gap. Inside the clip its
  gradient is `pairwise_gradient`'s.

  Source: P3O-V1, arXiv 2310.00212. Recalled; no published code holds it.
  """
  first = numerics.bounded_exp(chosen)
  second = numerics.bounded_exp(rejected)

  def half(ratio, other, advantage):
    other = jax.lax.stop_gradient(other)
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    return jnp.minimum(advantage * ratio, advantage * clipped) * other

  return -(half(first, second, gap) + half(second, first, -gap)) / 2


def jointly_clipped(chosen, rejected, gap, *, clip=0.2, most=10.0):
  """PPO's clip on how far a pair has moved apart.

      d = chosen - rejected    w = sg(e^(chosen + rejected))
      -clip(w, 1 / most, most) min(gap d, gap clip(d, -clip, clip)) / 2

  Inside both bounds it is `pairwise_gradient`.

  Args:
    clip: nats. most: of the product of both ratios, at least 1.

  Source: P3O-V2, arXiv 2310.00212, the loss in the authors' code.
  """
  both = numerics.bounded_exp(jax.lax.stop_gradient(chosen + rejected))
  both = jnp.clip(both, 1 / most, most)
  move = chosen - rejected
  clipped = jnp.clip(move, -clip, clip)
  return -both * jnp.minimum(gap * move, gap * clipped) / 2


def exact(chosen, rejected, gap, *, weight=0.1, confidence=0.999):
  """KL of the policy's own preference and a label that is nearly sure.

      s = sigmoid(weight D),  c = confidence
      s log(s / c) + (1 - s) log((1 - s) / (1 - c))

  Least where weight D = logit(c), at 0.999 beyond 69 nats for weight 0.1. Where
  the policy is sure of the wrong one its slope fades, that of `logistic` not.

  Args:
    confidence: in (1/2, 1), TRL's is 1 - `label_smoothing`.

  Source: EXO, arXiv 2402.00856, for pairs; TRL's `exo_pair`.
  """
  del gap
  margin = weight * (chosen - rejected)
  right, wrong = jax.nn.log_sigmoid(margin), jax.nn.log_sigmoid(-margin)
  agree = jnp.exp(right) * (right - math.log(confidence))
  differ = jnp.exp(wrong) * (wrong - math.log1p(-confidence))
  return agree + differ


def contrast(chosen, rejected, gap, *, weight=0.01):
  """Each response against noise, the chosen one as data too.

      -log sigmoid(w c) - (log sigmoid(-w c) + log sigmoid(-w r)) / 2

  Least where e^(w score) is 2 a / (a + b), for a response chosen and rejected
  with frequencies a and b: absolute scores, unlike a loss of D.

  Source: NCA, arXiv 2402.05369, for pairs; TRL's `nca_pair`.
  """
  del gap
  up, down = weight * chosen, weight * rejected
  noise = jax.nn.log_sigmoid(-up) + jax.nn.log_sigmoid(-down)
  return -jax.nn.log_sigmoid(up) - noise / 2


def classify(chosen, rejected, gap, *, weight=0.01):
  """Chosen or rejected, of each response alone.

      -log sigmoid(w c) - log sigmoid(-w r)

  Least where e^(w score) is a / b, see `contrast`.

  Source: BCO, arXiv 2404.04656, without its running reference point; TRL's
    `bco_pair`.
  """
  del gap
  right = jax.nn.log_sigmoid(weight * chosen)
  return -right - jax.nn.log_sigmoid(-weight * rejected)


def anchored(chosen, rejected, gap, *, weight=0.1):
  """1 - sigmoid(w c) + sigmoid(w r): chosen up, rejected down, both bounded.

  Source: APO-zero, arXiv 2408.06266; TRL's `apo_zero`.
  """
  del gap
  return jax.nn.sigmoid(-weight * chosen) + jax.nn.sigmoid(weight * rejected)


def anchored_down(chosen, rejected, gap, *, weight=0.1):
  """sigmoid(w c) + 1 - sigmoid(w D): both down, the rejected one by more.

  For pairs of which even the chosen one is worse than what the policy says.

  Source: APO-down, arXiv 2408.06266; TRL's `apo_down`.
  """
  del gap
  margin = weight * (chosen - rejected)
  return jax.nn.sigmoid(weight * chosen) + jax.nn.sigmoid(-margin)


def discovered(chosen, rejected, gap, *, weight=0.05, temperature=0.05):
  """Logistic and exponential loss, mixed by the margin itself.

      x = weight D,  g = sigmoid(x / temperature)
      -(1 - g) log sigmoid(x) + g e^-x

  Found by search, and not convex: it falls to 0.786 at x = -0.119, rises to
  0.878 at x = 0.072 and falls again, so that at D = 0 the margin first shrinks.

  Source: DiscoPOP, arXiv 2406.08414; TRL's `discopop`.
  """
  del gap
  margin = weight * (chosen - rejected)
  g = jax.nn.sigmoid(margin / temperature)
  exponential = numerics.bounded_exp(-margin)
  return -(1 - g) * jax.nn.log_sigmoid(margin) + g * exponential
