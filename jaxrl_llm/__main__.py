"""What there is to run, for who tries `python -m jaxrl_llm`."""

print("""\
python -m experiments          commands: train, eval, show, compare, export, ...
python -m jaxrl_llm.recipes    the papers: list, search, describe, compose""")
