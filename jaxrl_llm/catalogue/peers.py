"""What other trainers call a method, and how it is asked for here.

python -m jaxrl_llm.recipes peers     writes docs/peers.md here
"""

from __future__ import annotations

import pathlib
import shlex
from typing import NamedTuple

from jaxrl_llm import presets

PAGE = pathlib.Path('docs') / 'peers.md'
# Read in the peer's code and run beside loops; read in it; read in the text of
# a paper or a third party's code; from knowledge of the paper.
CONFIDENCE = ('run', 'read', 'second hand', 'recalled')


class Name(NamedTuple):
  """One row: a name of theirs, and ours.

  Attributes:
    theirs: the system, and what it writes.
    ours: words after `python -m jaxrl_llm.recipes`: a recipe and what is
      changed in it, of which the last word is what the row is about.
    confidence: of `CONFIDENCE`, how the peer's form is known.
    apart: what is another there, '' if nothing known is.
  """

  theirs: str
  ours: str
  confidence: str = 'read'
  apart: str = ''


TABLE: dict[str, tuple[Name, ...]] = {
  'How tokens are averaged': (
    Name(
      'verl, SkyRL `token-mean`; TRL `dapo`; OpenRLHF, NeMo `token_level`',
      'grpo aggregate=token_mean',
    ),
    Name('verl `token-sum`', 'grpo aggregate=token_sum', confidence='run'),
    Name(
      'verl `seq-mean-token-mean`; TRL `grpo`; slime by sample',
      'grpo aggregate=sequence_mean',
    ),
    Name('verl `seq-mean-token-sum`', 'grpo aggregate=sequence_sum'),
    Name(
      'verl `seq-mean-token-sum-norm`; TRL `dr_grpo`',
      'grpo aggregate=budget_mean',
    ),
    Name(
      'SkyRL `prompt_mean`; TRL `ScaleRLTrainer`',
      'grpo aggregate=prompt_mean',
      'read',
      'SkyRL scales advantages; TRL does not divide by the prompts',
    ),
  ),
  'Distance from the reference': (
    Name(
      'verl `low_var_kl`; OpenRLHF, SkyRL `k3`', 'grpo costs=capped_k3:0.001'
    ),
    Name('TRL `beta`', 'grpo costs=k3:0.04'),
    Name('verl `mse`; OpenRLHF, Trinity `k2`', 'grpo costs=k2:0.001'),
    Name(
      'verl `low_var_kl+`', 'grpo costs=straight_k3:0.001', confidence='run'
    ),
    Name('verl `k1+`', 'grpo costs=straight_k1:0.001', confidence='run'),
    Name('verl `abs`', 'grpo costs=absolute:0.001', confidence='run'),
    Name(
      'NeMo `reference_policy_kl_penalty`',
      'grpo costs=score_k3:0.01',
      confidence='run',
    ),
    Name(
      'TRL `use_bias_correction_kl`; Trinity `corrected_k3`',
      'grpo costs=weighted_k3:0.04',
      apart='Trinity caps the ratio at 2',
    ),
    Name(
      'prime-rl `kl_tau`',
      'grpo minibatches=2 costs=square_move:0.001',
      apart='to the sampler there, to the old policy here',
      confidence='run',
    ),
    Name(
      'verl, OpenRLHF KL in the reward of each token',
      'reinforce_plus_plus advantage=kl_reward_to_go(kl_weight=0.001)',
      'read',
      "verl's GRPO and RLOO compare rewards that hold it already",
    ),
    Name('TRL RLOO `beta`', 'rloo advantage=penalised_leave_one_out'),
  ),
  'Correction for the sampler': (
    Name(
      'verl `rollout_is=token`; slime, NeMo, OpenRLHF `tis`; TRL '
      '`token_truncate`',
      'grpo gate=truncated_importance(cap=2.0)',
      apart='OpenRLHF and TRL can also raise small weights to a bound',
      confidence='run',
    ),
    Name(
      'verl `rollout_is=sequence`; TRL `sequence_truncate`',
      'grpo gate=sequence_truncated_importance(cap=2.0)',
      confidence='run',
    ),
    Name(
      'verl `lo_hi`; OpenRLHF, NeMo `icepop`; TRL `token_mask`',
      'grpo gate=masked_importance(floor=0.5,cap=5.0)',
      confidence='run',
    ),
    Name('TRL `sequence_mask`', 'grpo gate=product_masked_importance'),
    Name(
      'OpenRLHF, NeMo `seq-mask-tis`',
      'grpo gate=sequence_masked_importance(floor=0.999,cap=1.002)',
      apart="the bounds are NeMo's; OpenRLHF has 0.5 and 5",
    ),
    Name(
      'verl `rollout_is_batch_normalize`',
      'grpo gate=balanced_importance',
      confidence='run',
    ),
    Name(
      'verl `geo_rs`',
      'grpo keep=ratio_band(low=0.999,high=1.001)',
      confidence='run',
    ),
    Name(
      'verl `seq_is_rs`',
      'grpo gate=sequence_truncated_importance '
      'keep=ratio_band(low=0.5,high=2.0,level="sum")',
      confidence='run',
    ),
    Name(
      'verl `k3_rs`',
      'grpo keep=divergence_band',
      confidence='run',
    ),
    Name(
      'verl geometric rejection with token weights',
      'grpo gate=truncated_importance keep=ratio_band',
    ),
    Name('SkyRL outlier masks', 'grpo gate=outlier_rows', 'read'),
    Name(
      'NeMo filter of rows by the error of log-probs',
      'grpo gate=mismatched_rows(high=1.1)',
      'read',
      'its limit is no default',
    ),
    Name(
      'TRL `off_policy_mask_threshold`; slime `opsm`',
      'grpo gate=fallen_negatives(fall=0.5)',
      apart='slime measures from the old policy',
      confidence='run',
    ),
  ),
  'Losses of tokens': (
    Name(
      'verl `vanilla`; Trinity `ppo`', 'grpo surrogate=dual_clip(bound=3.0)'
    ),
    Name(
      'TRL `delta`; prime-rl two-sided clip',
      'grpo surrogate=dual_clip(bound=4.0)',
      confidence='run',
    ),
    Name('all `cispo`', 'cispo', apart='TRL names the cap, 1 + clip_high'),
    Name('all `gspo`', 'gspo'),
    Name('TRL `luspo`', 'luspo', confidence='run'),
    Name('verl, TRL `sapo`', 'sapo'),
    Name(
      'verl `geo_mean`',
      'gmpo',
      apart='verl averages over rows always',
      confidence='run',
    ),
    Name('verl `clip_cov`', 'clip_cov'),
    Name('verl `kl_cov`', 'kl_cov'),
    Name('TRL RLOO', 'rloo surrogate=product_clip'),
    Name(
      'verl, SkyRL `gpg`', 'dr_grpo surrogate=score_function', confidence='run'
    ),
    Name(
      'verl `dppo_tv`; SkyRL `dppo`',
      'dppo',
      apart="verl's cap is 3 whatever its code says, the paper's 20",
      confidence='run',
    ),
    Name(
      'verl `dppo_kl`',
      'dppo gate=coin_divergence',
      apart='likewise',
      confidence='run',
    ),
    Name(
      'prime-rl `default`',
      'dr_grpo surrogate=importance gate=total_variation '
      'aggregate=token_mean costs=square_move:0.001',
      apart='from the sampler there; mixed groups alone; costs have a count '
      'of their own',
      confidence='run',
    ),
    Name(
      'prime-rl `ipo`',
      'dr_grpo surrogate=importance gate=total_variation_ball '
      'aggregate=token_mean costs=square_move:0.001',
      apart='likewise',
      confidence='run',
    ),
    Name(
      'Skywork-OR1, its entropy bonus',
      'grpo costs=negative_entropy:stepped_entropy(0.2)',
      apart='steps after every optimizer step',
    ),
    Name(
      'TRL `top_entropy_quantile`',
      'grpo gate=uncertain_tokens(part=0.2)',
      confidence='run',
    ),
    Name(
      'TRL `vespo`',
      'vespo',
      apart="without the sampler's ratio in the weight",
      confidence='run',
    ),
    Name(
      'Trinity `topr`',
      'reinforce gate=tapered_negatives',
      'recalled',
      'Trinity takes the ratio of each token',
    ),
    Name('CE-GPPO', 'ce_gppo', confidence='run'),
    Name(
      'GPPO',
      'ce_gppo down=1.0 up=1.0',
      confidence='run',
    ),
    Name(
      'ASPO, the flipped ratio',
      'grpo minibatches=4 surrogate=flipped_clip',
      apart='one width for all tokens',
      confidence='run',
    ),
    Name('SimKO', 'simko'),
    Name('ERC', 'grpo minibatches=4 gate=steady_entropy', 'read'),
    Name(
      'M2PO',
      'grpo minibatches=4 surrogate=importance gate=second_moment',
      'read',
    ),
    Name(
      'SPO of simple policies; CFPO',
      'grpo minibatches=4 surrogate=quadratic',
      'recalled',
    ),
    Name('verl `dro`', 'grpo minibatches=4 surrogate=pulled', confidence='run'),
    Name('DFT; Trinity `sft_is`', 'dft', 'read'),
    Name('Trinity `sft_phi`', 'sft gate=doubt', 'read'),
    Name(
      'Trinity `mix_chord`; CHORD',
      'chord',
      'read',
      'the whole is here over 1 - mu, which Adam does not see',
    ),
    Name(
      'LUFFY, on rows of an expert',
      'sft gate=shaped_chance',
      'read',
      'its own rows learn by PPO beside them',
    ),
  ),
  'Losses of whole responses': (
    Name('verl-recipe `gvpo`', 'gvpo'),
    Name(
      'verl-recipe `flowrl`',
      'flowrl',
      apart='log Z is there a network of the mean of the prompt',
    ),
    Name(
      'TRL `a2po`; A*-PO',
      'a_star_po',
      'read',
      'over 2 weight^2, which optimizers that scale do not see',
    ),
  ),
  'Which groups count': (
    Name('verl-recipe, SkyRL `filter`', 'dapo'),
    Name(
      'SkyRL `replace`; POLARIS',
      'dapo rounds=1 aggregate=sequence_mean',
      apart='copies of mixed groups, drawn at random, stand there for the '
      'others where more than 30 % are mixed: on average the mean of the mixed',
    ),
  ),
  'Advantages': (
    Name(
      'verl, SkyRL, slime, Trinity `grpo`',
      'grpo advantage=norm(epsilon=1e-6)',
      apart='verl and Trinity leave a lone row its reward',
    ),
    Name('TRL `scale_rewards=group`', 'grpo advantage=norm(epsilon=1e-4)'),
    Name('rLLM `grpo`', 'grpo advantage=norm(epsilon=1e-6,ddof=0)', 'read'),
    Name('TRL `scale_rewards=batch`', 'grpo advantage=norm_by_batch'),
    Name('TRL `scale_rewards=none`; prime-rl', 'grpo advantage=centre'),
    Name(
      'NeMo leave-one-out, normalised',
      'grpo advantage=leave_one_out_norm',
      confidence='run',
    ),
    Name('all `rloo`', 'grpo advantage=leave_one_out'),
    Name('OpenRLHF `rloo`', 'grpo advantage=leave_one_out_to_go'),
    Name('verl `opo`', 'grpo advantage=centre_by_tokens', confidence='run'),
    Name(
      'verl `optimal_token_baseline`',
      'grpo advantage=centre_by_energy',
      apart='also by turns, and with the ratio to the sampler',
    ),
    Name('Trinity OPMD `logavgexp`', 'opmd advantage=centre_softly'),
    Name('verl `remax`', 'remax'),
    Name('verl, OpenRLHF, SkyRL `reinforce++`', 'reinforce_plus_plus'),
    Name('the same with a baseline', 'reinforce_plus_plus_baseline'),
    Name('verl, TRL `gdpo`', 'gdpo'),
    Name(
      'verl `grpo_passk`', 'grpo advantage=best_minus_second', confidence='run'
    ),
    Name('Pass@k training', 'grpo advantage=pass_at_k(k=4)', confidence='run'),
    Name('PKPO', 'grpo advantage=max_at_k(k=4)', 'read'),
    Name('SkyRL, prime-rl `maxrl`', 'maxrl', 'read'),
    Name('PSR', 'reinforce advantage=outcomes(right=1.0,wrong=0.0)', 'read'),
    Name('NSR', 'reinforce advantage=outcomes(right=0.0,wrong=-1.0)', 'read'),
    Name('W-REINFORCE', 'reinforce advantage=outcomes', 'read'),
    Name(
      'prime-rl `rae`; SPIRAL', 'dr_mas advantage=role_baseline', 'second hand'
    ),
    Name('verl-recipe `prime`', 'prime'),
    Name('GTPO; not TRL, which closed the request', 'gtpo', 'second hand'),
    Name('RL-ZVP', 'grpo advantage=by_entropy_if_uniform', 'second hand'),
    Name(
      'TRL `ScaleRLTrainer`; ScaleRL',
      'scale_rl',
      'second hand',
      'a mean square of this step alone; to the sampler there',
    ),
    Name(
      'VAPO; NeMo decoupled GAE',
      'ppo advantage=adaptive_gae',
      'recalled',
      'its clip, likelihood of successes and groups are other settings',
    ),
    Name('verl `gae`', 'ppo advantage=gae(1.0,1.0)'),
    Name('OpenRLHF `gae`', 'ppo advantage=penalised_gae(1.0,1.0,0.01)'),
  ),
  'Preferences': (
    Name('TRL `sigmoid`; OpenRLHF, NeMo DPO', 'dpo'),
    Name('TRL `sigmoid_norm`', 'dpo score=mean_to_reference', confidence='run'),
    Name('TRL `robust`', 'rdpo'),
    Name('TRL `label_smoothing`', 'cdpo'),
    Name('TRL `hinge`', 'dpo link=hinge(weight=0.1)'),
    Name(
      'TRL `sync_ref_model`; TR-DPO',
      'dpo reference=periodic(every=512,weight=0.6)',
      apart='every 512 optimizer steps there',
    ),
    Name('TRL `ipo`', 'ipo_mean'),
    Name('TRL `exo_pair`', 'dpo link=exact', confidence='run'),
    Name('TRL `nca_pair`', 'dpo link=contrast', confidence='run'),
    Name('TRL `bco_pair`', 'dpo link=classify', confidence='run'),
    Name('TRL `apo_zero`', 'dpo link=anchored', confidence='run'),
    Name('TRL `apo_down`', 'dpo link=anchored_down', confidence='run'),
    Name('TRL `discopop`', 'dpo link=discovered', confidence='run'),
    Name('TRL `sppo_hard`', 'sppo_hard'),
    Name('TRL `aot`', 'aot'),
    Name('TRL `aot_unpaired`', 'aot_unpaired'),
    Name('TRL BCO', 'bco'),
    Name(
      'TRL BCO with `embedding_func`',
      'bco_matched',
      apart='prompts are embedded there by a model, here by their tokens',
    ),
    Name('oat `BNF`', 'bnf', apart='lengths are those of a microbatch'),
    Name('TRL `use_weighting`', 'wpo'),
    Name(
      'TRL `sigmoid`, `bco_pair`, `sft` at 0.8, 0.2, 1',
      'mpo',
      apart='the mean is over the tokens of all chosen responses',
    ),
    Name('DPO-Positive', 'dpo link=positive', 'second hand'),
    Name('R-DPO', 'dpo score=to_reference_by_length', 'second hand'),
    Name('TRL `ld_alpha`', 'dpo score=to_reference_past_shortest'),
    Name(
      'TRL `f_divergence_type=alpha`',
      'dpo score=to_alpha_divergence',
      confidence='run',
    ),
    Name(
      'TRL `f_divergence_type=js`',
      'dpo score=to_jensen_shannon',
      confidence='run',
    ),
    Name('TRL `rpo_alpha`', 'rpo_token_mean', 'second hand'),
    Name('TRL CPO `simpo`; OpenRLHF', 'simpo'),
    Name('TRL CPO', 'rpo_token_mean imitation=1.0 score=likelihood'),
    Name(
      'TRL TPO',
      'tpo',
    ),
    Name(
      'TRL TPO `tpo-l`',
      'tpo score=mean_likelihood link=logistic(0.01,offset=0.5)',
    ),
    Name('TRL ORPO', 'orpo', 'read', 'TRL averages over the prompt too'),
    Name(
      'TRL CPO `alpha`, AlphaPO',
      'simpo score=powered_likelihood',
      'read',
      'its weight 2.5 and margin 0.1 are link=logistic(2.5, offset=...)',
    ),
    Name(
      'TRL XPO; oat `xpo`',
      'xpo',
      'second hand',
      'TRL draws who wins where a judge is unsure; a tie teaches nothing here',
    ),
    Name(
      'TRL, OpenRLHF KTO',
      'kto',
      'read',
      'their reference point is of mismatched pairs',
    ),
  ),
  'Distillation on own samples': (
    Name(
      'prime-rl, slime, NeMo, Trinity OPD',
      'kdrl costs=teacher_k2:1.0',
      'read',
      'a cost of the same slope in place of an advantage',
    ),
    Name(
      'TRL GKD; verl-recipe `gkd`',
      'gkd',
      'read',
      'TRL has the whole vocabulary: size=V; verl-recipe KL(q || p) of few',
    ),
    Name(
      'NeMo `distillation`, kl_type mixed',
      'gkd share=1.0 costs=renormalised_divergence:1.0',
    ),
    Name(
      'verl `forward_kl_topk`',
      'gkd share=1.0 size=32 costs=partial_divergence:1.0',
      'read',
      'also as a policy gradient of minus itself',
    ),
    Name(
      'TRL MiniLLM',
      'minillm',
      'read',
      'TRL leaves a gradient through the advantage, and a power of gamma',
    ),
    Name(
      'TRL SDPO, `distillation_add_tail`',
      'sdpo',
      'read',
      'its default compares sampled tokens alone, by KL(policy || teacher)',
    ),
    Name(
      'TRL SDFT',
      'sdft',
      'read',
      'the teacher is the start there, and the rest of the tokens left out',
    ),
    Name('TRL `IWOPDTrainer`', 'iw_opd'),
    Name(
      'KDRL, on failed responses',
      'kdrl costs=failed_teacher_k2:0.002',
      'second hand',
    ),
    Name(
      'KDRL, on failed groups',
      'kdrl costs=lost_teacher_k2:0.002',
      'second hand',
    ),
  ),
}

