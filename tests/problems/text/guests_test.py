"""Guests of a run: refused when missing, and when nobody asked for them."""

import contextlib

import pytest

from experiments.configs.base import base
from jaxrl_llm import credit, recipes
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.plans import by_turn, episodes, sampled, served
from jaxrl_llm.problems.text import guests
from jaxrl_llm.recipe import Recipe, missing
from jaxrl_llm.tasks import environments, hosted
from jaxrl_llm.tasks.speech import Said

TAUGHT = notes.noted(sampled.independent(), passes.Teacher())


def settings(**changes):
  config = base('grpo')
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changes.items()}
  )
  return config


@pytest.mark.parametrize(
  ('plan', 'message'),
  [
    (episodes.MultiTurn(), '--config.environment="lookup"'),
    (by_turn.Steps(), '--config.environment='),
    (TAUGHT, '--config.teacher.paths='),
  ],
)
def test_a_missing_guest_is_named_with_its_setting(plan, message):
  with pytest.raises(ValueError, match=message):
    guests.check(settings(), Recipe(plan=plan))


def test_a_guest_that_nobody_asked_for_is_refused():
  with pytest.raises(ValueError, match="environment='lookup' would do nothing"):
    guests.check(
      settings(environment='lookup'), Recipe(plan=sampled.independent())
    )
  with pytest.raises(ValueError, match='asks for no teacher'):
    guests.check(
      settings(teacher__paths=('x',)), Recipe(plan=sampled.independent())
    )


def test_a_verifier_that_the_recipe_reads_must_be_among_the_runs():
  plan = notes.noted(sampled.independent(), notes.Judged(('quality',)))
  with pytest.raises(ValueError, match='add quality=VERIFIER to verify.names'):
    guests.check(settings(), Recipe(plan=plan))
  names = ('exact', 'quality=numeric:0.1')
  guests.check(settings(verify__names=names), Recipe(plan=plan))


def test_preferences_are_for_recipes_that_compare():
  given = settings(verify__preference='cycle')
  with pytest.raises(ValueError, match="preference='cycle' would do nothing"):
    guests.check(given, recipes.build('grpo'))
  for name in ('nash_self_play', 'sppo', 'spo', 'nash_md', 'egpo'):
    guests.check(given, recipes.build(name))
  assert not guests.plays(recipes.build('dpo'))


def test_what_is_asked_for_and_given_is_accepted():
  guests.check(settings(), Recipe(plan=sampled.independent()))
  guests.check(
    settings(environment='lookup'), Recipe(plan=episodes.MultiTurn())
  )
  guests.check(settings(teacher__paths=('x',)), Recipe(plan=TAUGHT))


def test_the_environment_is_that_of_the_setting():
  assert guests.environment(settings()) is None
  world = guests.environment(settings(environment='lookup'))
  assert isinstance(world.environment, environments.Lookup)


def test_a_class_of_tools_becomes_an_environment():
  world = guests.environment(
    settings(environment='tests.tasks.boxes:Shop', tools__calls=3)
  )
  with contextlib.closing(world):
    assert isinstance(world.environment, hosted.Hosted)
    assert world.seconds == float('inf')
    assert [t['function']['name'] for t in world.tools] == ['price', 'buy']
    assert 'tool' in world.stops
    [state] = world.reset([{'prices': {'a': 1}}])
    [step] = world.step([state], [Said('bye')])
    assert (step.stop, step.reward) == ('said', 10.0)
    assert world.truncated([]) == [] and world.truncated([state]) == [0.0]


def test_environments_of_ones_own_need_no_more_than_before():
  world = guests.environment(settings(environment='lookup'))
  assert (world.stops, world.tools) == (('done',), ())
  assert world.truncated([1, 2]) == [0.0, 0.0]
  world.close()


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'tools__calls': 3}, "calls=3.*would do nothing: environment='' is no"),
    (
      {'environment': 'lookup', 'tools__seconds': 1.0},
      "environment='lookup' is no Toolbox",
    ),
    (
      {'environment': 'tests.tasks.boxes:Shop', 'tools__errors': 0},
      'tools.errors=0 must be positive',
    ),
    ({'environment': 'tests.tasks.boxes:Silent'}, 'Silent.look cannot be'),
  ],
)
def test_tools_that_cannot_be_used_so_are_refused(changes, words):
  with pytest.raises(ValueError, match=words):
    guests.environment(settings(**changes))


