"""Makes golden logits, with torch: `python -m tests.golden.make [NAME ...]`.

One .npz for each variant of `policies/language/families.py`, or for the named
ones: the configuration, names and shapes of the tensors, a left-padded batch,
and the logits that the torch implementation of `transformers` gives in float32.
The weights follow from `weights` and are not stored. About 10 s for all; run it
again after adding a variant, and look at what else changed.
"""

import pathlib
import sys
import tempfile

import numpy as np

FOLDER = pathlib.Path(__file__).parent
_LENGTHS = (16, 11)


def weights(names, shapes) -> dict[str, np.ndarray]:
  """A float32 tensor for each name, from sines of squared indices.

  Squares make matrices of full rank, where sines of plain indices have two.
  Scales are near those of trained models, so that no layer is idle.
  """
  tensors = {}
  for number, (name, shape) in enumerate(zip(names, shapes)):
    index = np.arange(np.prod(shape), dtype=np.float64)
    x = np.sin(1.0 + number + 0.618 * index**2).reshape(shape)
    if len(shape) > 1:
      x = x * (2.0 / shape[-1]) ** 0.5
    elif 'norm' in name or 'scalar' in name:
      x = 1.0 + 0.3 * x
    else:
      x = 0.3 * x
    tensors[name] = x.astype(np.float32)
  return tensors


def _batch(vocab):
  length = max(_LENGTHS)
  index = np.arange(len(_LENGTHS) * length).reshape(-1, length)
  mask = np.arange(length) >= length - np.array(_LENGTHS)[:, None]
  return (7 * index**2 + 3 * index) % vocab, mask


def main():
  import safetensors.numpy
  import torch
  import transformers

  from tests.policies.language import families

  for variant in sys.argv[1:] or families.NAMES:
    config = families.hf_config(variant)
    described = config.to_json_string(use_diff=False)
    auto = transformers.AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as folder:
      # Files have names of their own: the experts of a layer apart.
      auto.from_config(config).save_pretrained(folder)
      file = pathlib.Path(folder) / 'model.safetensors'
      named = dict(sorted(safetensors.numpy.load_file(file).items()))
      shapes = [tuple(x.shape) for x in named.values()]
      tensors = weights(named, shapes)
      safetensors.numpy.save_file(tensors, file, {'format': 'pt'})
      model = auto.from_pretrained(folder, attn_implementation='eager').eval()
    tokens, mask = _batch(config.vocab_size)
    attention = torch.tensor(mask).long()
    with torch.no_grad():
      logits = model(
        input_ids=torch.tensor(tokens),
        attention_mask=attention,
        position_ids=(attention.cumsum(-1) - 1).clamp(min=0),
      ).logits.numpy()
    np.savez_compressed(
      FOLDER / f'{variant}.npz',
      config=described,
      names=list(named),
      shapes=[str(shape) for shape in shapes],
      tokens=tokens.astype(np.int32),
      mask=mask,
      logits=logits.astype(np.float32),
    )


if __name__ == '__main__':
  main()