# Nothing here stands for them, and why not.
ABSENT = {
  'k1 as a loss (slime default, verl `kl`)': 'its expected gradient is 0, see '
  '`objectives/costs.py`; in the reward it is right',
  'TRL `bnpo`': 'the mean over a microbatch depends on how rows are split',
  'ratios to the sampler in place of the old policy (verl `bypass_mode`, '
  'prime-rl)': 'with one optimizer step an iteration both are one; with more, '
  'multiply a gate by `truncated_importance`',
  'TRL SSD': 'the likelihood of own responses that were drawn colder: write '
  'them to a file, of which `sft` learns',
  'TRL GOLD': 'teacher and student share a tokenizer here',
  'Trinity `jsd`': 'a term of a divergence as an advantage is no gradient of '
  'it; `gkd` has the divergence',
  'SPIN': 'recalled alone; `seppo` plays against checkpoints',
}

# What peers' code does and ours does not.
FAULTS = (
  'verl bounds pi_sampler / pi_old in `rollout_rs` k1; `ratio_band` bounds '
  'pi_old / pi_sampler.',
  "verl's DPPO reads a cap of 20 and gets 3 from its config class.",
  "slime's default KL loss, k1, has no expected gradient.",
  "SkyRL's `prompt_mean` scales advantages, which starves losses that are not "
  'linear in them.',
  "SkyRL's copies of groups join the group they copy, whose sample spread is "
  'then smaller.',
  'TRL `luspo` with a KL averages it over padding as well.',
  "TRL's CISPO takes its cap from `epsilon_high`, 0.2 by default, so that "
  'every gradient is a fifth.',
  "TRL's MiniLLM leaves a gradient through the advantage, and a power of "
  'gamma.',
  "TRL's GKD jumps at both ends of its mixture.",
  "TRL's ORPO averages the likelihood over the prompt too.",
  "prime-rl's documents promise a truncated ratio that its loss has not.",
  "Trinity's TOPR takes ratios of tokens, where the paper has responses.",
  'NeMo leaves a lone success unscaled and scales its rivals up; '
  '`leave_one_out_norm` is that estimator, and says so.',
  'OpenRLHF clips rewards after their baseline; its KL loss averages over '
  'tokens whatever else does.',
  "verl's `gspo` and `geo_mean` ignore the mode of averaging.",
  "verl's rejection takes rows out of the counts, not out of the statistics of "
  'rewards.',
)