PROGRAM = 'experiments.programs:lookup'


def asked(name='grpo', **changes):
  config = settings(program=PROGRAM, **changes)
  return guests.asked_by_program(config, recipes.build(name))


def test_a_program_takes_the_place_of_independent_responses():
  given, found = recipes.build('grpo'), asked()
  assert found.plan == served.Served(given.plan.samples)
  assert type(found.credit) is type(given.credit) is credit.Estimate
  guests.check(settings(program=PROGRAM), found)
  assert guests.program(settings()) is None


def test_a_program_takes_the_place_of_an_environment():
  """Recipes of turns read where they are, those of steps have them as rows."""
  found = asked('poad').plan
  assert (found.samples, found.rows, found.apart) == (1, 1, False)
  for name in ('poad', 'otc', 'aspo'):
    assert not missing(asked(name)), name
  found = asked('step_grpo', serve__rows=3).plan
  assert (found.samples, found.rows, found.apart) == (8, 4, True)
  assert found.contract.provides >= by_turn.Steps().contract.provides


@pytest.mark.parametrize(
  ('name', 'changes', 'words'),
  [
    ('refuel', {}, 'the plan Resampled'),
    ('otc', {'serve__rows': 2}, 'counts rows'),
  ],
)
def test_histories_of_some_recipes_cannot_be_written_anew(name, changes, words):
  config = settings(serve__history='template', environment='prices', **changes)
  assert guests.is_rewritten(config)
  with pytest.raises(ValueError, match=words):
    guests.rewritten_by_template(config, recipes.build(name))
  plain = recipes.build('grpo')
  assert guests.rewritten_by_template(config, plain) is plain


def test_episodes_of_several_rows_count_once():
  found = asked(serve__rows=3)
  assert found.plan.contract.samples == 3 * found.plan.samples
  estimate, weigh = found.credit.stages
  assert isinstance(estimate, credit.EstimateByEpisode)
  assert isinstance(weigh, credit.WeighByEpisode)


@pytest.mark.parametrize(
  ('name', 'changes', 'words'),
  [
    ('refuel', {}, 'the plan Resampled'),
    ('dapo', {}, 'the plan Refill'),
    ('spo_tree', {'serve__rows': 2}, 'both say how rows are made'),
    ('dr_grpo', {'serve__rows': 2}, 'counts rows'),
  ],
)
def test_recipes_that_do_not_go_with_programs_are_refused(name, changes, words):
  with pytest.raises(ValueError, match=words):
    asked(name, **changes)


def test_recorded_turns_that_would_not_lead_are_refused():
  recipe = recipes.build('step_grpo', recorded='path')
  with pytest.raises(ValueError, match="recorded='path' would do nothing"):
    guests.asked_by_program(settings(program='agent:solve'), recipe)
  anew = settings(serve__history='template', environment='prices')
  with pytest.raises(ValueError, match='lets every episode lead itself'):
    guests.rewritten_by_template(anew, recipe)


def test_requests_are_split_evenly_over_devices():
  with pytest.raises(ValueError, match='serve.workers=3 is no multiple'):
    guests.program(settings(program=PROGRAM, serve__workers=3, mesh__data=2))


def test_a_soup_needs_other_policies_and_somebody_who_refers_to_it():
  salsa = recipes.build('salsa')
  with pytest.raises(ValueError, match='--config.reference.paths='):
    guests.check(settings(), salsa)
  given = {'reference__paths': ('x',)}
  guests.check(settings(**given), salsa)
  with pytest.raises(ValueError, match='the recipe refers to no'):
    guests.check(settings(**given), Recipe(plan=sampled.independent()))
  with pytest.raises(ValueError, match='LoRA'):
    guests.check(settings(**given, model__lora_rank=4), salsa)
