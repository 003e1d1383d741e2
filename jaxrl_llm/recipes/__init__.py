"""The papers: one entry each, grouped by the joint they mainly change."""

from jaxrl_llm.recipes import advantages, trust_regions

__all__ = ['advantages', 'trust_regions']