def page() -> str:
  """`docs/peers.md`."""
  lines = [
    '# What other trainers call it',
    '',
    'Written by `python -m jaxrl_llm.recipes peers`; do not edit. What stands '
    'on the right goes\nafter `python -m jaxrl_llm.recipes`, which prints the '
    'recipe, what it differs in and the\nflags of a run. How the '
    'other form is known: *run*, its own code agreed with loops\nwritten from '
    'the formula; *read* in its code; *second hand*, in '
    "another's; *recalled*.",
    '',
    '## Defaults by name',
    '',
    '`--config=experiments/configs/default.py:trl_grpo`, or `preference.py` '
    'for DPO and KTO;\neach is checked against loops written from the '
    "trainer's published numbers.",
    '',
    *_table(
      ('name', 'of', 'is', 'not the same'),
      (
        (
          f'`{name}`',
          preset.of,
          _typed(_words(preset)),
          preset.apart,
        )
        for name, preset in presets.PRESETS.items()
      ),
    ),
  ]
  for title, rows in TABLE.items():
    cells = (
      (row.theirs, _typed(row.ours), row.confidence, row.apart) for row in rows
    )
    head = 'theirs', 'ours', 'known', 'what is another there'
    lines += ['', f'## {title}', '', *_table(head, cells)]
  lines += ['', '## Not here', '']
  lines += _table(('theirs', 'why'), ABSENT.items())
  lines += ['', '## Not copied', '']
  lines += [f'- {fault}' for fault in FAULTS]
  return '\n'.join(lines) + '\n'


def _typed(words: str) -> str:
  """As a shell takes them."""
  return f'`{shlex.join(words.split())}`'


def _words(preset: presets.Preset) -> str:
  changes = (
    f'{key}={text.replace(" ", "")}' for key, text in preset.changes.items()
  )
  return ' '.join([preset.recipe, *changes])


def _table(head, rows) -> list[str]:
  cells = [head, ['---'] * len(head), *rows]
  return [f'| {" | ".join(row)} |' for row in cells]
