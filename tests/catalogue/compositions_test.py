from jaxrl_llm.catalogue import command


def test_diff_shows_both_values_of_a_slot(capsys):
  assert command.main(['diff', 'grpo', 'dapo']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert any(
    line.split() == ['objective.surrogate.high', '0.2', '0.28']
    for line in lines
  )


def test_diff_of_a_recipe_with_itself_says_so(capsys):
  assert command.main(['diff', 'grpo', 'grpo']) == 0
  assert 'same' in capsys.readouterr().out


def test_a_composition_says_what_came_out(capsys):
  words = ['grpo', 'minibatches=4', 'surrogate=gspo', 'costs=none']
  assert command.main(words) == 0
  shown = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ['is', 'at', 'its', 'defaults', 'gspo'] in shown
  assert ['minibatches', '1', '4'] in shown
  assert ['needs', '-'] in shown
  assert ['--config.slots.surrogate=gspo'] in shown
  assert ['--config.recipe.minibatches=4'] in shown


def test_the_form_of_the_kl_is_a_word_of_its_own(capsys):
  words = ['compose', 'grpo', 'surrogate=gspo', 'aggregate=budget_mean']
  assert command.main([*words, 'kl_weight=0.1', 'kl=k2']) == 0
  shown = capsys.readouterr().out
  assert '--config.slots.costs=k2:0.1' in shown and 'ref_logp' in shown
  assert command.main([*words, 'kl=k2', 'costs=none']) == 2
  assert 'not both' in capsys.readouterr().err
  assert command.main(['compose', 'reinforce', 'kl=k2']) == 2
  assert 'costs=k2:WEIGHT' in capsys.readouterr().err


def test_compose_may_be_said(capsys):
  assert command.main(['compose', 'grpo', 'surrogate=gspo']) == 0
  said = capsys.readouterr().out
  assert command.main(['grpo', 'surrogate=gspo']) == 0
  assert capsys.readouterr().out == said
