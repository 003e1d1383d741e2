"""How the responses that train are made.

The plans, each in a file of its own:

  responses to a prompt
    sampled         independent ones
    refill          the same until groups are live
    masked          the same among tokens that a masking policy keeps
    tempered        groups that are sampled hotter or colder
    varied          tokens that are sampled hotter
    tightened       with a budget of tokens that becomes less
    resumed         written a part at a time
    measured        and a look at all questions now and then
    greedy          the greedy response as a baseline
    rejected        those that rejection sampling keeps
    undersampled    by samplers that avoid what is there already
    rated           whose tokens a second policy rates
    stimuli         that are words for another model
    opponents       half of them another policy's
    half_steps      half of them of what the policy is about to become
    guides          that two policies write in turn
    proposed        questions that the policy proposes and solves
  which questions are asked, how, and how often
    hardest         those of the largest perplexity
    budgeted        groups of different sizes
    foretold        the same, by what earlier prompts foretell
    bandit_budgets  the same, chosen by bandits
    wordings        one question in several words
    orders          the same, each with an answer of its own
    variants        the same, which share a group
    retried         again in other words, where answers fell short
    hinted          with hints that follow the successes before
  parts of responses
    begun           beginnings that are assigned
    begun_episodes  the same, one of which may call tools
    exits           a thought that is broken off to answer
    anytime         thoughts with answers from nested budgets
    stepwise        single steps from states of responses
    prefix_values   what continuations of prefixes earn
    tree            trees of samples
    searched        steps of a tree search
  earlier and other people's responses
    replay          earlier groups in place of those without a signal
    successes       earlier successes in groups that fail
    earlier         groups of the iterations before, beside new ones
    recorded        responses that the data holds, with their scores
    recorded_beside the same beside sampled ones
    dropped         the same without some of their thoughts
    matched         the same, whose prompts are told apart
    imitated        groups with demonstrations
    anchored        groups with one where all else is wrong
    resets          responses that go on from a demonstration
    offline_states  groups that act once where a demonstration led
  episodes
    episodes        a row each
    by_turn         a row a turn
    resampled       that share their first turns
    forked          that part where the policy became unsure
    grown           that a tree search plays
    led             turns behind what a leading episode said
    acted_episodes  a row each, where arrays answer
    acted_steps     a row a step there
    aligned         with as many turns of sub-agents each
    reflected       that went wrong, and are told to turn good
    rewritten       whose history the template writes anew
    served          of programs that ask the policy over HTTP

and what they are made of:

    lent            what a plan is lent: the tools
    lent_samples    those that sample
    lent_words      those for tokens and texts
    fields          what is asked of the records of questions
    settings        what is asked of settings
    given           rows of no tokens, or of known ones
    prefixes        responses as tokens to go on from
    arranged        rows beside each other, columns put elsewhere
    spans           characters of a text, as tokens
    actions         which tokens of rows the policy chose
    kept            rows that are kept for later iterations
    demonstrations  what somebody else wrote, as rows
    longer          thoughts that go on where they would have ended
    proposals       questions in what was proposed
    phrases         questions in other words, and whether there is room
    hints           what those words are
    drafts          the same, made of what was said
    choices         who is asked again, and what is taken of it
    asking          how they are asked
    groups          rows that others take the place of
    search_tree     what a tree search keeps
    episode_tree    the same of episodes
    opening         how episodes open
    playing         turns with an environment between them
    replies         what it says to them
    ending          why episodes end, and what they earned
    turns           what happened in their turns
    turn_places     where these are in rows
    verdicts        what the policy says of them
    dictated        turns that records say
    acted           which plans stand for those of texts where arrays answer
    mended          an episode spliced with a better one
    contexts        tokens of their own to answer behind
    noted           rows of such answers
    rewriting       turns behind a history that is written anew
    program_episodes  what programs ask in episodes
    requests        how the policy answers them

What says more of the responses of another plan is in `jaxrl_llm.notes`.
"""
