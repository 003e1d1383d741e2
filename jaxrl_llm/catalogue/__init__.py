"""What is told of the papers: their pages, tables and the command for them.

Nothing that trains reads any of it. `python -m jaxrl_llm.recipes` is `command`.
"""
