"""What an iteration would ask of accelerators, from shapes and data sheets.

No measurement. Operations are those of `experiments.benchmarks.cases`; what is
kept, gathered and sent follows `jaxrl_llm.training.shard.Layout`. A chip is
one of d x m, where `data` splits rows and what is kept, and `model` layers:

    operations   (sample + passes x forward + learn) / (d m),
                 learn = 3 forward, and one more to compute layers again
    weights      4 W (d - 1) / (d m) for each program that gathers them, and as
                 much for the sum of gradients of an optimizer step
    activations  2 (m - 1) / m x 2 A bytes of each layer's two outputs, forward
                 and backward, for the tokens of rows / d
    memory       16 W / (d m) kept: parameters, two moments, reference; then
                 (4 + 4 + 2) W / m while learning: the gathered copy, gradients
                 and the copy of the arithmetic; and inputs of layers

W counts parameters, A the width; parameters stay float32 and the arithmetic is
bfloat16. Every rate is the peak, so a time is a bound from below: latency, the
steps of a ring, uneven lengths and idle chips come on top.
"""

from __future__ import annotations

import dataclasses
import functools

from experiments.benchmarks import cases, markdown

_KEPT, _USED = 4, 2  # Bytes of a parameter between programs, and in them.


@dataclasses.dataclass(frozen=True)
class Chip:
  """Peak rates, per second, each way where it is a link.

  Attributes:
    operations: in bfloat16, without sparsity.
    memory: bytes.
    bandwidth: bytes of memory.
    near: bytes that a chip sends to those of its `model` axis.
    far: bytes that it sends along `data`.
  """

  operations: float
  memory: float
  bandwidth: float
  near: float
  far: float


CHIPS = {
  # cloud.google.com/tpu/docs/v5p: 459 TFLOPs, 95 GiB at 2765 GB/s, links of
  # 1200 GB/s both ways together, which both mesh axes share.
  'TPU v5p': Chip(459e12, 95 * 2**30, 2765e9, 600e9, 600e9),
  # NVIDIA's sheets: H200 SXM 989 TFLOPS (1979 with sparsity), 141 GB at
  # 4.8 TB/s, NVLink 900 GB/s both ways together within eight; DGX H200 has
  # 400 Gb/s of network for each GPU.
  'H200': Chip(989e12, 141e9, 4.8e12, 450e9, 50e9),
}
# Hugging Face, Qwen/Qwen3-8B, config.json. Its output layer is not tied.
QWEN3_8B = cases.Model(36, 4096, 32, 8, 128, 12288, 151936)
# 128 questions, 8 answers to each.
SHAPE = cases.Shape(prompts=128, samples=8, prompt=512, response=2048)


@dataclasses.dataclass(frozen=True)
class Need:
  """What an iteration asks of one chip.

  Attributes:
    operations: of its matrices.
    read: bytes of memory that sampling reads at least.
    far: bytes it sends along `data`: weights and gradients.
    near: bytes it sends along `model`: outputs of layers.
    kept: bytes between programs.
    peak: bytes while it learns, or samples, whichever is more.
  """

  operations: float
  read: float
  far: float
  near: float
  kept: float
  peak: float


def parameters(model: cases.Model) -> int:
  """Of the linear maps, the embedding and an output layer of its own."""
  return model.linear // 2 + model.unembed


def need(
  model: cases.Model,
  shape: cases.Shape,
  data: int,
  mesh_model: int,
  *,
  passes: int = 1,
  rows: int = 1,
) -> Need:
  """What one of `data` x `mesh_model` chips is asked for, see the module.

  Args:
    passes: of policies that are not trained, such as the reference.
    rows: that a chip learns at a time, of its microbatch.
  """
  chips, weights = data * mesh_model, parameters(model)
  forward, shared = _forward(model, shape)
  length = shape.prompt + shape.response
  here = shape.rows / data
  # The sampler, each pass, and the learner gather; the learner sums gradients.
  crossings = 2 + passes + 1
  far = crossings * _KEPT * weights * (data - 1) / data / mesh_model
  # Layers again count as a forward pass; a backward one sends as much.
  outputs = 2 * model.layers * model.width * _USED
  sampled = shape.prompt / shape.samples + shape.response
  tokens = here * (length * (passes + 3) + sampled)
  near = 2 * (mesh_model - 1) / mesh_model * outputs * tokens
  cache = _USED * model.cached / mesh_model
  cached = cache * here * sampled
  past = here * shape.response * (shape.response - 1) / 2 * cache
  prompt = here / shape.samples * shape.prompt * cache
  weights_read = _USED * weights / mesh_model
  kept = 4 * _KEPT * weights / chips
  inputs = _USED * model.layers * model.width * rows * length
  # Float32 of all logits of a row at a time, and their gradient.
  logits = 2 * 4 * shape.response * model.vocab / mesh_model
  learning = (2 * _KEPT + _USED) * weights / mesh_model + inputs + logits
  sampling = (_KEPT + _USED) * weights / mesh_model + cached
  return Need(
    operations=(shared + (passes + 4) * forward) / chips,
    read=shape.response * (weights_read + prompt) + past,
    far=far,
    near=near,
    kept=kept,
    peak=kept + max(learning, sampling),
  )


@functools.cache
def _forward(model, shape):
  """Operations of a forward pass, and of one that reads a prompt once."""
  return cases.forward(model, shape), cases.shared(model, shape)


def seconds(asked: Need, chip: Chip) -> dict[str, float]:
  """The least time that each part takes by itself."""
  return {
    'arithmetic': asked.operations / chip.operations,
    'memory': asked.read / chip.bandwidth,
    'data links': asked.far / chip.far,
    'model links': asked.near / chip.near,
  }


def table() -> str:
  """Markdown, a row for each kind of chip, number and mesh."""
  head = (
    'chip',
    'chips',
    'data x model',
    'PFLOP',
    'GB read by sampling',
    'GB sent along data',
    'along model',
    'GB kept',
    'GB at most',
    'fits',
    's arithmetic',
    's memory',
    's data links',
    's model links',
    'bound by',
  )
  rows = []
  for name, chip in CHIPS.items():
    for chips in (16, 256):
      for model in (1, 4, 8):
        asked = need(QWEN3_8B, SHAPE, chips // model, model)
        times = seconds(asked, chip)
        sizes = (asked.read, asked.far, asked.near, asked.kept, asked.peak)
        cells = [name, chips, f'{chips // model} x {model}']
        cells += [f'{asked.operations / 1e15:.1f}']
        cells += [f'{x / 1e9:,.1f}' for x in sizes]
        cells += ['yes' if asked.peak < chip.memory else 'no']
        cells += [f'{x:.2f}' for x in times.values()]
        cells += [max(times, key=times.__getitem__)]
        rows.append(cells)
  return markdown.table(head, rows)


if __name__ == '__main__':
  print(table())
