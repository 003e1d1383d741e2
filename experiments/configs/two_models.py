"""Two language models that train each other in one run.

  python -m experiments.train --config=experiments/configs/two_models.py
      M-GRPO: a main agent and the sub-agent that it depends on
  python -m experiments.train --config=experiments/configs/two_models.py:dr_zero
      Dr. Zero: a proposer asks questions of documents, a solver answers them,
      and both search the folder that these are in
  python -m experiments.train --config=experiments/configs/two_models.py:sums
      the same in single turns, documents are numbers and questions sums
  python -m experiments.train --config=experiments/configs/two_models.py:dr_mas
      any recipe for agents whose rows are turns

In the first the main agent has the first turn, in which it asks or guesses, and
the sub-agent asks on and answers. With --config.seed=0, 1 and 2 sampled answers
to held-out words are right 0.453, 0.555 and 0.457 of the time before, and
0.965, 0.984 and 0.984 after 60 iterations, in 70 to 110 seconds of CPU time.

In the second each learns to search. With --config.seed=0, 1 and 2 sampled
answers to held-out questions, of books that the proposer never saw, are right
0.762, 0.680 and 0.730 of the time before, and 0.988 in each seed after 60
iterations; the likeliest answers are right from the start. Who asks of two hops
must search to know the answer: in the first ten iterations 0.75, 0.67 and 0.63
of those proposals in samples.jsonl are true, in its last ten, 41 to 50, 0.88,
0.89 and 0.97. Solvers are right on 0.59, 0.54 and 0.54 of all that is proposed
in the first ten iterations, and on 0.86, 0.92 and 0.92 in the last ten. Each
takes a minute of CPU time.

In the third each learns what it is paid for. From the first ten iterations to
the last ten, true sums go from 0.23, 0.30 and 0.25 of the proposals to 0.51,
0.51 and 0.34, and right answers from 0.56, 0.49 and 0.39 of those to them to
0.87, 0.82 and 0.79. Sums at large are little better known, or worse: of sampled
answers to those held out 0.508, 0.324 and 0.289 are right before, and 0.457,
0.355 and 0.336 after. Each takes 80 to 120 seconds of CPU time.
"""

from experiments.configs.base import SMALLEST, base


def get_config(recipe: str = 'm_grpo'):
  """Recipes whose rows say who of two agents acted; `sums` is `dr_zero`."""
  config = base('dr_zero' if recipe == 'sums' else recipe)
  config.model.agents = 2
  config.update_from_flattened_dict(SMALLEST)
  config.data.held_out = 64
  config.sample.prompts = 16
  config.sample.max_prompt = 16
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup = 5
  config.warm_start.steps = 600
  config.warm_start.batch = 32
  config.warm_start.learning_rate = 6e-3
  config.eval.samples = 4
  config.eval.every = 20
  task = TASKS.get(recipe, WORDS)
  config.update_from_flattened_dict(task)
  return config.lock()


# A word is spelt in digits that only an environment knows.
WORDS = {
  'steps': 60,
  'environment': 'lookup',
  'data.path': 'lookup:length=3:symbols=abcdefghij:careless=0.5',
  'data.size': 512,
  'verify.names': ('numeric', 'returned'),
  'verify.weights': (1.0, 1.0),
  'recipe.turns': 4,
  'sample.max_response': 24,  # a turn may use a quarter of them
  'sample.stop': ('\n',),
  'learn.microbatches': 2,
}
# Documents are numbers, and questions sums of them.
SUMS = {
  'steps': 120,
  # Sums are imitated before, and none is asked but by the proposer.
  'data.path': 'documents:weight=1,sums:weight=1e-9',
  'data.held_out_path': 'sums',
  'data.size': 512,
  'verify.names': ('numeric',),
  'recipe.parse': 'jaxrl_llm.tasks.toys:true_equation',
  'recipe.phase': 20,
  'sample.prompts': 64,
  'sample.max_response': 12,
  'optimizer.learning_rate': 3e-4,
  'warm_start.steps': 300,
}
# Documents are in folders, which differ in what they say of a letter.
BOOKS = {
  'steps': 60,
  'environment': 'search',
  # Walks are imitated before, and none is asked but by the proposer.
  'data.path': 'trail:weight=1:rows=900,walk:weight=1e-9:rows=900',
  'data.held_out_path': 'walk:kept=True:rows=64',
  'data.level': 2,
  'verify.names': ('exact',),
  'recipe.parse': 'jaxrl_llm.tasks.trails:asked',
  'recipe.phase': 10,
  'recipe.turns': 3,
  'model.fresh.chat': True,
  'sample.max_prompt': 24,
  'sample.max_response': 108,  # a turn may use a third of them
  'learn.microbatches': 2,
  'warm_start.steps': 800,
}
TASKS = {'dr_zero': BOOKS, 'sums': SUMS}
