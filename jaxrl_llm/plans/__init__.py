"""How the rows that train are made."""
